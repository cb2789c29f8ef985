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

package admin_test

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
)

// TestHealth holds what a process says of itself to those who start and choose
// processes: one that is out of service lives, and takes no clients; so does one
// whose configuration is not in force, or not any more.
func TestHealth(t *testing.T) {
	g := gatewaytest.New(t)
	ask := func(path string) (int, string) {
		t.Helper()
		a := g.Do(t, "GET", path, "")
		return a.Status, string(a.Body)
	}
	expect := func(when, ready string) {
		t.Helper()
		if status, body := ask("/smtp/live"); status != http.StatusNoContent {
			t.Errorf("%s: live: %d %s", when, status, body)
		}
		want := http.StatusNoContent
		if ready != "" {
			want = http.StatusServiceUnavailable
		}
		if status, body := ask("/smtp/ready"); status != want || !strings.Contains(body, ready) {
			t.Errorf("%s: ready: %d %s, want %d and %q", when, status, body, want, ready)
		}
		_, stderr, err := g.Run(t, "", "health", "--ready")
		if (err != nil) != (ready != "") || err != nil && !strings.Contains(err.Error(), ready) {
			t.Errorf("%s: smtp health --ready: %v, %s", when, err, stderr)
		}
		if out := g.MustRun(t, "", "health"); out != "it lives\n" {
			t.Errorf("%s: smtp health: %q", when, out)
		}
	}
	expect("as it starts", "")
	g.Do(t, "POST", "/smtp/nodes/drain", "")
	expect("drained", "out of service")
	g.Load(t)
	expect("drained, after a reload", "out of service")
	g.Do(t, "DELETE", "/smtp/nodes/drain", "")
	expect("resumed", "")

	if status, body := ask("/smtp/live?x=1"); status != http.StatusBadRequest {
		t.Errorf("live with a query: %d %s", status, body)
	}

	// Only the admin API is there: as before the first configuration is in force.
	if err := caddy.Load([]byte(`{"admin": {"listen": "`+g.Admin+`", "config": {"persist": false}}}`), true); err != nil {
		t.Fatal(err)
	}
	expect("without a configuration", "not running")
}

// TestHealthTimeout holds that a process which hangs is told in time: the kernel
// takes connections for it.
func TestHealthTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	g := &gatewaytest.Gateway{Admin: l.Addr().String()}
	_, _, err = g.Run(t, "", "health", "--timeout", "50ms")
	if err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("a process that hangs: %v", err)
	}
}
