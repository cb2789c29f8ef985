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

package smtpapp

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/relay"
)

// observe makes a server whose logs the test sees.
func observe(t testing.TB, change func(*policy)) (*testServer, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	s := startServer(t, change)
	g := newTestGeneration(t, s.up, s.source, s.gen.policy)
	g.logger = zap.New(core)
	g.access = g.logger.Named("log.access")
	g.metrics = newMetrics()
	s.gen = g
	s.point.attach(g)
	return s, logs
}

// TestMessageLineEscapes puts hostile text into each string of an access log's line,
// which escapes all of them itself.
func TestMessageLineEscapes(t *testing.T) {
	const hostile = "no\u202e\u200b\x1b[2J\x7f\xff way"
	line := new(messageLine)
	strings := 0
	for _, v := range reflect.ValueOf(line).Elem().Fields() {
		if v.Kind() == reflect.String {
			*(*string)(v.Addr().UnsafePointer()) = hostile
			strings++
		}
	}
	enc := zapcore.NewMapObjectEncoder()
	if err := line.MarshalLogObject(enc); err != nil {
		t.Fatal(err)
	}
	shown := 0
	for key, v := range enc.Fields {
		switch s, ok := v.(string); {
		case !ok:
		case s != printable.Text(hostile):
			t.Errorf("%s is %q", key, s)
		default:
			shown++
		}
	}
	if shown != strings || shown == 0 {
		t.Errorf("%d of %d strings are shown", shown, strings)
	}
}

func TestAccessLog(t *testing.T) {
	s, logs := observe(t, nil)
	s.up.rcptErr = func(to string) error {
		if strings.HasPrefix(to, "no") {
			return asProvider(550, "5.1.1 no such user")
		}
		return nil
	}
	c := dial(t, s.addr)
	c.play(`
		LOGIN
		# sent
		C: MAIL FROM:<a@example.com>
		C: RCPT TO:<b@example.org>
		C: RCPT TO:<no@example.org>
		C: BDAT 3 LAST
		Q: "x\r\n"
		M: 250
		M: 250
		M: 550
		M: 250
		# refused for all recipients
		C: MAIL FROM:<a@example.com>
		C: RCPT TO:<no@example.org>
		C: RSET
		M: 250
		M: 550
		M: 250
		# given up by the client
		C: MAIL FROM:<>
		C: RCPT TO:<b@example.org>
		C: RSET
		M: 250
		M: 250
		M: 250
		# no line: nothing was tried
		C: MAIL FROM:<a@example.com>
		C: RSET
		M: 250
		M: 250
		# refused by ourselves
		C: MAIL FROM:<a@example.com>
		C: RCPT TO:<b@example.org>
		C: BDAT 3 LAST
		Q: "a\nb"
		M: 250
		M: 250
		M: 554
		EOF`)
	want := []struct {
		code int64
		rcpt int64
		size int64
		text string
	}{
		{250, 1, 3, "2.0.0 OK 12345 provider"},
		{550, 0, 0, "5.1.1 no such user"},
		{0, 1, 0, "aborted by the client"},
		{554, 1, 0, "5.6.0 Bare CR or LF in message, lines must end with CRLF"},
	}
	lines := logs.FilterMessage("message").All()
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d", len(lines), len(want))
	}
	ids := make(map[any]bool)
	for i, l := range lines {
		f := l.ContextMap()
		if l.LoggerName != "log.access" || f["code"] != want[i].code || f["recipients"] != want[i].rcpt ||
			f["size"] != want[i].size || f["reply"] != want[i].text || f["server"] != "test" ||
			f["account"] != testUser || f["client_ip"] != "127.0.0.1" || f["upstream"] != "fake" || f["reused"] != true {
			t.Errorf("line %d: %v", i, f)
		}
		ids[f["id"]] = true
	}
	if len(ids) != len(lines) {
		t.Errorf("ids %v", ids)
	}
	<-s.point.whenEmpty()
	s.awaitConns(0)
	m := s.gen.metrics
	for name, got := range map[string]float64{
		"2xx":   testutil.ToFloat64(m.messages.WithLabelValues("test", "fake", "2xx")),
		"other": testutil.ToFloat64(m.messages.WithLabelValues("test", "fake", "other")),
		"login": testutil.ToFloat64(m.auths.WithLabelValues("test", "ok")),
		"ended": testutil.ToFloat64(m.sessions.WithLabelValues("test", "errors")),
	} {
		if got != 1 {
			t.Errorf("%s: %v, want 1", name, got)
		}
	}
	if got := testutil.ToFloat64(m.messages.WithLabelValues("test", "fake", "5xx")); got != 2 {
		t.Errorf("5xx: %v, want 2", got)
	}
	if got := testutil.ToFloat64(m.bytes.WithLabelValues("test", "fake")); got != 3 {
		t.Errorf("bytes: %v, want 3", got)
	}
	if got := testutil.ToFloat64(m.sessionsUp.WithLabelValues("test")); got != 0 {
		t.Errorf("active: %v, want 0", got)
	}
}

// TestUnknownUpstreamLabel keeps what an account says out of the labels.
func TestUnknownUpstreamLabel(t *testing.T) {
	s, _ := observe(t, nil)
	s.up.beginErr = relay.ReplyNoUpstream
	c := dial(t, s.addr)
	c.login()
	c.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nRSET\r\n")
	c.expect("250")
	c.expect("451 4.3.5")
	c.expect("250")
	if n := testutil.CollectAndCount(s.gen.metrics.messages); n != 4 {
		t.Errorf("%d series", n)
	}
	if got := testutil.ToFloat64(s.gen.metrics.messages.WithLabelValues("test", "unknown", "4xx")); got != 1 {
		t.Errorf("unknown: %v, want 1", got)
	}
}

// TestMetricsRegister registers the process's collectors again and again, as
// each configuration does.
func TestMetricsRegister(t *testing.T) {
	for range 2 {
		r := prometheus.NewPedanticRegistry()
		for range 2 {
			if err := processMetrics.register(r); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.Gather(); err != nil {
			t.Error(err)
		}
	}
}

// TestLogsHoldNoSecrets fails and succeeds with passwords that are then looked
// for in everything the logs say.
func TestLogsHoldNoSecrets(t *testing.T) {
	s, logs := observe(t, nil)
	secret := "marked-secret-" + strings.Repeat("z", 8)
	c := dial(t, s.addr)
	c.play(`
		M: 220
		C: EHLO c
		M: 250
		C: AUTH PLAIN ` + plain(testUser, secret) + `
		M: 535
		C: AUTH LOGIN
		M: 334
		C: ` + b64(testUser) + `
		M: 334
		C: ` + b64(secret) + `
		M: 535
		C: AUTH PLAIN ` + b64(secret) + `
		M: 501
		M: 421
		EOF`)
	s.up.onPanic = secret
	c = dial(t, s.addr)
	c.play(states["rcpt"])
	c.send("BDAT 0 LAST\r\n")
	c.expectEOF()
	<-s.point.whenEmpty()
	s.awaitConns(0)
	if logs.FilterMessage("session panicked").Len() != 1 || logs.FilterMessage("authentication failed").Len() != 1 {
		t.Errorf("logs %v", logs.All())
	}
	if list := s.gen.refusals.List(); list[len(list)-1].Count != 2 {
		t.Errorf("refusals %+v", list)
	}
	for _, e := range logs.All() {
		text := fmt.Sprint(e.Message, e.ContextMap())
		for _, s := range []string{secret, testPassword, b64(secret), plain(testUser, secret), plain(testUser, testPassword), base64.StdEncoding.EncodeToString([]byte(testPassword))} {
			if strings.Contains(text, s) {
				t.Errorf("a secret in %q", text)
			}
		}
	}
}
