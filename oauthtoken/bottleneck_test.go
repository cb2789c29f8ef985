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
)

// The proofs of docs/bottlenecks.md that no other test gives.

// TestStartAsksNothing holds that a start costs no request, however many
// accounts the store knows: what is due is done at its time.
func TestStartAsksNothing(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := bubbleEndpoint()
		cfg := config(dir, s.URL, nil)
		a := newApp(t, cfg, inBubble(s))
		for i := range 200 {
			n := fmt.Sprint("account", i)
			mustToken(t, a.App, "p", n, s.seed(n))
		}
		a.stop()
		posts := s.count()
		b := newApp(t, cfg, inBubble(s))
		synctest.Wait()
		if n := s.count() - posts; n != 0 {
			t.Errorf("%d requests at the start", n)
		}
		b.stop()
	})
}

// TestStalledEndpointStopsNoValidToken holds that a valid token is returned at
// once while the endpoint hangs for another account, and for the refresh ahead
// of its own.
func TestStalledEndpointStopsNoValidToken(t *testing.T) {
	s := newEndpoint(t)
	a := newApp(t, config(t.TempDir(), s.URL, nil))
	seed := s.seed("alice")
	want := mustToken(t, a.App, "p", "alice", seed)

	stalled, release := make(chan struct{}, 1), make(chan struct{})
	s.setFault(func(http.ResponseWriter, *http.Request, int, bool) bool {
		select {
		case stalled <- struct{}{}:
		default:
		}
		<-release
		return false
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	other := s.seed("bob")
	go func() {
		_, err := a.Token(ctx, ask("p", "bob", "bob", other))
		done <- err
	}()
	<-stalled
	for range 1000 {
		if got := mustToken(t, a.App, "p", "alice", seed); got != want {
			t.Fatalf("got %s", got)
		}
	}
	select {
	case err := <-done:
		t.Fatalf("the endpoint was not stalled: %v", err)
	default:
	}
	close(release)
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("bob got no answer")
	}
	cancel()
}
