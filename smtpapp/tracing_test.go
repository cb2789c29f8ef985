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
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// timedUpstream is a fake whose connections say when they were opened: after
// the message asked for one, or before it came.
type timedUpstream struct {
	*fakeUpstream
	early, reused bool
}

func (u *timedUpstream) info() relay.Info {
	now := time.Now()
	i := relay.Info{Upstream: "fake", Reused: u.reused}
	switch {
	case u.reused:
	case u.early:
		past := now.Add(-time.Hour)
		i.Opening = &relay.Opening{Token: past, Dial: past, Ready: past}
	default:
		i.Waited, i.Got = 100, now
		i.Opening = &relay.Opening{Token: now.Add(-90), Dial: now.Add(-50), Ready: now}
	}
	return i
}

type timedTx struct {
	*fakeTx
	i relay.Info
}

func (tx timedTx) Describe() relay.Info { return tx.i }

func (u *timedUpstream) Begin(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions) (relay.Transaction, error) {
	tx, err := u.fakeUpstream.Begin(ctx, a, from, opts)
	if err != nil {
		return nil, err
	}
	return timedTx{tx.(*fakeTx), u.info()}, nil
}

// timedSingle can send in one flight, too.
type timedSingle struct{ *timedUpstream }

func (u timedSingle) Send(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions, to relay.Recipient, body io.Reader) (relay.Reply, relay.Info, error) {
	m := message{account: a.Name, from: from, opts: *opts, to: []string{to.To}}
	var done bool
	r, err := u.take(ctx, &m, body, &done)
	return r, u.info(), err
}

// trace turns tracing on for a server, and returns what it records.
func (s *testServer) trace(up relay.Upstream, opts ...sdktrace.TracerProviderOption) (*tracetest.InMemoryExporter, *observer.ObservedLogs) {
	s.t.Helper()
	spans := tracetest.NewInMemoryExporter()
	tp := sdktrace.NewTracerProvider(append(opts, sdktrace.WithSyncer(spans))...)
	s.t.Cleanup(func() { _ = tp.Shutdown(context.Background()) })
	core, logs := observer.New(zapcore.InfoLevel)
	g := newTestGeneration(s.t, up, s.source, s.gen.policy)
	g.access = zap.New(core)
	g.tracing = &tracing{tracer: tp.Tracer(tracerName), span: defaultSpan}
	s.gen = g
	s.point.attach(g)
	return spans, logs
}

func attributes(s tracetest.SpanStub) map[string]any {
	m := make(map[string]any)
	for _, kv := range s.Attributes {
		m[string(kv.Key)] = kv.Value.AsInterface()
	}
	return m
}

const sendOne = `
	C: MAIL FROM:<sender@example.com>
	C: RCPT TO:<recipient@example.org>
	C: DATA
	M: 250
	M: 250
	M: 354
	C: Subject: the-content
	C: .
`

func TestSpans(t *testing.T) {
	refuse := func(err error) func(u *timedUpstream) {
		return func(u *timedUpstream) { u.rcptErr = func(string) error { return err } }
	}
	reply := func(code int, e smtp.EnhancedCode) *relay.Reply {
		return &relay.Reply{Code: code, Enhanced: e, Lines: []string{"<recipient@example.org> no"}}
	}
	for _, tc := range []struct {
		name     string
		single   bool
		policy   func(*policy)
		up       func(*timedUpstream)
		script   string
		children string
		failed   string // those with an error
		want     map[string]any
		events   int
	}{
		{
			name: "new connection", script: sendOne + "M: 250",
			children: "auth wait token dial envelope data",
			want: map[string]any{
				"network.protocol.name": "smtp", "mailgateway.server": "test", "mailgateway.account": testUser,
				"mailgateway.upstream": "fake", "mailgateway.upstream.reused": false, "client.address": "127.0.0.1",
				"smtp.recipients.accepted": int64(1), "smtp.recipients.refused": int64(0), "smtp.message.size": int64(22),
				"smtp.reply.code": int64(250), "smtp.reply.enhanced_code": "2.0.0",
			},
		},
		{
			name: "reused connection", script: sendOne + "M: 250",
			up:       func(u *timedUpstream) { u.reused = true },
			children: "auth envelope data",
			want:     map[string]any{"mailgateway.upstream.reused": true, "smtp.reply.code": int64(250)},
		},
		{
			name: "connection opened before", script: sendOne + "M: 250",
			up:       func(u *timedUpstream) { u.early = true },
			children: "auth envelope data",
			want:     map[string]any{"mailgateway.upstream.reused": false},
		},
		{
			name:   "deferred",
			single: true, policy: func(p *policy) { p.deferred = true }, script: sendOne + "M: 250",
			children: "auth data wait token dial",
			want:     map[string]any{"smtp.recipients.accepted": int64(1), "smtp.reply.code": int64(250), "mailgateway.upstream.reused": false},
		},
		{
			name:   "deferred, refused",
			single: true, policy: func(p *policy) { p.deferred = true }, script: sendOne + "M: 550",
			up:       func(u *timedUpstream) { u.dataErr = reply(550, smtp.EnhancedCode{5, 1, 1}); u.reused = true },
			children: "auth data", failed: "data",
			want: map[string]any{"smtp.reply.code": int64(550), "error.type": "550", "mailgateway.upstream.reused": true},
		},
		{
			name: "one recipient refused",
			up: func(u *timedUpstream) {
				u.reused = true
				u.rcptErr = func(to string) error {
					if strings.HasPrefix(to, "no") {
						return reply(550, smtp.EnhancedCode{5, 1, 1})
					}
					return nil
				}
			},
			script: `
				C: MAIL FROM:<sender@example.com>
				C: RCPT TO:<no@example.org>
				C: RCPT TO:<recipient@example.org>
				C: DATA
				M: 250
				M: 550
				M: 250
				M: 354
				C: .
				M: 250`,
			children: "auth envelope data", events: 1,
			want: map[string]any{"smtp.recipients.accepted": int64(1), "smtp.recipients.refused": int64(1), "smtp.reply.code": int64(250)},
		},
		{
			name: "all recipients refused", up: refuse(reply(550, smtp.EnhancedCode{5, 1, 1})),
			script: `
				C: MAIL FROM:<sender@example.com>
				C: RCPT TO:<recipient@example.org>
				M: 250
				M: 550
				C: RSET
				M: 250`,
			children: "auth wait token dial envelope", failed: "envelope", events: 1,
			want: map[string]any{"smtp.recipients.accepted": int64(0), "smtp.recipients.refused": int64(1), "smtp.reply.code": int64(550), "smtp.reply.enhanced_code": "5.1.1", "error.type": "550"},
		},
		{
			name: "MAIL refused by the provider", up: refuse(reply(452, smtp.EnhancedCode{4, 2, 2})),
			script: `
				C: MAIL FROM:<sender@example.com>
				C: RCPT TO:<recipient@example.org>
				C: RCPT TO:<recipient2@example.org>
				M: 250
				M: 452
				M: 452
				C: RSET
				M: 250`,
			children: "auth wait token dial envelope", failed: "envelope", events: 2,
			want: map[string]any{"smtp.reply.code": int64(452), "smtp.recipients.refused": int64(2), "error.type": "452"},
		},
		{
			name: "no connection", up: func(u *timedUpstream) { u.beginErr = relay.ReplyNoConnection },
			script: `
				C: MAIL FROM:<sender@example.com>
				C: RCPT TO:<recipient@example.org>
				M: 250
				M: 451
				C: RSET
				M: 250`,
			children: "auth wait", failed: "wait", events: 1,
			want: map[string]any{"smtp.reply.code": int64(451), "smtp.reply.enhanced_code": "4.3.2"},
		},
		{
			name: "message deferred by the provider", up: func(u *timedUpstream) { u.reply = *reply(451, smtp.EnhancedCode{4, 7, 1}) },
			script:   sendOne + "M: 451",
			children: "auth wait token dial envelope data", failed: "data",
			want: map[string]any{"smtp.reply.code": int64(451), "smtp.reply.enhanced_code": "4.7.1", "error.type": "451"},
		},
		{
			name: "message refused by the provider", up: func(u *timedUpstream) { u.dataErr = reply(554, smtp.EnhancedCode{5, 7, 1}) },
			script:   sendOne + "M: 554",
			children: "auth wait token dial envelope data", failed: "data",
			want: map[string]any{"smtp.reply.code": int64(554), "error.type": "554"},
		},
		{
			name: "given up by the client before the message",
			script: `
				C: MAIL FROM:<sender@example.com>
				C: RCPT TO:<recipient@example.org>
				C: RSET
				M: 250
				M: 250
				M: 250`,
			children: "auth wait token dial envelope",
			want:     map[string]any{"mailgateway.aborted": true, "smtp.recipients.accepted": int64(1)},
		},
		{
			name: "given up by the client between chunks",
			script: `
				C: MAIL FROM:<sender@example.com>
				C: RCPT TO:<recipient@example.org>
				C: BDAT 3
				Q: "x\r\n"
				M: 250
				M: 250
				M: 250
				C: RSET
				M: 250`,
			children: "auth wait token dial envelope data",
			want:     map[string]any{"mailgateway.aborted": true},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := startServer(t, tc.policy)
			up := &timedUpstream{fakeUpstream: s.up}
			if tc.up != nil {
				tc.up(up)
			}
			var upstream relay.Upstream = up
			if tc.single {
				upstream = timedSingle{up}
			}
			exporter, logs := s.trace(upstream)
			before := time.Now()
			c := dial(t, s.addr)
			c.login()
			c.play(tc.script)
			spans := exporter.GetSpans()
			checkSpans(t, spans, before)
			root := spans[len(spans)-1]
			got := attributes(root)
			for k, v := range tc.want {
				if got[k] != v {
					t.Errorf("%s is %v, want %v", k, got[k], v)
				}
			}
			if _, ok := got["smtp.reply.code"]; ok && got["mailgateway.aborted"] == true {
				t.Error("a message that was given up has a reply")
			}
			wantFailed := tc.failed
			if code, ok := got["smtp.reply.code"].(int64); ok && code >= 400 {
				wantFailed += " " + defaultSpan
			}
			var children, failed []string
			for _, sp := range spans {
				if sp.Status.Code == codes.Error {
					failed = append(failed, sp.Name)
				}
				if sp.Name != defaultSpan {
					children = append(children, sp.Name)
				}
			}
			want := strings.Fields(tc.children)
			slices.Sort(want)
			slices.Sort(children)
			if !slices.Equal(children, want) {
				t.Errorf("spans %v, want %v", children, want)
			}
			if strings.Join(failed, " ") != strings.TrimSpace(wantFailed) {
				t.Errorf("failed are %v, want %v", failed, wantFailed)
			}
			if len(root.Events) != tc.events {
				t.Errorf("%d events, want %d", len(root.Events), tc.events)
			}
			lines := logs.FilterMessage("message").All()
			if len(lines) != 1 {
				t.Fatalf("%d lines", len(lines))
			}
			line := lines[0].ContextMap()
			if line["trace_id"] != root.SpanContext.TraceID().String() || line["id"] != got["mailgateway.message.id"] {
				t.Errorf("the line %v does not belong to the trace %v", line, got)
			}
			if id, _ := line["id"].(string); !strings.HasPrefix(id, fmt.Sprint(got["mailgateway.session.id"], ".")) {
				t.Errorf("session %v, message %s", got["mailgateway.session.id"], id)
			}
		})
	}
}

// checkSpans holds what is true of the spans of any single message.
func checkSpans(t *testing.T, spans tracetest.SpanStubs, before time.Time) {
	t.Helper()
	if len(spans) == 0 {
		t.Fatal("no spans")
	}
	root := spans[len(spans)-1]
	if root.Name != defaultSpan || root.SpanKind != trace.SpanKindServer || root.Parent.IsValid() {
		t.Errorf("the last span is %q, kind %v, parent %v", root.Name, root.SpanKind, root.Parent)
	}
	now := time.Now()
	for _, sp := range spans {
		if sp.SpanContext.TraceID() != root.SpanContext.TraceID() {
			t.Errorf("%s is of another trace", sp.Name)
		}
		if sp.Name != defaultSpan && sp.Parent.SpanID() != root.SpanContext.SpanID() {
			t.Errorf("%s is no child of the message", sp.Name)
		}
		if sp.StartTime.Before(before.Add(-time.Millisecond)) || sp.EndTime.Before(sp.StartTime) || sp.EndTime.After(now.Add(time.Millisecond)) {
			t.Errorf("%s from %v to %v, the test from %v to %v", sp.Name, sp.StartTime, sp.EndTime, before, now)
		}
		if sp.EndTime.After(root.EndTime.Add(time.Millisecond)) || sp.Name != "auth" && sp.StartTime.Before(root.StartTime.Add(-time.Millisecond)) {
			t.Errorf("%s is outside of the message", sp.Name)
		}
		text := fmt.Sprint(sp)
		for _, secret := range []string{testPassword, "sender@", "recipient@", "the-content", b64(testPassword), plain(testUser, testPassword)} {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds %q: %s", sp.Name, secret, text)
			}
		}
	}
}

// TestAuthSpanOnce: a login is in the trace of the first message after it.
func TestAuthSpanOnce(t *testing.T) {
	s := startServer(t, nil)
	exporter, _ := s.trace(s.up)
	c := dial(t, s.addr)
	c.login()
	for range 3 {
		c.play(sendOne + "M: 250")
	}
	traces := make(map[trace.TraceID]bool)
	auths := 0
	for _, sp := range exporter.GetSpans() {
		traces[sp.SpanContext.TraceID()] = true
		if sp.Name == "auth" {
			auths++
		}
	}
	if len(traces) != 3 || auths != 1 {
		t.Errorf("%d traces with %d logins", len(traces), auths)
	}
}

// TestSampling: messages that are not sampled leave no span, and no trace's id
// in the log.
func TestSampling(t *testing.T) {
	for sampler, want := range map[string]int{"always_off": 0, "parentbased_always_on": 4, "": 4} {
		t.Setenv("OTEL_TRACES_SAMPLER", sampler)
		if sampler == "" {
			t.Setenv("OTEL_TRACES_SAMPLER", "traceidratio")
			t.Setenv("OTEL_TRACES_SAMPLER_ARG", "1")
		}
		s := startServer(t, nil)
		exporter, logs := s.trace(s.up)
		c := dial(t, s.addr)
		c.login()
		for range 4 {
			c.play(sendOne + "M: 250")
		}
		roots, joined := 0, 0
		for _, sp := range exporter.GetSpans() {
			if sp.Name == defaultSpan {
				roots++
			}
		}
		for _, l := range logs.All() {
			if _, ok := l.ContextMap()["trace_id"]; ok {
				joined++
			}
		}
		if roots != want || joined != want || len(logs.All()) != 4 {
			t.Errorf("%s: %d spans, %d of %d lines joined, want %d", sampler, roots, joined, len(logs.All()), want)
		}
	}
}

// TestPanicEndsSpan: what a session that panicked was doing is traced.
func TestPanicEndsSpan(t *testing.T) {
	s := startServer(t, nil)
	s.up.onPanic = "boom"
	exporter, _ := s.trace(s.up)
	c := dial(t, s.addr)
	c.login()
	c.play(`
		C: MAIL FROM:<sender@example.com>
		C: RCPT TO:<recipient@example.org>
		M: 250
		M: 250
		C: BDAT 0 LAST
		EOF`)
	<-s.point.whenEmpty()
	if spans := exporter.GetSpans(); len(spans) == 0 || attributes(spans[len(spans)-1])["mailgateway.aborted"] != true {
		t.Errorf("spans %v", spans)
	}
}

// TestTracingEnvironment: what the environment says is checked, and secrets in
// it are not quoted.
func TestTracingEnvironment(t *testing.T) {
	const secret = "made-up-api-key"
	for _, tc := range []struct{ name, value, want string }{
		{"OTEL_EXPORTER_OTLP_HEADERS", "api-key=" + secret + ",b=c%20d", ""},
		{"OTEL_EXPORTER_OTLP_HEADERS", "Bearer " + secret, "OTEL_EXPORTER_OTLP_HEADERS: malformed"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "a b=" + secret, "OTEL_EXPORTER_OTLP_HEADERS: malformed"},
		{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key=" + secret + "%zz", "OTEL_EXPORTER_OTLP_TRACES_HEADERS: malformed"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example:4318", ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "not a URL"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://u:" + secret + "@%zz/", "not a URL"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", ""},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "OTEL_EXPORTER_OTLP_PROTOCOL: unrecognized value 'http/json'"},
		{"OTEL_TRACES_SAMPLER", "parentbased_traceidratio", ""},
		{"OTEL_TRACES_SAMPLER", "some", "OTEL_TRACES_SAMPLER: unrecognized value 'some'"},
	} {
		t.Run(tc.name+" "+tc.value, func(t *testing.T) {
			t.Setenv(tc.name, tc.value)
			err := new(Tracing).provision()
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Error("the error quotes the secret")
			}
		})
	}
	t.Setenv("OTEL_TRACES_SAMPLER", "traceidratio")
	for arg, ok := range map[string]bool{"0.1": true, "0": true, "1": true, "2": false, "-1": false, "NaN": false, "x": false} {
		t.Setenv("OTEL_TRACES_SAMPLER_ARG", arg)
		if err := new(Tracing).provision(); (err == nil) != ok {
			t.Errorf("argument %s: %v", arg, err)
		}
	}
}
