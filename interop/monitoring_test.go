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
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const monitoring = "../xcaddy/dist/monitoring/"

// TestAlertRules runs the alert rules' own tests with promtool.
func TestAlertRules(t *testing.T) {
	promtool := need(t, "promtool")[0]
	succeed(t, nil, promtool, "check", "rules", monitoring+"alerts.yaml")
	cmd := exec.Command(promtool, "test", "rules", "alerts_test.yaml")
	cmd.Dir = monitoring
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// dashboard is what a Grafana dashboard asks for.
type dashboard struct {
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
	}
}

// TestDashboard asks a real Prometheus, which scrapes a real gateway, each
// query of each panel.
func TestDashboard(t *testing.T) {
	prometheus := need(t, "prometheus")[0]
	raw, err := os.ReadFile(monitoring + "grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	g := startGateway(t, gatewayOptions{}, "metrics@example.com")
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	err = os.WriteFile(config, fmt.Appendf(nil, `
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: caddy
    static_configs: [{targets: ["%s"]}]
`, g.admin), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	addr := freeAddrs(t, 1)[0]
	p := start(t, exec.Command(prometheus, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+addr, "--log.level=warn"))
	p.waitListening(addr)

	send := func() {
		succeed(t, []byte("Subject: metrics\r\n\r\nx\r\n"), need(t, "curl")[0], "-sS", "smtp://"+g.plain,
			"--user", "metrics@example.com:"+password, "--mail-from", "metrics@example.com",
			"--mail-rcpt", "someone@example.net", "--upload-file", "-")
	}
	// Histograms and limits that nobody met have no samples in a minute.
	mayBeEmpty := map[string]bool{"Messages that met a limit, per second": true}
	deadline := time.Now().Add(90 * time.Second)
	for _, panel := range d.Panels {
		if len(panel.Targets) == 0 {
			t.Errorf("panel %q asks nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			expr := strings.ReplaceAll(target.Expr, "$__rate_interval", "30s")
			for {
				n, err := query(t.Context(), addr, expr)
				if err != nil {
					t.Fatalf("panel %q: %v", panel.Title, err)
				}
				if n > 0 || mayBeEmpty[panel.Title] {
					break
				}
				if time.Now().After(deadline) {
					t.Errorf("panel %q: %s has no samples", panel.Title, expr)
					break
				}
				send() // until Prometheus has seen two scrapes with traffic between
			}
		}
	}
}

// query returns the number of series of an instant query.
func query(ctx context.Context, addr, expr string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/api/v1/query?query="+url.QueryEscape(expr), nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusServiceUnavailable {
		return 0, nil // it listens before it is ready
	}
	var out struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return 0, fmt.Errorf("%s: %s: %w", expr, resp.Status, err)
	}
	if out.Status != "success" {
		return 0, fmt.Errorf("%s: %s", expr, out.Error)
	}
	return len(out.Data.Result), nil
}

// TestFail2ban: the filter finds failed logins in the gateway's own log, by
// their address, and nothing else.
func TestFail2ban(t *testing.T) {
	fail2ban := need(t, "fail2ban-regex")[0]
	g := startGateway(t, gatewayOptions{}, "banned@example.com")
	conn, err := net.Dial("tcp", g.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := textproto.NewConn(conn)
	step := func(code int, cmd string) {
		t.Helper()
		if cmd != "" {
			if err := c.PrintfLine("%s", cmd); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := c.ReadResponse(code); err != nil {
			t.Fatal(err)
		}
	}
	auth := func(user, pass string) string {
		return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+pass))
	}
	step(220, "")
	step(250, "EHLO client.test")
	// A name that looks like the end of the line must not move the address.
	step(535, auth(`x","client_ip":"192.0.2.9","result":"failed`, "wrong"))
	step(535, auth("banned@example.com", "wrong"))
	step(235, auth("banned@example.com", password))
	step(221, "QUIT")
	g.waitOutputFunc("two failed logins", func(s string) bool { return strings.Count(s, `"authentication failed"`) == 2 })

	log := filepath.Join(t.TempDir(), "mailgateway.log")
	if err := os.WriteFile(log, []byte(g.out.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out := succeed(t, nil, fail2ban, "--print-all-matched", "-v", log, "../xcaddy/dist/fail2ban/filter.d/mailgateway.conf")
	if !strings.Contains(out, "2 matched") {
		t.Errorf("want 2 matched lines:\n%s", out)
	}
	if strings.Count(out, "127.0.0.1") < 2 || strings.Contains(out, "   192.0.2.9  ") {
		t.Errorf("the addresses are not the clients':\n%s", out)
	}
}
