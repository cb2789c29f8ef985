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
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// eventLog collects the events of an app.
type eventLog struct {
	mu  sync.Mutex
	got []string
	ch  chan struct{}
}

func (l *eventLog) Handle(_ context.Context, e caddy.Event) error {
	b, _ := json.Marshal(e.Data)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got = append(l.got, e.Name()+" "+string(b))
	l.ch <- struct{}{}
	return nil
}

func listen(t testing.TB, a *testApp) *eventLog {
	l := &eventLog{ch: make(chan struct{}, 1000)}
	for _, name := range []string{eventReauth, eventFailed} {
		if err := a.events.(*caddyevents.App).On(name, l); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func TestEventsStatusAndMetrics(t *testing.T) {
	s := newEndpoint(t)
	cfg := config(t.TempDir(), s.URL, nil)
	cfg["providers"] = map[string]any{"metrics_test": cfg["providers"].(map[string]any)["p"]}
	a := newApp(t, cfg)
	l := listen(t, a)
	const p = "metrics_test"
	counted := func(result string) float64 { return testutil.ToFloat64(refreshesTotal.WithLabelValues(p, result)) }
	before := map[string]float64{}
	for _, r := range []string{resultOK, resultReauth, resultError} {
		before[r] = counted(r)
	}
	ctx := context.Background()
	get := func(account, seed string) error { _, err := a.Token(ctx, ask(p, account, account, seed)); return err }
	if err := get("good", s.seed("good")); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		wantError(t, get("dead", "refresh-dead-9"))
	}
	<-l.ch
	s.setFault(answer(99, 400, "application/json", `{"error":"invalid_request","error_description":"AADSTS900144: scope"}`))
	for range 5 {
		wantError(t, get("odd", "refresh-odd-9"))
	}
	<-l.ch
	l.mu.Lock()
	got := slices.Clone(l.got)
	l.mu.Unlock()
	if len(got) != 2 || !strings.HasPrefix(got[0], "smtp_account_reauth_required ") || !strings.Contains(got[0], `"account":"dead"`) ||
		!strings.HasPrefix(got[1], "smtp_token_refresh_failed ") || !strings.Contains(got[1], `"reason":"AADSTS900144"`) {
		t.Fatalf("events %q", got)
	}

	st := a.Status(StatusFilter{Provider: p})
	var states []string
	for _, s := range st {
		states = append(states, s.Account+"="+s.State)
	}
	if want := []string{"dead=reauth_required", "good=ok", "odd=error"}; !slices.Equal(states, want) {
		t.Fatalf("states %v", states)
	}
	if st[1].Expires.IsZero() || st[1].Consent.IsZero() || st[1].LastError != nil || st[2].LastError.Cause == "" {
		t.Fatalf("status %+v", st)
	}
	if b, _ := json.Marshal(st); bytes.Contains(b, []byte("refresh-")) || bytes.Contains(b, []byte("access-")) {
		t.Fatalf("a token in the status: %s", b)
	}
	ps := a.ProviderStatus()[0]
	if ps.Accounts["ok"] != 1 || ps.Accounts["reauth_required"] != 1 || ps.Accounts["error"] != 1 {
		t.Fatalf("%+v", ps)
	}

	r := prometheus.NewPedanticRegistry()
	for range 2 {
		if err := registerMetrics(r); err != nil {
			t.Fatal(err)
		}
	}
	for state, want := range map[string]float64{"ok": 1, "reauth_required": 1, "error": 1, "refreshing": 0, "idle": 0} {
		if v := testutil.ToFloat64(accountsGauge.WithLabelValues(p, state)); v != want {
			t.Errorf("caddy_oauth_accounts{state=%q} is %v", state, v)
		}
	}
	for result, was := range before {
		if v := counted(result) - was; v != 1 {
			t.Errorf("caddy_oauth_token_refreshes_total{result=%q} grew by %v", result, v)
		}
	}
	if n, err := testutil.GatherAndCount(r, "caddy_oauth_accounts", "caddy_oauth_token_refreshes_total", "caddy_oauth_token_refresh_duration_seconds"); err != nil || n < 3 {
		t.Fatalf("%d metrics, %v", n, err)
	}
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Fatalf("%v %v", problems, err)
	}
	a.stop()
	for _, state := range []string{"ok", "reauth_required", "error", "idle"} {
		if v := testutil.ToFloat64(accountsGauge.WithLabelValues(p, state)); v != 0 {
			t.Errorf("after the end: caddy_oauth_accounts{state=%q} is %v", state, v)
		}
	}
}

// One event for an endpoint that is down, not one per account.
func TestOutageIsToldOnce(t *testing.T) {
	s := newEndpoint(t)
	s.setFault(answer(1<<30, 503, "text/html", "down"))
	a := newApp(t, config(t.TempDir(), s.URL, nil))
	l := listen(t, a)
	for i := range 200 {
		_, err := a.Token(context.Background(), ask("p", fmt.Sprint(i), "", "seed"))
		wantError(t, err)
	}
	for range 3 { // two accounts that tried, and the endpoint
		<-l.ch
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.got) != 3 {
		t.Fatalf("%d events: %q", len(l.got), l.got)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (*syncBuffer) Sync() error { return nil }

func TestNoSecretInLogsAndErrors(t *testing.T) {
	const refresh, access, secret = "1//refreshtoken", "ya29.accesstoken", "the-client-secret"
	coded := func(s string) string { return base64.StdEncoding.EncodeToString([]byte("auth=Bearer " + s + "\x01")) }
	var log syncBuffer
	logger := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), &log, zapcore.DebugLevel))
	echo := `{"error":"invalid_grant","error_description":"the token ` + refresh + ` of client secret ` + secret + ` is bad"}`
	var texts []string
	for _, tc := range []struct {
		status int
		body   string
	}{
		{200, `{"access_token":"` + access + `","refresh_token":"` + refresh + `2"}`}, {400, echo},
		{400, strings.ReplaceAll(echo, "invalid_grant", "invalid_client")}, {500, echo}, {200, `{"access_token":"` + access + `\n"}`},
		{200, access}, {400, `{"error":"` + refresh + `"}`},
		{400, `{"error":"invalid_grant","error_description":"cannot read ` + coded(refresh) + ` of ` + coded(secret) + `"}`},
		{400, `{"error":"invalid_grant","error_description":"` + refresh[:9] + `... and ` + secret[3:12] + `"}`},
		{400, `{"error":"invalid_grant","error_description":"here is ` + access + `","access_token":"` + access + `"}`},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tc.status)
			_, _ = w.Write([]byte(tc.body))
		}))
		dir := t.TempDir()
		a := newApp(t, config(dir, s.URL, nil), func(p *served) { p.logger = logger })
		l := listen(t, a)
		hooksOf(dir).set(func(op, _ string) error {
			if op == "save" && tc.status == 200 {
				return errors.New("store is broken")
			}
			return nil
		})
		_, err := a.Token(context.Background(), ask("p", "alice", "alice", refresh))
		wantError(t, err)
		<-l.ch
		texts = append(texts, err.Error(), fmt.Sprintf("%v", err), strings.Join(l.got, "\n"))
		b, _ := json.Marshal(a.Status(StatusFilter{}))
		texts = append(texts, string(b))
		a.stop()
		s.Close()
	}
	log.mu.Lock()
	texts = append(texts, log.String())
	log.mu.Unlock()
	for _, text := range texts {
		for _, s := range []string{refresh, access, secret, refresh[:9], secret[3:12], coded(refresh)[16:28], coded(secret)[16:28]} {
			if strings.Contains(text, s) {
				t.Errorf("%q in %s", s, text)
			}
		}
	}
}
