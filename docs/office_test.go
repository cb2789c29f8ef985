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

package docs

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/internal/testpki"
	"github.com/caddymail/mailgateway/sandbox"
)

// network is where devices are: what a server lets them do goes by it.
type network string

const (
	anywhere   network = "10.0.0.0/8"
	trusted    network = "11.0.0.0/8" // by the server devices
	ofGone     network = "12.0.0.0/8" // trusted for an account that is not there
	lfOnly     network = "13.0.0.0/8" // in the clear too
	inTheClear network = "14.0.0.0/8"
)

var lastAddress atomic.Uint32

// address is one that no device had before, nor a neighbour of one: what a process
// has refused outlives a test.
func address(n network) string {
	a := netip.MustParsePrefix(string(n)).Addr().As4()
	i := lastAddress.Add(1)
	a[1], a[2], a[3] = byte(i>>5), byte(i<<3), 1
	return netip.AddrFrom4(a).String()
}

// office is a gateway whose log is read, in front of a provider that takes its
// time.
type office struct {
	t       *testing.T
	admin   string
	log     string
	servers map[string]string // their addresses

	limited  string // an account that may send one message
	provider *sandbox.Sandbox
	caddy    func(more string) []byte // the configuration, with another server
}

func newOffice(t *testing.T) *office {
	t.Helper()
	dir := t.TempDir()
	ca := filepath.Join(dir, "provider.pem")
	sb, err := sandbox.Start(&sandbox.App{CAFile: ca, Password: "upstream-password", KeepBodies: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sb.Close() })
	if _, err := sb.AddFault(sandbox.Fault{Stage: "end", Action: "delay", Delay: caddy.Duration(200 * time.Millisecond)}); err != nil {
		t.Fatal(err)
	}
	cert, key, err := testpki.Write(dir, testpki.NewAuthority("Office CA").Issue(testpki.Leaf{Names: []string{"mail.example.com"}}))
	if err != nil {
		t.Fatal(err)
	}
	o := &office{t: t, admin: gatewaytest.FreeAddress(t), log: filepath.Join(dir, "log"), servers: make(map[string]string), provider: sb, limited: address(anywhere) + "@example.com"}
	var servers strings.Builder
	for name, options := range map[string]string{
		"starttls":       "max_message_size 100000\nmax_recipients 2",
		"implicit":       "",
		"reject":         "bare_newline reject",
		"hasty":          "login_timeout 1s",
		"hasty_implicit": "login_timeout 1s",
		"silent":         "command_timeout 1s\nbody_idle_timeout 1s",
		"narrow":         "max_conns_per_ip 1",
		"mutual":         "",
		"legacy":         "legacy_tls",
		"devices":        fmt.Sprintf("plaintext_auth %s %s\nlf_only %s\ntrust %s {\naccount %s\n}", inTheClear, lfOnly, lfOnly, trusted, deviceAccount),
	} {
		o.servers[name] = gatewaytest.FreeAddress(t)
		mode, more := "starttls", ""
		if strings.HasSuffix(name, "implicit") || name == "mutual" {
			mode = "implicit"
		}
		if name == "mutual" {
			more = "{\nclient_auth {\nmode require\n}\n}"
		}
		certs := cert + " " + key
		if name == "legacy" {
			certs = "" // Caddy's own: two of them
		}
		fmt.Fprintf(&servers, "server %s %s {\ntls %s %s %s\nproxy_protocol 127.0.0.0/8\nauth_failures 5 delay off exempt none\n"+
			"trust %s {\naccount gone@example.com\n}\n%s\n}\n",
			name, o.servers[name], mode, certs, more, ofGone, options)
	}
	accounts, nowhere := o.accounts(dir), gatewaytest.FreeAddress(t)
	o.caddy = func(also string) []byte {
		cfg, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(fmt.Appendf(nil, `{
	admin %s
	persist_config off
	storage file_system %s
	local_certs
	skip_install_trust
	log {
		output file %s
		format json
		level INFO
	}
	smtp_upstreams {
		upstream provider {
			dial %s
			tls starttls {
				trust_pool file %s
			}
			auth plain
		}
		upstream nowhere {
			dial %s
			auth plain
			max_wait 2s
		}
		spool {
			min_free 0.001 # whatever disk the tests run on
			directory %s
		}
	}
	smtp {
		hostname legacy.localhost
		accounts {
			file %s
		}
		%s
		%s
	}
}
`, o.admin, filepath.Join(dir, "storage"), o.log, sb.SMTPAddr(), ca, nowhere, filepath.Join(dir, "spool"), accounts, servers.String(), also), nil)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	if err := caddy.Load(o.caddy(""), true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	return o
}

func (o *office) accounts(dir string) string {
	o.t.Helper()
	sum := sha256.Sum256([]byte(devicePassword))
	hash := "sha256:" + hex.EncodeToString(sum[:])
	file := filepath.Join(dir, "accounts.jsonl")
	content := fmt.Sprintf(`{"name":%[1]q,"upstream":"provider","secret":"upstream-password","password_hashes":[%[2]q],"senders":[%[3]q]}
{"name":"paused@example.com","upstream":"provider","secret":"x","password_hashes":[%[2]q],"paused":true}
{"name":"free@example.com","upstream":"provider","secret":"upstream-password","password_hashes":[%[2]q]}
{"name":"stale@example.com","upstream":"provider","secret":"an old one","password_hashes":[%[2]q]}
{"name":%[4]q,"upstream":"provider","secret":"upstream-password","password_hashes":[%[2]q],"limits":{"rate":"1/9m"}}
{"name":"away@example.com","upstream":"nowhere","secret":"x","password_hashes":[%[2]q]}
{"name":"kept@example.com","upstream":"nowhere","secret":"x","password_hashes":[%[2]q],"spool":"on"}
`, deviceAccount, hash, deviceAccount, o.limited)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		o.t.Fatal(err)
	}
	return file
}

// device connects one.
func (o *office) device(t *testing.T, server, from string) *device {
	t.Helper()
	nc, err := net.Dial("tcp", o.servers[server])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(nc, "PROXY TCP4 %s 127.0.0.1 40000 25\r\n", from)
	return &device{t: t, base: nc, nc: nc, text: textproto.NewConn(nc)}
}

// leave hangs up, and waits until the gateway has done so: what it has to say
// of the session is said then.
func (d *device) leave() {
	_ = d.base.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, d.base)
	_ = d.base.Close()
}

// line is a line of the log.
type line struct {
	Level    string `json:"level"`
	Message  string `json:"msg"`
	ClientIP string `json:"client_ip"`
	Cause    string `json:"cause"`
	Reply    string `json:"reply"`
	Remedy   string `json:"remedy"`
	Count    int    `json:"count"`
}

// lines are those of the log about a cause at an address.
func (o *office) lines(t *testing.T, from, cause string) (found []line) {
	t.Helper()
	for raw := range strings.Lines(read(t, o.log)) {
		var l line
		if err := json.Unmarshal([]byte(raw), &l); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		if l.ClientIP == from && l.Cause == cause {
			found = append(found, l)
		}
	}
	return found
}

// about is all that the log says of an address.
func (o *office) about(from string) (found []string) {
	for l := range strings.Lines(read(o.t, o.log)) {
		if strings.Contains(l, `"client_ip":"`+from+`"`) {
			found = append(found, l)
		}
	}
	return found
}

// parsed are the lines of the log about an address.
func (o *office) parsed(t *testing.T, from string) (found []line) {
	t.Helper()
	for _, raw := range o.about(from) {
		var l line
		if err := json.Unmarshal([]byte(raw), &l); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		found = append(found, l)
	}
	return found
}

// refusals is what the API answers about them.
func (o *office) refusals(t *testing.T, from, cause string) []admin.Refusal {
	t.Helper()
	var list admin.RefusalList
	o.ask(t, http.MethodGet, "/smtp/refusals?client_ip="+from+"&cause="+cause, &list)
	return list.Refusals
}

// ask asks the API.
func (o *office) ask(t *testing.T, method, path string, answer any) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+o.admin+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		t.Fatal(err)
	}
}

// banned is how long a client is refused.
func (o *office) banned(t *testing.T, from string) time.Duration {
	t.Helper()
	var list admin.BanList
	o.ask(t, http.MethodGet, "/smtp/bans", &list)
	for _, b := range list.Bans {
		if b.Network.Addr().String() == from {
			return b.Until.Sub(b.Since)
		}
	}
	return 0
}

// make makes a mistake three times, and holds that it is said once. It returns
// what the device saw and what the log says.
func (o *office) make(t *testing.T, cause string, m mistake) (saw string, said line) {
	t.Helper()
	server, from := cmp.Or(m.server, "starttls"), address(cmp.Or(m.from, anywhere))
	if m.before != nil {
		m.before(func() *device { return o.device(t, server, from) })
	}
	const times = 3
	for range times {
		d := o.device(t, server, from)
		saw = m.do(d)
		d.leave()
	}
	found, list := o.lines(t, from, cause), o.refusals(t, from, cause)
	if len(found) != 1 || len(list) != 1 {
		t.Fatalf("%d lines, %d entries, want one of each: %+v %+v; of this address:\n%s", len(found), len(list), found, list, strings.Join(o.about(from), ""))
	}
	said = found[0]
	level := "warn"
	if m.quiet {
		level = "info"
	}
	if said.Level != level || said.Count != 1 || said.Remedy == "" {
		t.Errorf("line %+v", said)
	}
	if r := list[0]; r.Count != times || r.Remedy != said.Remedy || r.Reply != said.Reply || r.Server != server {
		t.Errorf("entry %+v, line %+v", r, said)
	}
	return saw, said
}
