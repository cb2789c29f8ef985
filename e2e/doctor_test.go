// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//	http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.
package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/internal/testpki"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/sandbox"
)

// command runs a command of the binary against a gateway's admin address.
func (w *world) command(admin string, args ...string) (out string, err error) {
	w.t.Helper()
	bin, err := buildOnce()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(bin, append([]string{"smtp", "--address", admin}, args...)...)
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// doctor is what "smtp doctor" says of the processes on the storage.
func (w *world) processes(admin string) (found []string) {
	w.t.Helper()
	out, _ := w.command(admin, "doctor", "--json")
	var report operate.DoctorReport
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&report); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	for _, f := range report.Findings {
		if f.Check == "processes" {
			found = append(found, fmt.Sprintf("%s %s: %s; %s; %s", f.State, f.Subject, f.Said, f.Cause, f.Remedy))
		}
	}
	return found
}

// TestDoctorSeesAnotherProcess: two gateways on one storage see each other, until
// one of them ends, however it ends.
func TestDoctorSeesAnotherProcess(t *testing.T) {
	w := newProcessWorld(t)
	second := *w
	second.addr = freeAddr(t)
	admins := [2]string{freeAddr(t), freeAddr(t)}
	listen := func(admin string) { w.config["admin"] = object{"listen": admin, "config": object{"persist": false}} }
	listen(admins[0])
	first := w.run()
	if found := w.processes(admins[0]); len(found) != 0 {
		t.Fatalf("alone: %q", found)
	}
	for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		listen(admins[1])
		w.server()["listen"] = []string{second.addr}
		other := second.run()
		for admin, pid := range map[string]int{admins[0]: other.cmd.Process.Pid, admins[1]: first.cmd.Process.Pid} {
			found := w.processes(admin)
			if len(found) != 1 || !strings.HasPrefix(found[0], fmt.Sprintf("warning process %d: uses the same storage since ", pid)) ||
				!strings.Contains(found[0], "bans") || !strings.Contains(found[0], "end it") {
				t.Errorf("beside process %d: %q", pid, found)
			}
		}
		if found := w.processes(admins[0]); !strings.Contains(strings.Join(found, ""), "listening at "+second.addr) {
			t.Errorf("not said where it listens: %q", found)
		}
		other.signal(end)
		_ = other.wait()
		if found := w.processes(admins[0]); len(found) != 0 {
			t.Errorf("after %v: %q", end, found)
		}
	}
}

// TestDoctorAsksAPI: a device that opens TLS in front of an API is named by its
// certificate; an API that answers, whatever it says, is reached.
func TestDoctorAsksAPI(t *testing.T) {
	w := newProcessWorld(t)
	t.Cleanup(func() { w.sandbox.Close() })
	cert := testpki.NewAuthority("Example Inspection CA").Issue(testpki.Leaf{Names: []string{"127.0.0.1"}})
	device := httptest.NewUnstartedServer(http.NotFoundHandler())
	device.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	device.StartTLS()
	t.Cleanup(device.Close)
	upstreams := w.app("smtp_upstreams")["upstreams"].(object)
	upstreams["opened"] = object{"transport": "graph", "provider": "sandbox", "endpoint": device.URL}
	upstreams["open"] = object{"transport": "gmail", "provider": "sandbox", "endpoint": w.sandbox.HTTPURL(), "userinfo_url": w.sandbox.HTTPURL() + "/userinfo"}
	admin := freeAddr(t)
	w.config["admin"] = object{"listen": admin, "config": object{"persist": false}}
	w.run()
	out, _ := w.command(admin, "doctor", "--json")
	var report operate.DoctorReport
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&report); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	found := make(map[string]string)
	for _, f := range report.Findings {
		if f.Check == "egress" {
			found[f.Subject] = fmt.Sprintf("%s: %s; %s; %s", f.State, f.Said, f.Cause, f.Remedy)
		}
	}
	for upstream, want := range map[string][]string{
		"opened": {"wrong: ", "unknown authority (the certificate is by 'Example Inspection CA')", "not trusted", "trust_pool"},
		"open":   {"ok: ", "HTTP 404", "/userinfo: HTTP 401"},
	} {
		for _, words := range want {
			if !strings.Contains(found[upstream], words) {
				t.Errorf("%s: %q, want %q", upstream, found[upstream], words)
			}
		}
	}
}

// TestStatesOfTheBinary: an account whose owner never consented and two that are
// refused, at the token endpoint and at the login, are what "account list" says,
// and "smtp test" says why and what to do.
func TestStatesOfTheBinary(t *testing.T) {
	never := account("never@example.com", "never@example.com")
	delete(never, "refresh_token")
	w := newProcessWorld(t, withAccount(never),
		withAccount(account("policy@example.com", "policy@example.com")), withAccount(account("login@example.com", "login@example.com")))
	admin := freeAddr(t)
	w.config["admin"] = object{"listen": admin, "config": object{"persist": false}}
	w.sandbox.FailTokens(sandbox.TokenFailure{
		Mailbox: "policy@example.com", Times: -1, Status: 400, Error: "rapt_required",
	})
	if _, err := w.sandbox.AddFault(sandbox.Fault{
		Stage: "auth", Action: "reply", Mailbox: "login@example.com",
		Reply: "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.",
	}); err != nil {
		t.Fatal(err)
	}
	w.run()
	state := func(name string) string {
		out, err := w.command(admin, "account", "show", name, "--json")
		var a struct{ State string }
		if err != nil || json.Unmarshal([]byte(out), &a) != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		return a.State
	}
	await := func(name, want string) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			got := state(name)
			if got == want {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("%s is %q, want %s", name, got, want)
				return
			}
		}
	}
	await("never@example.com", operate.StateNeverConsented)
	for name, want := range map[string][]string{
		"never@example.com":  {operate.StateNeverConsented, "no refresh token yet", "smtp login never@example.com", "Retry helps:   no"},
		"policy@example.com": {operate.StateRefused, "session policy", "administrator exempts", "Retry helps:   no"},
		"login@example.com":  {operate.StateRefused, "SMTP AUTH is switched off for this mailbox", "Set-CASMailbox -Identity login@example.com", "Retry helps:   no"},
		testUser:             {operate.StateActive, "can send through"},
	} {
		out, err := w.command(admin, "test", name)
		if failed := err != nil; failed != (name != testUser) {
			t.Errorf("smtp test %s: %v", name, err)
		}
		for _, words := range want[1:] {
			if !strings.Contains(out, words) {
				t.Errorf("smtp test %s does not say %q:\n%s", name, words, out)
			}
		}
		await(name, want[0])
		if want[0] == operate.StateRefused {
			if out, err := w.command(admin, "doctor"); err == nil || !strings.Contains(out, name) {
				t.Errorf("smtp doctor says nothing of %s: %v\n%s", name, err, out)
			}
		}
		if out, err := w.command(admin, "account", "list", "--state", want[0]); err != nil || !strings.Contains(out, name) {
			t.Errorf("%s is not in the list of %s: %v\n%s", name, want[0], err, out)
		}
	}
}
