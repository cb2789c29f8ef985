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
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

// caddyConfig is a whole Caddy configuration.
func caddyConfig(t *testing.T, root, url string, more map[string]any) []byte {
	t.Helper()
	t.Setenv("TEST_SECRET", "the-client-secret")
	oauth := config("", url, more)
	delete(oauth, "store")
	b, err := json.Marshal(map[string]any{
		"admin":   map[string]any{"disabled": true, "config": map[string]any{"persist": false}},
		"logging": map[string]any{"logs": map[string]any{"default": map[string]any{"writer": map[string]any{"output": "discard"}}}},
		"storage": map[string]any{"module": "file_system", "root": root},
		"apps":    map[string]any{"oauth_tokens": oauth},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func running(t *testing.T) *App {
	t.Helper()
	v, err := caddy.ActiveContext().AppIfConfigured("oauth_tokens")
	if err != nil {
		t.Fatal(err)
	}
	return v.(*App)
}

func TestCaddyReloads(t *testing.T) {
	s := newEndpoint(t)
	root := t.TempDir()
	seed := s.seed("alice")
	load := func(more map[string]any) error { return caddy.Load(caddyConfig(t, root, s.URL, more), true) }
	if err := load(nil); err != nil {
		t.Fatal(err)
	}
	defer func() {
		m := running(t).served["p"].man
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		m.loops.Wait()
	}()
	tok := mustToken(t, running(t), "p", "alice", seed)
	first := running(t)
	for i := range 20 {
		if err := load(map[string]any{"max_attempts": i%2 + 1}); err != nil {
			t.Fatal(err)
		}
		if got := mustToken(t, running(t), "p", "alice", seed); got != tok {
			t.Fatalf("reload %d: %s in place of %s", i, got, tok)
		}
	}
	if err := load(map[string]any{"kind": "gogle"}); err == nil || !strings.Contains(err.Error(), "provider 'p': unrecognized kind 'gogle'") {
		t.Fatalf("error %v", err)
	}
	p := running(t).served["p"]
	if refs, _ := managers.References(p.key); refs != 1 || p.man.current.Load() != p || s.count() != 1 {
		t.Fatalf("%d references, %d requests", refs, s.count())
	}
	// A session of a configuration long gone still gets the warm token.
	if got, err := first.Token(context.Background(), ask("p", "alice", "alice", seed)); err != nil || got.AccessToken != tok {
		t.Fatalf("%v %v", got, err)
	}
}

func TestValidateTouchesNothing(t *testing.T) {
	root := t.TempDir()
	var cfg caddy.Config
	if err := json.Unmarshal(caddyConfig(t, root, "https://id.test", nil), &cfg); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&cfg); err != nil {
		t.Fatal(err)
	}
	if d, err := os.ReadDir(root); err != nil || len(d) > 0 {
		t.Fatalf("%v, %v", d, err)
	}
	n := 0
	managers.Range(func(any, any) bool { n++; return true })
	if n != 0 {
		t.Fatalf("%d managers are left", n)
	}
}

func TestAccountWarnings(t *testing.T) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	a := newApp(t, map[string]any{"providers": map[string]any{
		"microsoft": map[string]any{"client_id": "c"}, "google": map[string]any{"client_id": "c"},
	}})
	ms, google := a.served["microsoft"], a.served["google"]
	for name, tc := range map[string]struct {
		p    *served
		r    *tokenstore.Record
		want string
	}{
		"fresh":    {ms, &tokenstore.Record{RefreshToken: "r", LastRefresh: now.Add(-day)}, ""},
		"no token": {ms, &tokenstore.Record{LastRefresh: now.Add(-300 * day)}, ""},
		"idle":     {ms, &tokenstore.Record{RefreshToken: "r", LastRefresh: now.Add(-80 * day)}, "lapses after 90 days"},
		"testing":  {google, &tokenstore.Record{RefreshToken: "r", LastRefresh: now, RefreshExpires: now.Add(2 * day)}, "the consent expires at 2026-11-03T00:00:00Z; a Google app in testing"},
		"far":      {google, &tokenstore.Record{RefreshToken: "r", LastRefresh: now, RefreshExpires: now.Add(6 * day)}, ""},
	} {
		w := strings.Join((*manager)(nil).accountWarnings(tc.p, tc.r, now), "\n")
		if (w == "") != (tc.want == "") || !strings.Contains(w, tc.want) {
			t.Errorf("%s: %q", name, w)
		}
	}
}
