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

package mailapi

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// hanging is a provider that reads a request, or does not, and answers never.
type hanging struct{ reads bool }

func (h hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	if h.reads {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	<-r.Context().Done()
	_ = r.Body.Close()
	return nil, r.Context().Err()
}

// TestUnderWayAtTheEnd holds that a request which is under way when a lease ends goes on,
// that nothing is begun beside it, and that it is given up when other
// nodes may use its place. It counts for as long as the provider may be at it.
func TestUnderWayAtTheEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		reads    bool
		want     *relay.Reply
		occupied bool // a minute later its place is free
	}{
		"all of it is there": {reads: true, want: relay.ReplyAPIUnknown, occupied: true},
		"nothing of it is":   {want: relay.ReplyLimitsNotStored},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lease := new(leased)
				lease.until.Store(math.MaxInt64)
				u := scripted(t, &Upstream{MaxWait: time.Second}, nil)
				u.Limits = accounts.Limits{MaxConns: 2}
				u.Timeout, u.http.Transport, u.lender = time.Hour, hanging{tc.reads}, lease
				l := newLedger()
				l.attach(u)
				defer l.detach(u)
				p, _, err := l.enter(t.Context(), u, mailbox())
				if err != nil {
					t.Fatal(err)
				}
				tx := &transaction{u: u, acct: mailbox(), place: p}
				if err := tx.Rcpt(t.Context(), "a@example.org", nil); err != nil {
					t.Fatal(err)
				}
				done := make(chan error, 1)
				go func() {
					_, err := tx.Data(context.Background(), strings.NewReader("hello"))
					done <- err
				}()
				synctest.Wait()
				lease.until.Store(0)
				time.Sleep(30 * time.Second)
				select {
				case err := <-done:
					t.Fatalf("it ends with the lease: %v", err)
				default:
				}
				if _, _, err := l.enter(t.Context(), u, mailbox()); err == nil {
					t.Error("another one begins without a lease")
				}
				lease.local.Load().End(boxKey(mailbox()))
				if err := <-done; !errors.Is(err, tc.want) {
					t.Errorf("%v, want %v", err, tc.want)
				}
				synctest.Wait()
				used := false
				inUse := func(string) { used = true }
				lease.local.Load().InUse(inUse)
				if used != tc.occupied {
					t.Errorf("in use behind it: %v", used)
				}
				time.Sleep(lingering + time.Second)
				used = false
				if lease.local.Load().InUse(inUse); used {
					t.Error("in use for ever")
				}
			})
		})
	}
}
