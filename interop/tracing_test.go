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

package interop

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/sandbox"
)

// buildCollector builds the OpenTelemetry Collector, once.
var buildCollector = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs(filepath.Join(filepath.Dir(gatewayBinary), "otelcol"))
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", dir, ".")
	build.Dir = "otelcol"
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the collector: %w\n%s", err, out)
	}
	return dir, nil
})

// collector is a real OpenTelemetry Collector that writes what it gets.
type collector struct {
	*process
	http, grpc, file string
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	binary, err := buildCollector()
	if err != nil {
		t.Fatal(err)
	}
	addrs := freeAddrs(t, 2)
	dir := t.TempDir()
	c := &collector{http: addrs[0], grpc: addrs[1], file: filepath.Join(dir, "spans.json")}
	config := filepath.Join(dir, "otelcol.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, `
receivers:
  otlp:
    protocols:
      http: {endpoint: "%s"}
      grpc: {endpoint: "%s"}
exporters:
  file: {path: "%s"}
service:
  pipelines:
    traces: {receivers: [otlp], exporters: [file]}
`, c.http, c.grpc, c.file), 0o600); err != nil {
		t.Fatal(err)
	}
	c.process = start(t, exec.Command(binary, "--config", config))
	c.waitListening(c.http)
	c.waitListening(c.grpc)
	return c
}

// span is a span as the collector has it.
type span struct {
	TraceID  string `json:"traceId"`
	SpanID   string `json:"spanId"`
	ParentID string `json:"parentSpanId"`
	Name     string
	Kind     int
	Start    string `json:"startTimeUnixNano"`
	End      string `json:"endTimeUnixNano"`
	Status   struct{ Code int }
	Events   []struct{ Name string }

	Attributes, resource []attribute
}

type attribute struct {
	Key   string
	Value map[string]any
}

func find(list []attribute, key string) any {
	for _, a := range list {
		if a.Key == key {
			for v := range maps.Values(a.Value) {
				return v
			}
		}
	}
	return nil
}

func (s span) get(key string) any { return find(s.Attributes, key) }

func (s span) times(t *testing.T) (from, to time.Time) {
	t.Helper()
	a, err := strconv.ParseInt(s.Start, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	b, err := strconv.ParseInt(s.End, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(0, a), time.Unix(0, b)
}

// spans ends the collector and returns what it has written, which it does in
// whole batches.
func (c *collector) spans() []span {
	c.t.Helper()
	c.stop()
	raw, err := os.ReadFile(c.file)
	if err != nil {
		c.t.Fatal(err)
	}
	var all []span
	for line := range strings.Lines(string(raw)) {
		var batch struct {
			ResourceSpans []struct {
				Resource   struct{ Attributes []attribute }
				ScopeSpans []struct{ Spans []span }
			}
		}
		if err := json.Unmarshal([]byte(line), &batch); err != nil {
			c.t.Fatalf("%v in %.200q", err, line)
		}
		for _, r := range batch.ResourceSpans {
			for _, s := range r.ScopeSpans {
				for _, one := range s.Spans {
					one.resource = r.Resource.Attributes
					all = append(all, one)
				}
			}
		}
	}
	return all
}

// TestTracing sends through the gateway with tracing on, over reloads, and
// reads what a real collector got.
func TestTracing(t *testing.T) {
	need(t, "go")
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) { testTracing(t, protocol) })
	}
}

func testTracing(t *testing.T, protocol string) {
	const user = "traced@example.com"
	c := startCollector(t)
	addr := c.http
	if protocol == "grpc" {
		addr = c.grpc
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+addr)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=made-up-api-key")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=interop")
	// Nothing leaves by itself before the reloads: the queue has to survive them.
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
	g := startGateway(t, gatewayOptions{smtp: "tracing"}, user)

	send := func(rcpt string) error { return sendTraced(t, g.plain, user, rcpt) }
	const slow = 300 * time.Millisecond
	delay := caddy.Duration(slow)
	g.sandbox.fault(sandbox.Fault{Stage: "auth", Action: "delay", Delay: delay, Times: 1})
	if err := send("one@example.net"); err != nil { // a new connection
		t.Fatal(err)
	}
	g.sandbox.fault(sandbox.Fault{Stage: "rcpt", Action: "delay", Delay: delay, Times: 1})
	if err := send("two@example.net"); err != nil {
		t.Fatal(err)
	}
	reload := func() {
		succeed(t, nil, gatewayBinary, "reload", "--force", "--adapter", "caddyfile", "--config", g.conf, "--address", g.admin)
	}
	reload()
	g.sandbox.fault(sandbox.Fault{Stage: "rcpt", Action: "reply", Reply: "550 5.1.1 no-such-user", Times: 1})
	if err := send("three@example.net"); err == nil {
		t.Error("a refused recipient was accepted")
	}
	g.sandbox.fault(sandbox.Fault{Stage: "mail", Action: "reply", Reply: "452 4.2.2 full", Times: 1})
	if err := send("four@example.net"); err == nil {
		t.Error("a refused sender was accepted")
	}
	g.sandbox.fault(sandbox.Fault{Stage: "end", Action: "reply", Reply: "554 5.7.1 spam", Times: 1})
	if err := send("five@example.net"); err == nil {
		t.Error("a refused message was accepted")
	}
	reload()
	if err := send("six@example.net"); err != nil {
		t.Fatal(err)
	}
	g.stop() // what is in the queue is sent now
	spans := c.spans()

	raw, err := os.ReadFile(c.file)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{
		password, sandboxSecret, mailPassword, fmt.Sprintf(refreshTokenOf, user), "made-up-api-key",
		"sender@example.com", "@example.net", "the-content", "no-such-user",
	} {
		if strings.Contains(string(raw), secret) {
			t.Errorf("%q was sent to the collector", secret)
		}
	}
	if strings.Contains(g.out.String(), "made-up-api-key") {
		t.Error("the exporter's key is in the log")
	}

	// Each line of the access log has its trace, and each trace its line.
	lines := accessLog(t, g.out.String())
	if len(lines) != 6 {
		t.Fatalf("%d lines in the access log, want 6", len(lines))
	}
	traces := make(map[string]map[string]span)
	seen := make(map[string]bool)
	for _, s := range spans {
		if seen[s.SpanID] {
			t.Errorf("span %s came twice", s.Name)
		}
		seen[s.SpanID] = true
		if traces[s.TraceID] == nil {
			traces[s.TraceID] = make(map[string]span)
		}
		traces[s.TraceID][s.Name] = s
		if find(s.resource, "service.name") != "mailgateway" || find(s.resource, "deployment.environment.name") != "interop" {
			t.Errorf("resource %v", s.resource)
		}
	}
	if len(traces) != len(lines) {
		t.Errorf("%d traces for %d messages", len(traces), len(lines))
	}
	for i, want := range []struct {
		spans  string
		code   string
		status int
	}{
		{"auth data dial envelope token wait", "250", 0},
		{"auth data envelope", "250", 0},
		{"auth envelope", "550", 2},
		{"auth envelope", "452", 2},
		{"auth data envelope", "554", 2},
		{"auth data envelope", "250", 0},
	} {
		line := lines[i]
		trace := traces[line.TraceID]
		root, ok := trace["smtp.transaction"]
		if !ok {
			t.Fatalf("message %d: no trace %q", i, line.TraceID)
		}
		delete(trace, "smtp.transaction")
		if names := strings.Join(slices.Sorted(maps.Keys(trace)), " "); names != want.spans {
			t.Errorf("message %d: spans %s, want %s", i, names, want.spans)
		}
		if root.Kind != 2 || root.ParentID != "" || root.Status.Code != want.status || root.get("smtp.reply.code") != want.code ||
			root.get("mailgateway.message.id") != line.ID || root.get("mailgateway.account") != user ||
			root.get("mailgateway.upstream") != "provider" || root.get("mailgateway.upstream.reused") != (i > 0) ||
			root.get("client.address") != "127.0.0.1" {
			t.Errorf("message %d: %+v", i, root)
		}
		if refused := i == 2 || i == 3; refused != (len(root.Events) == 1) {
			t.Errorf("message %d: %d events", i, len(root.Events))
		}
		begin, end := root.times(t)
		for name, s := range trace {
			from, to := s.times(t)
			if s.ParentID != root.SpanID || to.Before(from) || to.After(end) || name != "auth" && from.Before(begin) || name == "auth" && to.After(begin) {
				t.Errorf("message %d: %s from %v to %v, the message from %v to %v", i, name, from, to, begin, end)
			}
		}
		atLeast := func(name string) {
			if from, to := trace[name].times(t); to.Sub(from) < slow {
				t.Errorf("message %d: %s took %v, the provider waited %v", i, name, to.Sub(from), slow)
			}
		}
		switch i {
		case 0:
			atLeast("dial")
			atLeast("wait")
		case 1:
			atLeast("envelope")
		}
	}
	dial, token := traces[lines[0].TraceID]["dial"], traces[lines[0].TraceID]["token"]
	dialed, _ := dial.times(t)
	if _, came := token.times(t); dialed.Before(came) {
		t.Errorf("dialed at %v, before the token came at %v", dialed, came)
	}
}

// sendTraced sends one message in a session of its own. It ends the transaction
// before it returns, whatever became of it: the next message finds the
// provider's connection free, and its line comes later.
func sendTraced(t *testing.T, addr, user, rcpt string) error {
	t.Helper()
	c, err := smtp.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Auth(smtp.PlainAuth("", user, password, "127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	err = func() error {
		if err := c.Mail("sender@example.com"); err != nil {
			return err
		}
		if err := c.Rcpt(rcpt); err != nil {
			return err
		}
		w, err := c.Data()
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, "Subject: the-content\r\n\r\nx\r\n"); err != nil {
			return err
		}
		return w.Close()
	}()
	if err := c.Reset(); err != nil {
		t.Error(err)
	}
	if err := c.Quit(); err != nil {
		t.Error(err)
	}
	return err
}

// accessLine is a line of the access log.
type accessLine struct {
	ID      string
	TraceID string `json:"trace_id"`
}

func accessLog(t *testing.T, out string) []accessLine {
	t.Helper()
	var lines []accessLine
	for sc := bufio.NewScanner(strings.NewReader(out)); sc.Scan(); {
		if !strings.Contains(sc.Text(), `"logger":"smtp.log.access"`) {
			continue
		}
		var l accessLine
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	return lines
}
