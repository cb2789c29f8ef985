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
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/caddyevents"
	_ "github.com/caddyserver/caddy/v2/modules/caddytls"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	"github.com/caddyserver/certmagic"
	"go.uber.org/goleak"

	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

func TestMain(m *testing.M) {
	if childMain() {
		return
	}
	goleak.VerifyTestMain(m,
		// Lives until 5 s after its lock was given back.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
}

// testStore is a file store whose locks belong to the kernel, so that those
// of a killed process are free at once, and whose steps can be made to fail.
type testStore struct {
	Path string   `json:"path"`
	Keys []string `json:"keys,omitempty"`

	files *certmagic.FileStorage
	seal  *tokenstore.Sealer
	hooks *storeHooks
	mu    sync.Mutex
	locks map[string]*os.File
}

// storeHooks outlive the configurations of one test.
type storeHooks struct {
	mu    sync.Mutex
	fail  func(op, key string) error
	saves int
	locks int
}

var hooksByPath sync.Map

func hooksOf(path string) *storeHooks {
	h, _ := hooksByPath.LoadOrStore(path, new(storeHooks))
	return h.(*storeHooks)
}

func (h *storeHooks) set(f func(op, key string) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail = f
}

func (h *storeHooks) at(op, key string) error {
	h.mu.Lock()
	f := h.fail
	switch op {
	case "save":
		h.saves++
	case "lock":
		h.locks++
	}
	h.mu.Unlock()
	if f != nil {
		return f(op, key)
	}
	return nil
}

func init() {
	caddy.RegisterModule(new(testStore))
	caddy.RegisterModule(new(fileStore))
}

// fileStore is the real store over Caddy's file storage in a directory.
type fileStore struct {
	Path string `json:"path"`
	*tokenstore.StorageStore
}

func (*fileStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "oauth_tokens.stores.files", New: func() caddy.Module { return new(fileStore) }}
}

func (s *fileStore) Provision(caddy.Context) error {
	s.StorageStore = tokenstore.NewStorageStore(&certmagic.FileStorage{Path: s.Path})
	return nil
}

func (*testStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "oauth_tokens.stores.test", New: func() caddy.Module { return new(testStore) }}
}

func (s *testStore) Provision(caddy.Context) (err error) {
	s.files = &certmagic.FileStorage{Path: s.Path}
	s.hooks = hooksOf(s.Path)
	s.locks = map[string]*os.File{}
	s.seal, err = tokenstore.NewSealer(s.Keys)
	return err
}

func (s *testStore) Sealer() *tokenstore.Sealer { return s.seal }

func (s *testStore) Load(ctx context.Context, key string) ([]byte, error) {
	if err := s.hooks.at("load", key); err != nil {
		return nil, err
	}
	return s.files.Load(ctx, key)
}

func (s *testStore) Save(ctx context.Context, key string, v []byte) error {
	if err := s.hooks.at("save", key); err != nil {
		return err
	}
	if err := s.files.Store(ctx, key, v); err != nil {
		return err
	}
	return s.hooks.at("saved", key)
}

func (s *testStore) Delete(ctx context.Context, key string) error {
	if err := s.hooks.at("delete", key); err != nil {
		return err
	}
	if !s.files.Exists(ctx, key) {
		return nil
	}
	return s.files.Delete(ctx, key)
}

func (s *testStore) List(ctx context.Context, prefix string) ([]string, error) {
	if !s.files.Exists(ctx, prefix) {
		return nil, nil
	}
	return s.files.List(ctx, prefix, false)
}

func (s *testStore) Lock(ctx context.Context, key string) error {
	if err := s.hooks.at("lock", key); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.Path, filepath.Base(key)+".flock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	for {
		ok, err := tryFlock(f)
		if ok {
			break
		}
		if ctx.Err() != nil || err != nil {
			f.Close()
			return errors.Join(ctx.Err(), err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locks[key] = f
	return nil
}

func (s *testStore) Holds(_ context.Context, key string) error { return s.hooks.at("holds", key) }

func (s *testStore) Unlock(_ context.Context, key string) error {
	s.mu.Lock()
	f := s.locks[key]
	delete(s.locks, key)
	s.mu.Unlock()
	return errors.Join(f.Close(), s.hooks.at("unlock", key))
}

type testApp struct {
	*App
	stop func()
}

// config is an oauth_tokens configuration with one generic provider `p`.
func config(dir, url string, more map[string]any) map[string]any {
	p := map[string]any{
		"token_url": url + "/token", "client_id": "client", "client_secret": "{env.TEST_SECRET}",
		"max_per_second": 100000,
	}
	for k, v := range more {
		p[k] = v
	}
	return map[string]any{
		"store":     map[string]any{"store": "test", "path": dir},
		"providers": map[string]any{"p": p},
	}
}

// newApp provisions and starts an app the way Caddy does, with retries made short.
func newApp(t testing.TB, cfg map[string]any, change ...func(*served)) *testApp {
	t.Helper()
	a, err := loadApp(cfg, change...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.stop)
	return a
}

func loadApp(cfg map[string]any, change ...func(*served)) (*testApp, error) {
	_ = os.Setenv("TEST_SECRET", "the-client-secret")
	root, ok := cfg["storage_root"].(string)
	if ok {
		cfg = maps.Clone(cfg)
		delete(cfg, "storage_root")
	} else {
		root = "/nonexistent"
	}
	storage, _ := json.Marshal(map[string]string{"module": "file_system", "root": root})
	base, err := caddy.ProvisionContext(&caddy.Config{
		StorageRaw: storage,
		Logging:    &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output":"discard"}`)}}}},
	})
	if err != nil {
		return nil, err
	}
	b, _ := json.Marshal(cfg)
	ctx, cancel := caddy.NewContext(base)
	v, err := ctx.LoadModuleByID("oauth_tokens", b)
	if err != nil {
		cancel()
		return nil, err
	}
	a := v.(*App)
	for _, p := range a.served {
		p.retryFirst = 2 * time.Millisecond
		for _, c := range change {
			c(p)
		}
	}
	if err := a.Start(); err != nil {
		cancel()
		return nil, err
	}
	var once sync.Once
	return &testApp{App: a, stop: func() {
		once.Do(func() {
			var ms []*manager
			for _, p := range a.served {
				ms = append(ms, p.man)
			}
			_ = a.Stop()
			cancel()
			for _, m := range ms {
				if m.isClosed() {
					m.flights.Wait()
					m.loops.Wait()
				}
			}
		})
	}}, nil
}

// entryOf reaches into the manager.
func (a *testApp) entryOf(account string) *entry {
	return a.served["p"].man.entries.get(account)
}

// expire makes the account's token need a refresh now.
func (a *testApp) expire(account string) {
	p := a.served["p"]
	e := p.man.entry(account)
	e.mu.Lock()
	e.cur.Store(nil)
	e.blockUntil = time.Time{}
	e.mu.Unlock()
	// The cached copy in the store would be found again.
	key := tokenstore.StorageKey("p", account)
	if rec, err := p.records.Load(context.Background(), key); err == nil && rec != nil {
		rec.AccessToken, rec.Expiry = "", time.Time{}
		_ = p.records.Swap(key, rec, rec.Seq)
	}
}

// unblock lets the account's refresh be tried again now.
func (a *testApp) unblock(account string) {
	e := a.entryOf(account)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.blockUntil = time.Time{}
}

// inBubble lets an app in a synctest bubble talk to the endpoint: no network
// connection blocks the bubble's clock.
func inBubble(s *endpoint) func(*served) {
	return func(p *served) { p.SetTransport(handlerTransport{s}) }
}

type handlerTransport struct{ h http.Handler }

func (t handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	done := make(chan *http.Response, 1)
	go func() {
		w := httptest.NewRecorder()
		t.h.ServeHTTP(w, r)
		done <- w.Result()
	}()
	select {
	case resp := <-done:
		resp.Request = r
		return resp, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// bubbleEndpoint is an endpoint without a listener.
func bubbleEndpoint() *endpoint {
	return &endpoint{
		families: map[string]*family{}, byToken: map[string]*issued{}, byAccess: map[string]*issued{}, expires: 3600,
		Server: &httptest.Server{URL: "http://127.0.0.1:1"},
	}
}

// ask is a request for the provider's own scopes.
func ask(provider, account, mailbox, seed string) grant.Request {
	return grant.Request{Provider: provider, Account: account, Mailbox: mailbox, Seed: seed}
}
