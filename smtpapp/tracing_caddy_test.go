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
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// receiver takes OTLP over HTTP. Names in it are plain text, so that counting
// them needs no decoder; interop has the real collector.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  bytes.Buffer
	auth string
	seen int
}

func newReceiver(t testing.TB) *receiver {
	r := new(receiver)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seen++
		if req.URL.Path == "/v1/traces" {
			r.got.Write(body)
			r.auth = req.Header.Get("Api-Key")
		}
	}))
	t.Cleanup(r.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", r.URL)
	return r
}

func (r *receiver) count(text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Count(r.got.Bytes(), []byte(text))
}

func (r *receiver) requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}

// providerInUse tells how many apps hold the process's provider.
func providerInUse() int {
	n, _ := tracerProviders.References(tracerProviderKey)
	return n
}

func tracingConfig(t testing.TB, addr string, tracing object) object {
	return caddyConfig(t, object{
		"tracing": tracing,
		"servers": object{"local": object{"listen": []string{addr}, "tls": object{"mode": "off"}}},
	})
}

// TestTracingAcrossReloads: the provider stays, and each message's span is
// sent once, also those of a session that began before.
func TestTracingAcrossReloads(t *testing.T) {
	r := newReceiver(t)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=made-up-api-key")
	t.Setenv("OTEL_SERVICE_NAME", "gateway-under-test")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=trial")
	caddyUpstream = new(fakeUpstream)
	addr := freeAddr(t)
	cfg := tracingConfig(t, addr, object{"span": "my.span"})
	mustLoad(t, cfg)
	stopped := false
	defer func() {
		if !stopped {
			stopCaddy(t)
		}
	}()
	c := dial(t, addr)
	c.login()
	const reloads = 5
	for i := range reloads {
		c.play(sendOne + "M: 250")
		mustLoad(t, cfg)
		if n := providerInUse(); n != 1 {
			t.Fatalf("reload %d: %d users", i, n)
		}
	}
	c.play(sendOne + "M: 250\nC: QUIT\nM: 221\nEOF")
	// One that cannot start leaves what was there.
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	if err := load(t, tracingConfig(t, busy.Addr().String(), object{})); err == nil {
		t.Fatal("a listener that is taken was accepted")
	}
	if n := providerInUse(); n != 1 {
		t.Errorf("%d users after a configuration that failed", n)
	}
	stopCaddy(t)
	stopped = true
	if n := providerInUse(); n != 0 {
		t.Errorf("%d users after the end", n)
	}
	if got := r.count("my.span"); got != reloads+1 {
		t.Errorf("%d spans, want %d", got, reloads+1)
	}
	if r.count("gateway-under-test") == 0 || r.count("trial") == 0 || r.auth != "made-up-api-key" {
		t.Errorf("the variables had no effect; api-key %q", r.auth)
	}
	for _, secret := range []string{testPassword, "sender@", "recipient@", "the-content"} {
		if r.count(secret) > 0 {
			t.Errorf("%q was sent", secret)
		}
	}
}

// TestTracingOff: without the option, and where the environment says so, there
// is no provider's work and nothing is sent.
func TestTracingOff(t *testing.T) {
	for name, tc := range map[string]struct {
		tracing  object
		variable string
		value    string
	}{
		"no option":    {},
		"SDK disabled": {object{}, "OTEL_SDK_DISABLED", "true"},
		"no exporter":  {object{}, "OTEL_TRACES_EXPORTER", "none"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			if tc.variable != "" {
				t.Setenv(tc.variable, tc.value)
			}
			caddyUpstream = new(fakeUpstream)
			addr := freeAddr(t)
			cfg := tracingConfig(t, addr, tc.tracing)
			if tc.tracing == nil {
				delete(cfg["apps"].(object)["smtp"].(object), "tracing")
			}
			mustLoad(t, cfg)
			c := dial(t, addr)
			c.login()
			c.play(sendOne + "M: 250\nC: QUIT\nM: 221\nEOF")
			stopCaddy(t)
			if r.requests() > 0 {
				t.Error("something was sent")
			}
		})
	}
}

// TestTracingRefused: what the exporters refuse fails the load, and nothing is
// left of it.
func TestTracingRefused(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "no-such-exporter")
	err := load(t, tracingConfig(t, freeAddr(t), object{}))
	if err == nil || !strings.Contains(err.Error(), "tracing: ") {
		t.Errorf("got %v", err)
	}
	if n := providerInUse(); n != 0 {
		t.Errorf("%d users", n)
	}
}

// TestCollectorDown: messages pass as if there were no tracing while nobody
// listens, and while somebody listens and never answers; and the end does not
// wait for it. goleak sees what is left.
func TestCollectorDown(t *testing.T) {
	defer func(d time.Duration) { flushTimeout = d }(flushTimeout)
	flushTimeout = 100 * time.Millisecond
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var held []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := silent.Accept()
			if err != nil {
				return
			}
			held = append(held, nc)
		}
	}()
	defer func() {
		_ = silent.Close()
		<-done
		for _, nc := range held {
			_ = nc.Close()
		}
	}()
	for name, addr := range map[string]string{"refused": freeAddr(t), "silent": silent.Addr().String()} {
		for _, protocol := range []string{"http/protobuf", "grpc"} {
			t.Run(name+" "+protocol, func(t *testing.T) {
				t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+addr)
				t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
				t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")
				t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "1")  // exports are under way
				t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "16") // and the queue is full
				t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
				caddyUpstream = new(fakeUpstream)
				smtpAddr := freeAddr(t)
				mustLoad(t, tracingConfig(t, smtpAddr, object{}))
				c := dial(t, smtpAddr)
				c.login()
				for range 200 {
					c.play(sendOne + "M: 250")
				}
				c.play("C: QUIT\nM: 221\nEOF")
				if got := len(caddyUpstream.taken()); got != 200 {
					t.Errorf("%d messages", got)
				}
				// An export of its own would go on for ten minutes.
				stopped := make(chan struct{})
				go func() {
					defer close(stopped)
					stopCaddy(t)
				}()
				select {
				case <-stopped:
				case <-time.After(time.Minute):
					t.Fatal("the end waits for the collector")
				}
				if n := providerInUse(); n != 0 {
					t.Errorf("%d users", n)
				}
			})
		}
	}
}
