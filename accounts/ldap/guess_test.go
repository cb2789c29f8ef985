// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package ldap

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddymail/mailgateway/accounts"
)

// questions counts what the directory was asked for since it was made.
func (d *directory) questions() (searches, binds int) {
	d.tb.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, "log"))
	if err != nil {
		d.tb.Fatal(err)
	}
	return strings.Count(string(text), " SRCH base="), strings.Count(string(text), " BIND dn=")
}

// TestPatientGuess holds that a name which nobody has costs as many questions as one that
// somebody has, whatever is remembered of either, with groups and without.
func TestPatientGuess(t *testing.T) {
	for name, group := range map[string]string{"alone": "", "in a group": "(&(cn=mail)(member={dn}))"} {
		t.Run(name, func(t *testing.T) {
			d := newDirectory(t)
			dn := d.person("ann", "ann@example.com")
			d.add("cn=mail,ou=groups,"+root, "objectClass", "groupOfNames", "cn", "mail", "member", dn)
			set := d.source()
			set.Negative = caddy.Duration(100 * time.Millisecond)
			if group != "" {
				set.GroupBase, set.GroupFilter = "ou=groups,"+root, group
			}
			a := accountsOf(start(t, set))
			n := 0
			// A bind is a question too; the first of a connection's own is not counted.
			cost := func(name, password string) int {
				s0, b0 := d.questions()
				own := d.binds(admin)
				wantLogin(t, a, name, password, accounts.ErrBadCredentials)
				s1, b1 := d.questions()
				return s1 - s0 + b1 - b0 - (d.binds(admin) - own)
			}
			for _, wait := range []time.Duration{0, 0, 150 * time.Millisecond, 150 * time.Millisecond, 0} {
				time.Sleep(wait) // what is remembered has its time
				n++
				// The first tells what is in the entry, the others are the guesser's.
				known, unknown := cost("ann@example.com", fmt.Sprint("guess-", n)), cost("nobody@example.com", fmt.Sprint("guess-", n))
				if n > 1 && known != unknown {
					t.Errorf("attempt %d: %d questions for a name that somebody has, %d for another", n, known, unknown)
				}
			}
			// The same again, which is not asked.
			time.Sleep(150 * time.Millisecond)
			if known, unknown := cost("ann@example.com", "guess-1"), cost("nobody@example.com", "guess-1"); known != unknown {
				t.Errorf("a password that is known to be wrong: %d questions, and %d", known, unknown)
			}
		})
	}
}

// TestGuessCost holds that a name which nobody has takes as long as one whose password
// costs the directory a slow hash.
func TestGuessCost(t *testing.T) {
	d := newDirectory(t)
	dn := d.person("ann", "ann@example.com")
	d.set(dn, "userPassword", "{CRYPT}$6$rounds=200000$saltsaltsalt$"+strings.Repeat("x", 86))
	set := d.source()
	set.Negative = caddy.Duration(time.Minute)
	a := accountsOf(start(t, set))
	median := func(name string) time.Duration {
		var took []time.Duration
		for i := range 5 {
			began := time.Now()
			wantLogin(t, a, name, fmt.Sprint(name, i), accounts.ErrBadCredentials)
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return took[len(took)/2]
	}
	known := median("ann@example.com")
	if unknown := median("nobody@example.com"); unknown < known/3 {
		t.Errorf("a name that nobody has takes %v, another one %v", unknown, known)
	}
}

// TestUnseenLocks holds that the log says where a lock cannot be told from a wrong
// password, once, and only there.
func TestUnseenLocks(t *testing.T) {
	for name, tc := range map[string]struct {
		access string
		policy bool
		warns  int
	}{
		"hidden":    {"access to attrs=pwdFailureTime,pwdAccountLockedTime by * none", true, 1},
		"shown":     {"", true, 0},
		"no policy": {"", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDirectory(t)
			if tc.policy {
				d = withPolicy(t, "")
			}
			d.person("ann", "ann@example.com")
			reader := d.person("reader", "reader@example.com")
			if tc.access != "" {
				d.configure("moduleload ppolicy.so", tc.access, "overlay ppolicy\nppolicy_default cn=policy,"+root)
			}
			core, logs := observer.New(zapcore.WarnLevel)
			set := d.source()
			set.BindDN, set.BindPassword = reader, userPass
			if err := set.provision(zap.New(core)); err != nil {
				t.Fatal(err)
			}
			if err := set.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				set.Stop()
				_ = set.Cleanup()
			}()
			a := accountsOf(set)
			for i := range 2 {
				wantLogin(t, a, "ann@example.com", fmt.Sprint("wrong-", i), accounts.ErrBadCredentials)
			}
			if n := logs.FilterMessageSnippet("locked").Len(); n != tc.warns {
				t.Errorf("said %d times, want %d: %v", n, tc.warns, logs.All())
			}
		})
	}
}
