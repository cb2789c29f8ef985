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
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestClients drives one gateway with every command-line client.
func TestClients(t *testing.T) {
	need(t, "swaks", "curl", "msmtp")
	g := startGateway(t, gatewayOptions{}, "swaks@example.com", "curl@example.com", "msmtp@example.com")
	t.Run("swaks", func(t *testing.T) { testSwaks(t, g) })
	t.Run("curl", func(t *testing.T) { testCurl(t, g) })
	t.Run("msmtp", func(t *testing.T) { testMSMTP(t, g) })
}

func testSwaks(t *testing.T, g *gateway) {
	const from, to, second = "swaks@example.com", "one@example.net", "two@example.net"
	var wants []want
	msg := 0
	send := func(name, addr string, args ...string) {
		t.Helper()
		msg++
		m := message(fmt.Sprintf("swaks%d", msg), from, to, []byte("sent with "+name+"\r\n.dot\r\nGrüße\r\n"))
		file := filepath.Join(t.TempDir(), "message")
		// swaks ends the file's last line by itself.
		if err := os.WriteFile(file, bytes.TrimSuffix(m, []byte("\r\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{
			"--server", addr, "--helo", "client.test", "--from", from, "--to", to + "," + second,
			"--auth-user", from, "--auth-password", password, "--data", "@" + file,
		}, args...)
		out := succeed(t, nil, "swaks", args...)
		if !strings.Contains(out, "250 2.0.0 Ok: kept as ") {
			t.Errorf("swaks %s: the provider's own words are missing:\n%s", name, out)
		}
		wants = append(wants, want{from, []string{to, second}, m})
	}
	tlsArgs := []string{"--tls-verify", "--tls-ca-path", g.pki.caFile, "--tls-sni", "localhost"}
	for _, mech := range []string{"PLAIN", "LOGIN"} {
		send(mech+" over STARTTLS", g.starttls, append(tlsArgs, "--tls", "--auth", mech)...)
		send(mech+" over implicit TLS", g.implicit, append(tlsArgs, "--tls-on-connect", "--auth", mech)...)
		send(mech+" without TLS", g.plain, "--auth", mech)
		send(mech+" with pipelining", g.plain, "--auth", mech, "--pipeline")
		send(mech+" with pipelining over TLS", g.starttls, append(tlsArgs, "--tls", "--auth", mech, "--pipeline")...)
	}
	g.sandbox.checkReceived(mailboxOf(from), wants)

	t.Run("refused", func(t *testing.T) {
		for name, args := range map[string][]string{
			"wrong password":  {"--auth", "PLAIN", "--auth-user", from, "--auth-password", "wrong"},
			"unknown account": {"--auth", "PLAIN", "--auth-user", "nobody@example.com", "--auth-password", "wrong"},
		} {
			out, err := command(t, nil, "swaks", append([]string{"--server", g.plain, "--from", from, "--to", to}, args...)...)
			if err == nil || !strings.Contains(out, "535 5.7.8 ") {
				t.Errorf("%s: %v, want 535 5.7.8:\n%s", name, err, out)
			}
		}
		out, err := command(t, nil, "swaks", "--server", g.plain, "--from", from, "--to", to)
		if err == nil || !strings.Contains(out, "530 5.7.0 ") {
			t.Errorf("no login: %v, want 530 5.7.0:\n%s", err, out)
		}
		if n := len(g.sandbox.messages(mailboxOf(from))); n != len(wants) {
			t.Errorf("refused messages arrived: %d, want %d", n, len(wants))
		}
	})
}

func testCurl(t *testing.T, g *gateway) {
	const from, to = "curl@example.com", "one@example.net"
	var wants []want
	send := func(name, url string, m []byte, args ...string) {
		t.Helper()
		args = append([]string{
			"-sS", url, "--cacert", g.pki.caFile, "--user", from + ":" + password,
			"--mail-from", from, "--mail-rcpt", to, "--mail-rcpt", "two@example.net", "--upload-file", "-",
		}, args...)
		succeed(t, m, "curl", args...)
		wants = append(wants, want{from, []string{to, "two@example.net"}, m})
	}
	starttls := "smtp://localhost:" + port(g.starttls)
	for _, name := range slices.Sorted(maps.Keys(bodies)) {
		send(name, starttls, message("curl-"+name, from, to, bodies[name]), "--ssl-reqd")
	}
	small := func(n string) []byte { return message("curl-"+n, from, to, []byte(n+"\r\n")) }
	send("implicit TLS", "smtps://localhost:"+port(g.implicit), small("implicit"))
	send("no TLS", "smtp://"+g.plain, small("plain"))
	send("initial response", starttls, small("sasl-ir"), "--ssl-reqd", "--sasl-ir")
	send("LOGIN", starttls, small("login"), "--ssl-reqd", "--login-options", "AUTH=LOGIN")
	send("TLS 1.2", starttls, small("tls12"), "--ssl-reqd", "--tls-max", "1.2")
	g.sandbox.checkReceived(mailboxOf(from), wants)
}

func testMSMTP(t *testing.T, g *gateway) {
	const from, to = "msmtp@example.com", "one@example.net"
	var wants []want
	// msmtp reads lines ended by LF, as sendmail does.
	send := func(name, addr string, m []byte, args ...string) {
		t.Helper()
		args = append([]string{
			"--host=localhost", "--port=" + port(addr), "--from=" + from, "--user=" + from,
			"--passwordeval=echo " + password, "--tls-trust-file=" + g.pki.caFile,
			"--set-date-header=off", "--set-msgid-header=off",
		}, args...)
		succeed(t, []byte(strings.ReplaceAll(string(m), "\r\n", "\n")), "msmtp", append(args, to, "two@example.net")...)
		wants = append(wants, want{from, []string{to, "two@example.net"}, m})
	}
	for _, name := range slices.Sorted(maps.Keys(bodies)) {
		send(name, g.starttls, message("msmtp-"+name, from, to, bodies[name]), "--tls=on", "--tls-starttls=on", "--auth=plain")
	}
	send("implicit", g.implicit, message("msmtp-implicit", from, to, []byte("x\r\n")), "--tls=on", "--tls-starttls=off", "--auth=login")
	send("plain", g.plain, message("msmtp-plain", from, to, []byte("y\r\n")), "--tls=off", "--auth=plain")
	g.sandbox.checkReceived(mailboxOf(from), wants)
}
