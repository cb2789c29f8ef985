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
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestConfigErrorsNameTheField(t *testing.T) {
	for name, tc := range map[string]struct {
		p    map[string]any
		want string
	}{
		"empty placeholder":      {map[string]any{"client_secret": "{env.NOT_SET_ANYWHERE}"}, "provider 'p': client_secret: evaluated placeholder {env.NOT_SET_ANYWHERE} is empty"},
		"unknown placeholder":    {map[string]any{"client_id": "{no.such}"}, "client_id: unrecognized placeholder"},
		"unreadable file":        {map[string]any{"client_secret": "{file./does/not/exist}"}, "client_secret: "},
		"http":                   {map[string]any{"token_url": "http://id.example.com/token"}, "token_url: 'id.example.com' must be https"},
		"http, looks local":      {map[string]any{"token_url": "http://localhost.example.com/token"}, "must be https"},
		"credentials in the URL": {map[string]any{"token_url": "https://u:p@id.example.com/token"}, "credentials in the URL"},
		"no scheme":              {map[string]any{"token_url": "id.example.com/token"}, "token_url: malformed URL"},
		"kind":                   {map[string]any{"kind": "gogle"}, "unrecognized kind 'gogle'"},
		"grant":                  {map[string]any{"grant": "password"}, "grant 'password' is not available"},
		"cloud":                  {map[string]any{"kind": "microsoft", "cloud": "mars"}, "unrecognized cloud 'mars'"},
		"tenant elsewhere":       {map[string]any{"tenant": "x"}, "need kind 'microsoft'"},
		"tenant path":            {map[string]any{"kind": "microsoft", "tenant": "a/../b"}, "malformed tenant"},
		"common tenant":          {map[string]any{"kind": "microsoft", "token_url": "", "grant": "client_credentials"}, "needs the tenant's domain or ID"},
		"no client":              {map[string]any{"client_id": ""}, "client_id is needed"},
		"no endpoint":            {map[string]any{"token_url": ""}, "token_url or issuer is needed"},
		"two secrets":            {map[string]any{"federated_token_file": "/x"}, "only one of"},
		"no secret":              {map[string]any{"grant": "client_credentials", "client_secret": ""}, "needs client_secret"},
		"no certificate":         {map[string]any{"client_secret": "", "client_certificate": "/does/not/exist"}, "client_certificate: "},
		"stray key":              {map[string]any{"client_key": "/x"}, "need client_certificate"},
		"no service account":     {map[string]any{"grant": "service_account"}, "needs service_account_file"},
		"no outer token":         {map[string]any{"grant": "service_account", "service_account": "x"}, "needs external_token_file"},
		"no token file":          {map[string]any{"grant": "external"}, "needs external_token_file"},
		"date":                   {map[string]any{"secret_expires": "soon"}, "secret_expires: 'soon'"},
		"attempts":               {map[string]any{"max_attempts": -1}, "max_attempts must not be negative"},
		"client_auth":            {map[string]any{"client_auth": "magic"}, "client_auth: unrecognized value 'magic', want post or basic"},
		"unknown field":          {map[string]any{"client_idd": "x"}, "client_idd"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadApp(config(t.TempDir(), "https://id.test", tc.p))
			wantError(t, err, tc.want)
			if strings.Contains(err.Error(), "the-client-secret") {
				t.Fatal("a secret in the error")
			}
		})
	}
	cfg := config(t.TempDir(), "https://id.test", nil)
	for _, key := range []string{"short", "{env.NOT_SET_ANYWHERE}", strings.Repeat("z", 64)} {
		cfg["store"] = map[string]any{"store": "storage", "encryption_keys": []string{key}}
		_, err := loadApp(cfg)
		wantError(t, err, "encryption", "key")
		if strings.Contains(err.Error(), strings.Repeat("z", 64)) {
			t.Fatal("the key in the error")
		}
	}
}

func TestDefaultsOfKinds(t *testing.T) {
	for name, tc := range map[string]struct {
		p             map[string]any
		token, scopes string
	}{
		"google":    {map[string]any{}, "https://oauth2.googleapis.com/token", "https://mail.google.com/"},
		"microsoft": {map[string]any{}, "https://login.microsoftonline.com/common/oauth2/v2.0/token", "https://outlook.office.com/SMTP.Send offline_access"},
		"contoso": {map[string]any{"kind": "microsoft", "tenant": "contoso.onmicrosoft.com", "grant": "client_credentials", "client_secret": "{env.TEST_SECRET}"},
			"https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token", "https://outlook.office365.com/.default"},
		"dod": {map[string]any{"kind": "microsoft", "cloud": "usdod"}, "https://login.microsoftonline.us/common/oauth2/v2.0/token", "https://outlook.office365.us/SMTP.Send offline_access"},
		"gov": {map[string]any{"kind": "microsoft", "cloud": "usgov"}, "https://login.microsoftonline.us/common/oauth2/v2.0/token", "https://outlook.office365.us/SMTP.Send offline_access"},
		"cn": {map[string]any{"kind": "microsoft", "cloud": "china", "tenant": "x", "grant": "client_credentials", "client_secret": "{env.TEST_SECRET}"},
			"https://login.partner.microsoftonline.cn/x/oauth2/v2.0/token", "https://partner.outlook.cn/.default"},
		"yahoo":    {map[string]any{}, "https://api.login.yahoo.com/oauth2/get_token", "mail-w"},
		"fastmail": {map[string]any{}, "https://api.fastmail.com/oauth/refresh", "https://www.fastmail.com/dev/protocol-smtp offline_access"},
	} {
		tc.p["client_id"] = "c"
		a := newApp(t, map[string]any{"store": map[string]any{"store": "test", "path": t.TempDir()}, "providers": map[string]any{name: tc.p}})
		p := a.Providers[name]
		if p.TokenURL != tc.token || strings.Join(p.Scopes, " ") != tc.scopes || !a.HasProvider(name) || a.HasProvider("x") {
			t.Errorf("%s: %s %v", name, p.TokenURL, p.Scopes)
		}
	}
}

func TestRefreshNamesTheScopesForMicrosoft(t *testing.T) {
	s := newEndpoint(t)
	a := newApp(t, config(t.TempDir(), s.URL, map[string]any{"kind": "microsoft"}))
	mustToken(t, a.App, "p", "alice", s.seed("alice"))
	if got := s.forms[0].Get("scope"); got != "https://outlook.office.com/SMTP.Send offline_access" {
		t.Fatalf("scope %q", got)
	}
}

func TestTrustPool(t *testing.T) {
	s := &endpoint{families: map[string]*family{}, byToken: map[string]*issued{}, byAccess: map[string]*issued{}, expires: 3600}
	s.Server = httptest.NewTLSServer(s)
	defer s.Close()
	s.Config.ErrorLog = discardLog
	a := newApp(t, config(t.TempDir(), s.URL, map[string]any{"max_attempts": 1}))
	_, err := a.Token(context.Background(), ask("p", "alice", "alice", s.seed("alice")))
	wantError(t, err, "certificate")
	a.stop()
	der := base64.StdEncoding.EncodeToString(s.Certificate().Raw)
	b := newApp(t, config(t.TempDir(), s.URL, map[string]any{"trust_pool": map[string]any{"provider": "inline", "trusted_ca_certs": []string{der}}}))
	mustToken(t, b.App, "p", "alice", "refresh-alice-1")
}

// testProxy stands for Caddy's caddy.network_proxy.url.
type testProxy struct {
	URL string `json:"url"`
}

func init() { caddy.RegisterModule(new(testProxy)) }

func (*testProxy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.network_proxy.test", New: func() caddy.Module { return new(testProxy) }}
}

func (p *testProxy) ProxyFunc() func(*http.Request) (*url.URL, error) {
	u, err := url.Parse(p.URL)
	return func(*http.Request) (*url.URL, error) { return u, err }
}

func TestNetworkProxy(t *testing.T) {
	s := newEndpoint(t)
	var through int
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		through++
		s.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	a := newApp(t, config(t.TempDir(), s.URL, map[string]any{"network_proxy": map[string]any{"from": "test", "url": proxy.URL}}))
	mustToken(t, a.App, "p", "alice", s.seed("alice"))
	if through != 1 {
		t.Fatal("not through the proxy")
	}
}

func TestSecretExpiryWarning(t *testing.T) {
	_ = os.Setenv("TEST_SECRET", "x")
	a := newApp(t, config(t.TempDir(), "https://id.test", map[string]any{"secret_expires": "2020-01-31"}))
	if w := a.ProviderStatus()[0].Warnings; len(w) != 1 || !strings.Contains(w[0], "client_secret has expired at 2020-01-31") {
		t.Fatalf("%v", w)
	}
}
