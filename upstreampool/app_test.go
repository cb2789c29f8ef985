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
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/filestorage"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/accounts"
	oauthgrant "github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreamapp"
	"github.com/caddymail/mailgateway/upstreampool/meter"
	"github.com/caddymail/mailgateway/upstreampool/preset"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// tokenApp stands for the app oauth_tokens, which this package may not import.
type tokenApp struct{ tokens }

func init() {
	caddy.RegisterModule(new(tokenApp))
	_ = filestorage.FileStorage{}
}

func (*tokenApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "oauth_tokens", New: func() caddy.Module { return new(tokenApp) }}
}
func (*tokenApp) Start() error { return nil }
func (*tokenApp) Stop() error  { return nil }

func (*tokenApp) HasProvider(name string) bool { return name == "google" }

func (*tokenApp) Token(context.Context, oauthgrant.Request) (*oauth2.Token, error) {
	return &oauth2.Token{AccessToken: "made-up"}, nil
}

// load provisions and starts a configuration of the app.
func load(t *testing.T, config string) (*upstreamapp.App, func(), error) {
	t.Helper()
	storage, err := json.Marshal(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	var cfg caddy.Config
	raw := `{"admin":{"disabled":true},"storage":{"module":"file_system","root":` + string(storage) + `},
		"apps":{"oauth_tokens":{},"smtp_upstreams":{"upstreams":` + config + `}}}`
	if err := json.Unmarshal([]byte(raw), &cfg); err != nil {
		t.Fatal(err)
	}
	ctx, err := caddy.ProvisionContext(&cfg)
	if err != nil {
		return nil, nil, err
	}
	mod, err := ctx.App("smtp_upstreams")
	if err != nil {
		return nil, nil, err
	}
	app := mod.(*upstreamapp.App)
	return app, func() {
		if err := app.Stop(); err != nil {
			t.Error(err)
		}
	}, nil
}

func TestConfigErrors(t *testing.T) {
	for in, want := range map[string]string{
		`{"x":{}}`:                                              "upstream 'x': dial: missing",
		`{"x":{"preset":"gmial"}}`:                              "upstream 'x': preset: unrecognized preset 'gmial'",
		`{"x":{"preset":"microsft365"}}`:                        "did you mean 'microsoft365'?",
		`{"x":{"dial":"::1:2525"}}`:                             "dial: '::1:2525' is an IPv6 address without its brackets; did you mean '[::1]:2525'?",
		`{"x":{"dial":"smtp://smtp.example.com"}}`:              "dial: 'smtp://smtp.example.com' is a URL, and the address alone is wanted; did you mean 'smtp.example.com:587'?",
		`{"x":{"dial":"host"}}`:                                 "upstream 'x': dial: 'host' lacks its port, as in 'host:587'",
		`{"x":{"dial":"a b:25"}}`:                               "upstream 'x': dial: malformed address",
		`{"x":{"dial":"h:25"}}`:                                 "upstream 'x': auth.mechanism: missing",
		`{"x":{"dial":"h:25","auth":{"mechanism":"cram-md5"}}}`: "upstream 'x': auth.mechanism: unrecognized value 'cram-md5'",
		`{"x":{"dial":"h:25","auth":{"mechanism":"xoauth2"}}}`:  "upstream 'x': auth.provider: missing",
		`{"x":{"dial":"h:25","auth":{"mechanism":"xoauth2","provider":"acme"}}}`:       "upstream 'x': auth.provider: OAuth provider 'acme' is not configured",
		`{"x":{"dial":"h:25","auth":{"mechanism":"plain"},"tls":{"mode":"ssl"}}}`:      "upstream 'x': tls.mode: 'ssl' is not starttls, implicit or off; did you mean 'implicit'",
		`{"x":{"dial":"h:25","auth":{"mechanism":"plain"},"framing":"bdat"}}`:          "upstream 'x': framing: unrecognized value 'bdat'",
		`{"x":{"dial":"h:25","auth":{"mechanism":"plain"},"source_ip":"localhost"}}`:   "upstream 'x': source_ip: 'localhost' is not an IP address, as in 192.0.2.7",
		`{"x":{"dial":"h:25","auth":{"mechanism":"plain"},"max_conns":-1}}`:            "upstream 'x': max_conns: must not be negative",
		`{"x":{"dial":"h:25","auth":{"mechanism":"plain"},"idle_timeout":-1}}`:         "upstream 'x': idle_timeout: must not be negative",
		`{"x":{"dial":"h:25","auth":{"mechanism":"plain"},"hostname":"a b"}}`:          "upstream 'x': hostname: malformed name 'a b'",
		`{"x":{"dial":"{env.NO_SUCH_THING}","auth":{"mechanism":"plain"}}}`:            "dial: ",
		`{"x":{"dial":"h:25","auth":{"mechanism":"plain"},"rate_per_account":"fast"}}`: `malformed rate "fast"`,
		`{"x":{"transport":"pigeon"}}`:                                                 "unknown module: smtp_upstreams.transports.pigeon",
		`{"x":{"dail":"h:25"}}`:                                                        "dail",
		`{"a b":{"preset":"gmail"}}`:                                                   "malformed upstream name 'a b'",
	} {
		_, _, err := load(t, in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}

func TestPresets(t *testing.T) {
	for _, name := range preset.Names() {
		p, _ := preset.ByName(name)
		own := ""
		if p.Hint != "" { // the host is the customer's own
			own, p.Dial = "own.test:587", "own.test:587"
		}
		s, err := (&SMTPTransport{Dial: own}).resolve(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s.Address() != p.Dial || s.TLSMode != p.TLS || s.Mechanism != p.Mechanism || s.Provider != p.Provider ||
			s.rate != p.Rate || s.messages != p.Messages || s.recipients != p.Recipients {
			t.Errorf("%s: %+v", name, s)
		}
		// Any line overrides.
		s, err = (&SMTPTransport{
			Preset: name, Dial: "other.test:26", TLS: &UpstreamTLS{Mode: smtpclient.NoTLS}, Auth: &UpstreamAuth{Mechanism: smtpclient.AuthLogin},
			MaxConnsPerAccount: 77, RatePerAccount: accounts.Rate{Count: 1, Per: 1},
		}).resolve("x")
		if err != nil || s.Address() != "other.test:26" || s.TLSMode != smtpclient.NoTLS || s.Mechanism != smtpclient.AuthLogin ||
			s.maxConnsPerAccount != 77 || s.rate.Count != 1 || s.messages != p.Messages {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	if s, _ := (&SMTPTransport{}).resolve("microsoft365"); s.maxConnsPerAccount != 3 {
		t.Error("Microsoft allows 3 connections")
	}
	for name, want := range map[string]int{"gmail": 1000, "microsoft365": 1000, "yahoo": 100, "none": 100} {
		s, err := (&SMTPTransport{Dial: "127.0.0.1:1", Auth: &UpstreamAuth{Mechanism: smtpclient.AuthNone}}).resolve(name)
		if err != nil || s.maxMessages != want {
			t.Errorf("%s: %d messages on a connection, %v, want %d", name, s.maxMessages, err, want)
		}
	}
}

// TestReload checks that a new configuration keeps connections, that Provision
// alone changes nothing, and that the end of the last one closes with QUIT.
func TestReload(t *testing.T) {
	p := newProvider(t)
	name := ofRun(t, "reload")
	config := func(more string) string {
		return fmt.Sprintf(`{%q:{"dial":%q,"tls":{"mode":"off"},"auth":{"mechanism":"plain"},"hostname":"gw.test"%s},"gmail":null}`, name, p.ln.Addr(), more)
	}
	a := testAccount("a@a.test")
	a.Upstream = name
	send := func(app *upstreamapp.App) error {
		tx, err := app.Begin(t.Context(), a, "from@a.test", nil)
		if err != nil {
			return err
		}
		defer tx.Abort()
		if err := tx.Rcpt(t.Context(), "to@b.test", nil); err != nil {
			return err
		}
		_, err = tx.Data(t.Context(), strings.NewReader("x"))
		return err
	}
	one, stopOne, err := load(t, config(""))
	if err != nil {
		t.Fatal(err)
	}
	// A message that is here before Start waits for it.
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := send(one); err != nil {
			t.Error(err)
		}
	})
	if err := one.Start(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if _, _, err := load(t, config(`,"max_conns_per_account":1`)); err != nil { // never started
		t.Fatal(err)
	}
	two, stopTwo, err := load(t, config(`,"max_conns_per_account":2,"messages_per_account":"3/24h"`))
	if err != nil {
		t.Fatal(err)
	}
	if err := two.Start(); err != nil {
		t.Fatal(err)
	}
	tx, err := one.Begin(t.Context(), a, "", nil) // under way while the old one stops
	if err != nil {
		t.Fatal(err)
	}
	stopOne()
	if err := tx.Rcpt(t.Context(), "to@b.test", nil); err != nil {
		t.Error(err)
	}
	if _, err := tx.Data(t.Context(), strings.NewReader("x")); err != nil {
		t.Error(err)
	}
	if err := send(two); err != nil {
		t.Error(err)
	}
	if n := p.dialed(); n != 1 {
		t.Errorf("%d connections", n)
	}
	st, err := two.AccountStatus(a)
	if err != nil || st.MaxConns != 2 || st.Connections.Idle != 1 || len(st.Limits) != 1 || st.Limits[0].Remaining != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	if list := two.Status(); len(list) != 2 || list[1].Name != name || list[1].Connections.Idle != 1 || list[1].Breaker != "closed" {
		t.Errorf("%+v", list)
	}
	if err := two.Drain(name); err != nil {
		t.Error(err)
	}
	i := slices.IndexFunc(live(), func(u *upstream) bool { return u.name == name })
	if i < 0 {
		t.Fatal("the upstream is not among the live ones")
	}
	u := live()[i]
	u.closing.Wait()
	if err := send(two); err != nil {
		t.Error(err)
	}
	if n := p.dialed(); n != 2 {
		t.Errorf("%d connections after Drain", n)
	}
	if err := two.Drain("nobody"); !errors.Is(err, upstreamapp.ErrNoUpstream) {
		t.Error(err)
	}
	b := testAccount("b@a.test")
	b.Upstream = "nobody"
	if _, err := two.Begin(t.Context(), b, "", nil); !errors.Is(err, relay.ReplyNoUpstream) {
		t.Error(err)
	}
	if reply, info, err := two.Send(t.Context(), a, "", nil, relay.Recipient{To: "x@b.test"}, strings.NewReader("y")); err == nil ||
		info.Upstream != name || reply.Code != 0 || !strings.Contains(err.Error(), "Message quota used up") {
		t.Error(reply, info, err)
	}

	reg := prometheus.NewPedanticRegistry()
	if err := meter.Register(reg, connections); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{
		`caddy_smtp_upstream_connections{state="idle",upstream=%q} 1`,
		`caddy_smtp_upstream_dials_total{result="ok",upstream=%q} 2`,
		`caddy_smtp_upstream_wait_seconds_count{upstream=%q} 4`,
		`caddy_smtp_limited_total{result="refused",upstream=%q} 1`,
	} {
		line = fmt.Sprintf(line, name)
		if !strings.Contains(w.Body.String(), line) {
			t.Errorf("missing %s in\n%s", line, w.Body.String())
		}
	}

	stopTwo()
	u.closing.Wait()
	u.limits.Wait()
	if n := p.count("QUIT"); n != 2 {
		t.Errorf("%d QUITs", n)
	}
	if _, err := two.Begin(t.Context(), a, "", nil); !errors.Is(err, relay.ReplyShuttingDown) {
		t.Error(err)
	}
}

func TestVerify(t *testing.T) {
	server, pool := testTLS(t)
	var words atomic.Value
	words.Store("")
	var challenged atomic.Bool
	p := newProvider(t, func(p *provider) {
		p.tls = server
		p.hook = func(_ *serverConn, line string) string {
			switch {
			case strings.HasPrefix(line, "AUTH") && words.Load() != "":
				challenged.Store(true)
				return "334 " + b64(`{"status":"400","schemes":"Bearer","scope":"s"}`)
			case challenged.Swap(false):
				return words.Load().(string)
			}
			return ""
		}
	})
	tr := &SMTPTransport{
		Dial: p.ln.Addr().String(), Auth: &UpstreamAuth{Mechanism: smtpclient.XOAUTH2, Provider: "google"}, MaxConnsPerAccount: 1, Hostname: "gw.test",
	}
	k := new(tokens)
	tr.tokens = k
	if err := tr.Bind("verify"); err != nil {
		t.Fatal(err)
	}
	tr.bound.TLS.RootCAs = pool
	tr.bound.Logger = caddy.Log()
	if err := tr.Attach(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = tr.Detach()
		tr.upstream.closing.Wait()
		tr.upstream.limits.Wait()
	}()
	a := testAccount("a@a.test")
	a.Upstream = "verify"
	var steps []relay.VerifyStep
	run := func(from string) ([]string, error) {
		steps = nil
		err := tr.Verify(t.Context(), a, from, func(s relay.VerifyStep) { steps = append(steps, s) })
		var names []string
		for _, s := range steps {
			names = append(names, s.Name)
			if strings.Contains(fmt.Sprint(s), "token1") {
				t.Errorf("a secret in %+v", s)
			}
		}
		return names, err
	}
	all := []string{"tcp", "greeting", "ehlo", "starttls", "tls", "ehlo", "token", "auth", "mail", "quit"}
	if names, err := run("from@a.test"); err != nil || !slices.Equal(names, all) {
		t.Fatal(names, err)
	}
	if !strings.Contains(steps[4].Said, "TLS 1.3") || !strings.Contains(steps[5].Said, "CHUNKING") || steps[7].Said != "235 2.7.0 ok" || steps[8].Said != "250 2.1.0 sender ok" {
		t.Errorf("%+v", steps)
	}
	words.Store("535 5.7.8 no")
	names, err := run("")
	if err == nil || !slices.Equal(names, all[:8]) || steps[7].Error == "" || !strings.Contains(steps[7].Challenge, `"status":"400"`) {
		t.Errorf("%v %v %+v", names, err, steps[len(steps)-1])
	}
	words.Store("")
	// It takes one of the account's connections, and room is made for it.
	if err := deliver(tr.upstream, a, "x"); err != nil {
		t.Fatal(err)
	}
	tx, err := tr.upstream.begin(t.Context(), a, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run(""); err == nil {
		t.Error("more connections than allowed")
	}
	tx.Abort()
	if _, err := run(""); err != nil {
		t.Error(err)
	}
	settled(t, tr.upstream, a.Name)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.messages) != 1 {
		t.Error("Verify sent a message")
	}
}

// TestQuotaInRealStorage stores through Caddy's own file storage.
func TestQuotaInRealStorage(t *testing.T) {
	storage, err := (&filestorage.FileStorage{Root: filepath.Join(t.TempDir(), "data")}).CertMagicStorage()
	if err != nil {
		t.Fatal(err)
	}
	p := newProvider(t)
	for range 3 {
		s := testSettings(t, p)
		s.storage = storage
		s.messages = accounts.Rate{Count: 5, Per: day}
		u := newUpstream("real") // each its own process
		u.attach(s)
		for range 2 {
			err = deliver(u, testAccount("a@a.test"), "x")
		}
		u.detach(s)
		u.closing.Wait()
		u.limits.Wait()
	}
	if err == nil || len(p.got()) != 5 {
		t.Errorf("%d messages, %v", len(p.got()), err)
	}
}
