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
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymail/mailgateway/oauthtoken/authserver"
)

func TestRefreshAheadOnlyOfAccountsInUse(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := bubbleEndpoint()
		a := newApp(t, config(dir, s.URL, nil), inBubble(s))
		defer a.stop()
		busy, idle := s.seed("busy"), s.seed("idle")
		first := mustToken(t, a.App, "p", "busy", busy)
		mustToken(t, a.App, "p", "idle", idle)
		time.Sleep(35 * time.Minute)
		mustToken(t, a.App, "p", "busy", busy)
		time.Sleep(16 * time.Minute) // between 50 and 60 minus the jitter
		synctest.Wait()
		if s.count() != 3 || s.family("busy").n != 3 || s.family("idle").n != 2 {
			t.Fatalf("%d requests", s.count())
		}
		posts := s.count()
		if tok := mustToken(t, a.App, "p", "busy", busy); tok == first || s.count() != posts {
			t.Fatal("the token was not refreshed ahead")
		}
		// An idle account's hit in the last minutes brings its refresh, in
		// the background: the hit itself gets the token at once.
		if tok := mustToken(t, a.App, "p", "idle", idle); tok != "access-idle-2" {
			t.Fatalf("got %s", tok)
		}
		synctest.Wait()
		if s.family("idle").n != 3 {
			t.Fatal("the use did not bring the refresh")
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if a.entryOf("idle").cur.Load() != nil {
			t.Fatal("an expired token is kept in memory")
		}
		if st := a.Status(StatusFilter{Account: "idle"}); len(st) != 1 || st[0].State != "idle" {
			t.Fatalf("status %+v", st)
		}
	})
}

func TestKeepAliveAcrossRestarts(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := bubbleEndpoint()
		cfg := config(dir, s.URL, nil)
		a := newApp(t, cfg, inBubble(s))
		seeds := map[string]string{}
		for i := range 20 {
			n := fmt.Sprint("account", i)
			seeds[n] = s.seed(n)
			mustToken(t, a.App, "p", n, seeds[n])
		}
		time.Sleep(20 * 24 * time.Hour)
		synctest.Wait()
		if n := s.count(); n < 60 || n > 80 {
			t.Fatalf("%d requests for 20 accounts in 20 days", n)
		}
		// The next process knows the accounts from the store alone.
		a.stop()
		posts := s.count()
		b := newApp(t, cfg, inBubble(s))
		time.Sleep(8 * 24 * time.Hour)
		synctest.Wait()
		if n := s.count() - posts; n < 20 || n > 40 {
			t.Fatalf("%d requests after the restart", n)
		}
		for n, seed := range seeds {
			if !s.use(mustToken(t, b.App, "p", n, seed)) {
				t.Fatalf("%s lost its token", n)
			}
		}
		b.stop()
		posts = s.count()
		cfg["keep_alive"] = -1
		c := newApp(t, cfg, inBubble(s))
		time.Sleep(30 * 24 * time.Hour)
		if s.count() != posts {
			t.Fatal("keep_alive -1 refreshes all the same")
		}
		c.stop()
	})
}

func TestBreaker(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := bubbleEndpoint()
		a := newApp(t, config(dir, s.URL, nil), inBubble(s))
		defer a.stop()
		good := s.seed("good")
		cached := mustToken(t, a.App, "p", "good", good)
		s.setFault(func(w http.ResponseWriter, _ *http.Request, _ int, after bool) bool {
			if !after {
				w.WriteHeader(503)
			}
			return !after
		})
		before := s.count()
		for i := range 50 {
			n := fmt.Sprint("account", i)
			_, err := a.Token(context.Background(), ask("p", n, n, s.seed(n)))
			wantError(t, err)
			if err.(*authserver.Error).ReauthRequired() {
				t.Fatal("an outage asks for consent")
			}
		}
		if n := s.count() - before; n > breakerThreshold+1 {
			t.Fatalf("%d requests to an endpoint that is down", n)
		}
		if !a.ProviderStatus()[0].EndpointDown {
			t.Fatal("the status doesn't say that the endpoint is down")
		}
		// Valid tokens are used all the while, to their last minute.
		for range 59 {
			time.Sleep(time.Minute)
			if mustToken(t, a.App, "p", "good", good) != cached {
				t.Fatal("another token")
			}
		}
		s.setFault(nil)
		time.Sleep(2 * time.Minute)
		if !s.use(mustToken(t, a.App, "p", "good", good)) {
			t.Fatal("no recovery")
		}
		for i := range 50 {
			n := fmt.Sprint("account", i)
			mustToken(t, a.App, "p", n, "refresh-"+n+"-1")
		}
	})
}

func TestGrantErrorsNeverOpenTheBreaker(t *testing.T) {
	s := newEndpoint(t)
	a := newApp(t, config(t.TempDir(), s.URL, nil))
	for i := range 50 {
		_, err := a.Token(context.Background(), ask("p", fmt.Sprint(i), "", "no-such-token"))
		wantError(t, err, "needs consent again", "invalid_grant")
	}
	if s.count() != 50 {
		t.Fatalf("%d requests for 50 dead tokens", s.count())
	}
	mustToken(t, a.App, "p", "alice", s.seed("alice"))
}

func TestRetryAfter(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := bubbleEndpoint()
		var times []time.Time
		s.setFault(func(w http.ResponseWriter, _ *http.Request, n int, after bool) bool {
			if after || n > 2 {
				return false
			}
			times = append(times, time.Now())
			w.Header().Set("Retry-After", map[int]string{1: "7", 2: "120"}[n])
			w.WriteHeader(429)
			return true
		})
		a := newApp(t, config(dir, s.URL, nil), inBubble(s))
		defer a.stop()
		seed := s.seed("alice")
		_, err := a.Token(context.Background(), ask("p", "alice", "alice", seed))
		wantError(t, err, "HTTP 429")
		if d := times[1].Sub(times[0]); d < 7*time.Second {
			t.Fatalf("asked again after %s", d)
		}
		time.Sleep(time.Minute)
		_, err = a.Token(context.Background(), ask("p", "alice", "alice", seed))
		wantError(t, err)
		if s.count() != 2 {
			t.Fatalf("%d requests although two minutes were asked for", s.count())
		}
		time.Sleep(61 * time.Second)
		mustToken(t, a.App, "p", "alice", seed)
	})
}

// TestRetryAfterForEver has the server say `Retry-After: 1` for an hour to a client
// that asks each second: that is no order to ask each second.
func TestRetryAfterForEver(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := bubbleEndpoint()
		s.setFault(func(w http.ResponseWriter, _ *http.Request, _ int, after bool) bool {
			if !after {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(429)
			}
			return !after
		})
		a := newApp(t, config(dir, s.URL, nil), inBubble(s))
		defer a.stop()
		seed := s.seed("alice")
		for end := time.Now().Add(time.Hour); time.Now().Before(end); time.Sleep(time.Second) {
			_, err := a.Token(context.Background(), ask("p", "alice", "alice", seed))
			wantError(t, err, "HTTP 429")
		}
		if n := s.count(); n > 720 {
			t.Errorf("%d requests in an hour", n)
		} else {
			t.Log(n, "requests")
		}
		s.setFault(nil)
		time.Sleep(time.Minute)
		mustToken(t, a.App, "p", "alice", seed)
	})
}

func TestInvalidClientIsEverybodysTrouble(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := bubbleEndpoint()
		s.setFault(answer(1<<30, 401, "application/json", `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided."}`))
		cfg := config(dir, s.URL, nil)
		a := newApp(t, cfg, inBubble(s))
		for i := range 100 {
			n := fmt.Sprint("account", i)
			_, err := a.Token(context.Background(), ask("p", n, n, s.seed(n)))
			wantError(t, err, "invalid_client")
			if err.(*authserver.Error).ReauthRequired() {
				t.Fatal("a wrong secret asks for consent")
			}
		}
		if s.count() != 3 {
			t.Fatalf("%d requests with a wrong secret", s.count())
		}
		if e := a.ProviderStatus()[0].LastError; e == nil || e.Reason != "AADSTS7000215" || e.Remedy == "" {
			t.Fatalf("status %+v", e)
		}
		// A reload with the right secret works at once, for whoever did not
		// ask before.
		s.setFault(nil)
		b := newApp(t, cfg, inBubble(s))
		a.stop()
		mustToken(t, b.App, "p", "fresh", s.seed("fresh"))
		time.Sleep(10 * time.Minute)
		mustToken(t, b.App, "p", "account1", "refresh-account1-1")
		b.stop()
	})
}

func TestSlowEndpoint(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := bubbleEndpoint()
		s.setFault(func(_ http.ResponseWriter, _ *http.Request, n int, after bool) bool {
			if !after && n <= 2 {
				time.Sleep(time.Hour)
			}
			return false
		})
		a := newApp(t, config(dir, s.URL, map[string]any{"timeout": "5s", "max_attempts": 2}), inBubble(s))
		defer a.stop()
		seed := s.seed("alice")
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := a.Token(ctx, ask("p", "alice", "alice", seed))
		cancel()
		wantError(t, err, "no access token in time")
		_, err = a.Token(context.Background(), ask("p", "alice", "alice", seed))
		wantError(t, err, "no answer from the token endpoint in time")
		if s.count() != 2 {
			t.Fatalf("%d requests", s.count())
		}
		time.Sleep(5 * time.Second)
		mustToken(t, a.App, "p", "alice", seed)
		time.Sleep(2 * time.Hour)
	})
}

func TestExpiringTogetherIsPaced(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := bubbleEndpoint()
		s.setFault(func(_ http.ResponseWriter, _ *http.Request, _ int, after bool) bool {
			if !after {
				time.Sleep(500 * time.Millisecond)
			}
			return false
		})
		a := newApp(t, config(dir, s.URL, map[string]any{"grant": "service_account", "service_account_file": testServiceAccount(t, s.URL), "max_parallel": 8, "max_per_second": 100, "client_id": "", "client_secret": ""}), inBubble(s))
		defer a.stop()
		const n = 200
		done := make(chan error, n)
		for i := range n {
			go func() {
				_, err := a.Token(context.Background(), ask("p", "x", fmt.Sprint("mailbox", i), ""))
				done <- err
			}()
		}
		for range n {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		if s.most > 8 || s.count() != n {
			t.Fatalf("%d at a time, %d in all", s.most, s.count())
		}
		// All are in use when they expire: refreshed in the background,
		// while a new account, in the foreground, goes first.
		time.Sleep(40 * time.Minute)
		for i := range n {
			if _, err := a.Token(context.Background(), ask("p", "x", fmt.Sprint("mailbox", i), "")); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(8 * time.Minute)
		begin := time.Now()
		if _, err := a.Token(context.Background(), ask("p", "x", "new", "")); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d > 2*time.Second {
			t.Fatalf("the foreground waited %s", d)
		}
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		if c := s.count(); c != 2*n+1 || s.most > 8 {
			t.Fatalf("%d requests, %d at a time", c, s.most)
		}
	})
}
