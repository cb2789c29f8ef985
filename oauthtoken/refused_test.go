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

package oauthtoken

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymail/mailgateway/oauthtoken/authserver"
)

// refusing makes the endpoint refuse, and notes when it was asked.
type refusing struct {
	mu    sync.Mutex
	times []time.Time
	with  string // the body; empty to serve
}

func (f *refusing) set(code, description string) {
	b, _ := json.Marshal(map[string]string{"error": code, "error_description": description})
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.with = string(b); code == "" {
		f.with = ""
	}
}

func (f *refusing) asked() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.times)
}

func (f *refusing) fault(w http.ResponseWriter, _ *http.Request, _ int, after bool) bool {
	if after {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.times = append(f.times, time.Now())
	if f.with == "" {
		return false
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_, _ = w.Write([]byte(f.with))
	return true
}

const conditionalAccess = "AADSTS53003: Access has been blocked by Conditional Access policies. The access policy does not allow token issuance. Trace ID: 1-2-3"

func TestPassingRefusalIsAskedAgain(t *testing.T) {
	for _, why := range []string{
		conditionalAccess, "AADSTS50053: locked", "AADSTS50057: The user account is disabled.", "AADSTS50105: not assigned",
	} {
		t.Run(why[:11], func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s, f := bubbleEndpoint(), new(refusing)
				f.set("invalid_grant", why)
				s.setFault(f.fault)
				a := newApp(t, config(dir, s.URL, nil), inBubble(s))
				defer a.stop()
				seed := s.seed("alice")
				_, err := a.Token(context.Background(), ask("p", "alice", "", seed))
				wantError(t, err, why[:11])
				if e := err.(*authserver.Error); e.ReauthRequired() || !strings.Contains(e.Reply(), "asked again") || strings.Contains(e.Reply(), "Trace ID") {
					t.Fatalf("reply %q", e.Reply())
				}
				st := a.StatusOf(ask("p", "alice", "", seed))
				if st.State != "refused" || st.Standing != authserver.StandingRefused || st.Final || st.NextTry.IsZero() || !st.LastError.Retry {
					t.Fatalf("status %+v", st)
				}
				// Messages keep coming meanwhile.
				for range 3 * 24 * 6 {
					time.Sleep(10 * time.Minute)
					_, _ = a.Token(context.Background(), ask("p", "alice", "", seed))
				}
				at := f.asked()
				if n := len(at); n < 12 || n > 24 {
					t.Fatalf("asked %d times in three days", n)
				}
				if d := at[1].Sub(at[0]); d > 3*time.Minute {
					t.Errorf("asked again after %s", d)
				}
				if d := at[len(at)-1].Sub(at[len(at)-2]); d < 3*time.Hour || d > 10*time.Hour {
					t.Errorf("asked again after %s in the end", d)
				}
				// It is lifted, and no message comes.
				f.set("", "")
				time.Sleep(10 * time.Hour)
				synctest.Wait()
				if st := a.StatusOf(ask("p", "alice", "", seed)); st.Standing != authserver.StandingActive || st.LastError != nil {
					t.Fatalf("after it was lifted: %+v", st)
				}
				if !s.use(mustToken(t, a.App, "p", "alice", seed)) {
					t.Fatal("the grant was given up")
				}
			})
		})
	}
}

// Test, verify, resume and reload ask at once, whatever was refused.
func TestRefusedGrantIsAskedForAtOnce(t *testing.T) {
	for _, why := range []string{conditionalAccess, "AADSTS70000: revoked", "AADSTS999999: not in any table"} {
		for name, again := range map[string]func(a *testApp, s *endpoint, cfg map[string]any, seed string) *testApp{
			"test": func(a *testApp, _ *endpoint, _ map[string]any, seed string) *testApp {
				_, _ = a.Fresh(context.Background(), ask("p", "alice", "", seed))
				return a
			},
			"resume": func(a *testApp, _ *endpoint, _ map[string]any, _ string) *testApp {
				a.Retry(ask("p", "alice", "", ""))
				return a
			},
			"reload": func(a *testApp, s *endpoint, cfg map[string]any, _ string) *testApp {
				b, err := loadApp(cfg, inBubble(s))
				if err != nil {
					panic(err)
				}
				a.stop()
				return b
			},
			"restart": func(a *testApp, s *endpoint, cfg map[string]any, _ string) *testApp {
				a.stop()
				b, err := loadApp(cfg, inBubble(s))
				if err != nil {
					panic(err)
				}
				return b
			},
		} {
			final := strings.Contains(why, "70000")
			if final && name != "test" && name != "resume" {
				continue // it is final, and a new configuration says nothing of it
			}
			t.Run(name+" "+why[:10], func(t *testing.T) {
				dir := t.TempDir()
				synctest.Test(t, func(t *testing.T) {
					s, f := bubbleEndpoint(), new(refusing)
					s.setFault(f.fault)
					cfg := config(dir, s.URL, nil)
					a := newApp(t, cfg, inBubble(s))
					seed := s.seed("alice")
					mustToken(t, a.App, "p", "alice", seed)
					time.Sleep(2 * time.Hour)
					f.set("invalid_grant", why)
					for range 4 {
						_, err := a.Token(context.Background(), ask("p", "alice", "", seed))
						wantError(t, err, why[:10])
						time.Sleep(45 * time.Minute)
					}
					f.set("", "")
					a = again(a, s, cfg, seed)
					defer a.stop()
					if !s.use(mustToken(t, a.App, "p", "alice", seed)) {
						t.Fatal("not asked at once, or the token was thrown away")
					}
					if fam := s.family("alice"); fam.reused != 0 {
						t.Fatalf("%+v", fam)
					}
				})
			})
		}
	}
}

func TestFinalRefusalIsNotAskedAgain(t *testing.T) {
	for _, why := range []string{"AADSTS70000: x", "AADSTS700082: x", "AADSTS50173: x", "Token has been expired or revoked."} {
		t.Run(why[:12], func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s, f := bubbleEndpoint(), new(refusing)
				f.set("invalid_grant", why)
				s.setFault(f.fault)
				a := newApp(t, config(dir, s.URL, nil), inBubble(s))
				defer a.stop()
				seed := s.seed("alice")
				for range 3 * 24 {
					_, err := a.Token(context.Background(), ask("p", "alice", "", seed))
					wantError(t, err, "needs consent again")
					time.Sleep(time.Hour)
				}
				if n := len(f.asked()); n != 1 {
					t.Fatalf("asked %d times for a grant that has ended", n)
				}
				if st := a.StatusOf(ask("p", "alice", "", seed)); !st.Final || !st.NextTry.IsZero() || st.State != "reauth_required" {
					t.Fatalf("status %+v", st)
				}
			})
		})
	}
}

// One wrong policy refuses all mailboxes within a minute. They are asked for
// again within max_per_second, and not all in one moment.
func TestRefusedTogetherIsSpread(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const n, perSecond = 40, 5
		s, f := bubbleEndpoint(), new(refusing)
		s.setFault(f.fault)
		f.set("invalid_grant", conditionalAccess)
		a := newApp(t, config(dir, s.URL, map[string]any{"max_per_second": perSecond}), inBubble(s))
		defer a.stop()
		var wg sync.WaitGroup
		for i := range n {
			name := fmt.Sprint("account", i)
			seed := s.seed(name)
			wg.Go(func() { _, _ = a.Token(context.Background(), ask("p", name, "", seed)) })
		}
		wg.Wait()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		at := f.asked()
		if len(at) < 5*n || len(at) > 16*n {
			t.Fatalf("%d requests for %d refused mailboxes in a day", len(at), n)
		}
		slices.SortFunc(at, time.Time.Compare)
		most := 0
		for i, j := 0, 0; i < len(at); i++ {
			for at[i].Sub(at[j]) >= time.Second {
				j++
			}
			most = max(most, i-j+1)
		}
		if most > 2*perSecond {
			t.Errorf("%d requests in a second", most)
		}
		// After some hours they are as good as random.
		late := at[len(at)-n:]
		if d := late[n-1].Sub(late[0]); d < 30*time.Minute {
			t.Errorf("the last %d requests fall into %s", n, d)
		}
		f.set("", "")
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		if st := a.Status(StatusFilter{State: "refused"}); len(st) != 0 {
			t.Fatalf("%d mailboxes are refused still", len(st))
		}
	})
}

// An app that asks in its own name has no owner who could log in.
func TestAppOnlyHearsOfNoLogin(t *testing.T) {
	for _, refusal := range [][2]string{
		{"invalid_grant", "AADSTS53003: Access has been blocked by Conditional Access policies."},
		{"invalid_grant", "AADSTS50105: not assigned"},
		{"invalid_grant", "AADSTS7000112: disabled"},
		{"access_denied", "no"},
		{"invalid_grant", "Invalid email or User ID"},
		{"unauthorized_client", "Client is unauthorized to retrieve access tokens using this method"},
		{"invalid_client", "AADSTS7000215: Invalid client secret provided."},
	} {
		for _, how := range []map[string]any{
			{"grant": "client_credentials"},
			{"grant": "service_account", "service_account_file": testServiceAccount(t, "http://127.0.0.1:1"), "client_id": "", "client_secret": ""},
		} {
			t.Run(how["grant"].(string)+" "+refusal[1][:2], func(t *testing.T) {
				dir := t.TempDir()
				synctest.Test(t, func(t *testing.T) {
					s, f := bubbleEndpoint(), new(refusing)
					f.set(refusal[0], refusal[1])
					s.setFault(f.fault)
					a := newApp(t, config(dir, s.URL, how), inBubble(s))
					defer a.stop()
					_, err := a.Token(context.Background(), ask("p", "alice", "", ""))
					wantError(t, err, refusal[0])
					e := err.(*authserver.Error)
					if e.ReauthRequired() || strings.Contains(e.Error()+e.Reply(), "login") || strings.Contains(e.Error()+e.Reply(), "consent again") {
						t.Fatalf("%q, reply %q", e, e.Reply())
					}
					if !strings.Contains(e.Reply(), refusal[0]) {
						t.Fatalf("the reply hides the cause: %q", e.Reply())
					}
					st := a.StatusOf(ask("p", "alice", "", ""))
					if st.State == "reauth_required" || st.Final || strings.Contains(st.LastError.Remedy, "smtp login") {
						t.Fatalf("status %+v, %+v", st, st.LastError)
					}
					f.set("", "")
					time.Sleep(5 * time.Minute)
					if _, err := a.Token(context.Background(), ask("p", "alice", "", "")); err != nil {
						t.Fatalf("five minutes after it was lifted: %v", err)
					}
				})
			})
		}
	}
}

func TestWrongClientSecretIsSaidAsSuch(t *testing.T) {
	for _, refusal := range [][2]string{
		{"invalid_client", "AADSTS7000215: Invalid client secret provided."},
		{"invalid_client", ""},
		{"unauthorized_client", "AADSTS700016: Application with identifier 'x' was not found in the directory"},
		{"deleted_client", "The OAuth client was deleted."},
	} {
		t.Run(refusal[0], func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s, f := bubbleEndpoint(), new(refusing)
				f.set(refusal[0], refusal[1])
				s.setFault(f.fault)
				a := newApp(t, config(dir, s.URL, nil), inBubble(s))
				defer a.stop()
				for i := range 5 {
					n := fmt.Sprint("account", i)
					_, err := a.Token(context.Background(), ask("p", n, "", s.seed(n)))
					wantError(t, err, refusal[0])
					e := err.(*authserver.Error)
					if e.ReauthRequired() || !strings.Contains(e.Reply(), "credentials") || !strings.Contains(e.Reply(), refusal[0]) {
						t.Fatalf("reply %q", e.Reply())
					}
					if st := a.StatusOf(ask("p", n, "", "")); st.Standing != authserver.StandingClientRefused {
						t.Fatalf("status %+v", st)
					}
				}
			})
		})
	}
}
