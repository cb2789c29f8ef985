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

package upstreampool

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/accounts"
	oauthgrant "github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/internal/testpki"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

const day = 24 * time.Hour

// testSettings is an upstream without limits that talks to p in the clear.
func testSettings(t testing.TB, p *provider, mod ...func(*SMTPTransport)) *settings {
	t.Helper()
	tr := &SMTPTransport{
		Hostname: "gateway.test",
		TLS:      &UpstreamTLS{Mode: smtpclient.NoTLS},
		Auth:     &UpstreamAuth{Mechanism: smtpclient.AuthPlain},
	}
	if p != nil {
		tr.Dial = p.ln.Addr().String()
	}
	for _, m := range mod {
		m(tr)
	}
	s, err := tr.resolve(ofRun(t, strings.ReplaceAll(t.Name(), "/", "-")))
	if err != nil {
		t.Fatal(err)
	}
	s.Logger = zap.NewNop()
	s.DialTimeout, s.GreetingTimeout = 5*time.Second, 5*time.Second
	s.CommandTimeout = 5 * time.Second
	s.DataTimeout = 5 * time.Second
	return s
}

var (
	runs   atomic.Int64
	runsOf sync.Map // testing.TB to its number in runs
)

// ofRun returns the name of an upstream that this run of a test has alone. What a
// mailbox has used up, and what was counted, outlives the upstream, as it must
// across a reload: under one name a second run (-count) would begin with it.
func ofRun(t testing.TB, name string) string {
	n, known := runsOf.LoadOrStore(t, runs.Add(1))
	if !known {
		t.Cleanup(func() { runsOf.Delete(t) })
	}
	return fmt.Sprintf("%s-%d", name, n)
}

// start attaches s for the time of the test.
func start(t *testing.T, s *settings) *upstream {
	t.Helper()
	u := attach(s)
	t.Cleanup(func() {
		u.detach(s)
		u.closing.Wait()
		u.limits.Wait()
	})
	return u
}

func testAccount(name string) *accounts.Account {
	return &accounts.Account{Record: accounts.Record{Name: name, Secret: "made-up", Upstream: "x"}}
}

// deliver sends one message to the given recipients and returns the error that
// came first.
func deliver(u *upstream, a *accounts.Account, body string, to ...string) error {
	tx, err := u.begin(context.Background(), a, "from@a.test", nil)
	if err != nil {
		return err
	}
	defer tx.Abort()
	if len(to) == 0 {
		to = []string{"to@b.test"}
	}
	for _, rcpt := range to {
		if err := tx.Rcpt(context.Background(), rcpt, nil); err != nil {
			return err
		}
	}
	reply, err := tx.Data(context.Background(), strings.NewReader(body))
	if err == nil && !reply.Positive() {
		return errors.New("no error and no positive reply")
	}
	return err
}

// tokens is a token source whose tokens a test counts and refuses.
type tokens struct {
	mu       sync.Mutex
	n        int
	current  *oauth2.Token
	rejected int
	err      error
	length   int
	fixed    string // every token
}

func (k *tokens) Token(_ context.Context, _ oauthgrant.Request) (*oauth2.Token, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return nil, k.err
	}
	if k.current == nil {
		k.n++
		k.current = &oauth2.Token{AccessToken: "token" + strconv.Itoa(k.n) + strings.Repeat("x", k.length)}
		if k.fixed != "" {
			k.current.AccessToken = k.fixed
		}
	}
	return k.current, nil
}

func (k *tokens) Reject(_ oauthgrant.Request, t *oauth2.Token) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rejected++
	if k.current == t {
		k.current = nil
	}
}

func (k *tokens) Fresh(ctx context.Context, r oauthgrant.Request) (*oauth2.Token, error) {
	return k.Token(ctx, r)
}

func (k *tokens) HasProvider(string) bool { return true }

// testTLS makes a certificate for 127.0.0.1 and a pool that trusts it.
func testTLS(t testing.TB) (*tls.Config, *x509.CertPool) {
	t.Helper()
	pair := testpki.SelfSigned(testpki.Leaf{Names: []string{"provider.test", "127.0.0.1"}, Trusted: true})
	return &tls.Config{Certificates: []tls.Certificate{pair}}, testpki.Trust(pair)
}

// peek returns the state of an account if there is one, not locked.
func (u *upstream) peek(name string) *account {
	name = accounts.FoldName(name)
	sh := u.shard(name)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	p := sh.pools[name]
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.find(name)
}
