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
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
)

// needNode fails the test where a Node project's packages are not installed.
func needNode(t *testing.T, dir string) string {
	t.Helper()
	node := need(t, "node", "npm")[0]
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		ci := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")
		ci.Dir = dir
		if out, err := ci.CombinedOutput(); err != nil {
			t.Fatalf("npm ci in interop/%s: %v\n%s", dir, err, out)
		}
	}
	return node
}

func TestNodemailer(t *testing.T) {
	node := needNode(t, "nodemailer")
	const user, from, to = "nodemailer@example.com", "app@else.example", "one@example.net"
	g := startGateway(t, gatewayOptions{}, user, "nmreject@example.com")

	type nodeMessage struct {
		From string   `json:"from"`
		To   []string `json:"to"`
		Data []byte   `json:"data"`
	}
	type answer struct {
		Response, Error    string
		Accepted, Rejected []string
		Errors             []string
	}
	send := func(user, addr, method string, implicit bool, messages []nodeMessage) []answer {
		t.Helper()
		p, err := strconv.Atoi(port(addr))
		if err != nil {
			t.Fatal(err)
		}
		in, err := json.Marshal(map[string]any{
			"port": p, "implicit": implicit, "ca_file": g.pki.caFile, "user": user, "password": password,
			"method": method, "connections": 4, "messages": messages,
		})
		if err != nil {
			t.Fatal(err)
		}
		out := succeed(t, in, node, "nodemailer/send.mjs")
		var answers []answer
		if err := json.Unmarshal([]byte(out), &answers); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return answers
	}

	var wants []want
	for _, c := range []struct {
		addr, method string
		implicit     bool
	}{{g.starttls, "PLAIN", false}, {g.implicit, "LOGIN", true}} {
		var messages []nodeMessage
		add := func(id string, body []byte) {
			m := message(fmt.Sprintf("nodemailer-%s-%s", c.method, id), from, to, body)
			messages = append(messages, nodeMessage{from, []string{to, "two@example.net"}, m})
			wants = append(wants, want{from, []string{to, "two@example.net"}, m})
		}
		for _, name := range slices.Sorted(maps.Keys(bodies)) {
			add(name, bodies[name])
		}
		for i := range 40 {
			add(strconv.Itoa(i), []byte("one of many\r\n"))
		}
		for i, a := range send(user, c.addr, c.method, c.implicit, messages) {
			if !strings.HasPrefix(a.Response, "250 2.0.0 Ok: kept as ") || len(a.Accepted) != 2 {
				t.Errorf("message %d: %+v", i, a)
			}
		}
	}
	g.sandbox.checkReceived(mailboxOf(user), wants)

	t.Run("refused recipient", func(t *testing.T) {
		const user = "nmreject@example.com"
		const words = "452 4.2.2 The recipient's mailbox is full"
		g.sandbox.fault(sandbox.Fault{Stage: "rcpt", Action: "reply", Reply: words, Mailbox: mailboxOf(user), Nth: 1})
		m := message("nm-refused", from, to, []byte("x\r\n"))
		a := send(user, g.starttls, "PLAIN", false, []nodeMessage{{from, []string{to, "two@example.net"}, m}})[0]
		if !slices.Equal(a.Rejected, []string{to}) || !slices.Equal(a.Errors, []string{words}) {
			t.Errorf("answer %+v, want %s rejected with %q", a, to, words)
		}
		g.sandbox.checkReceived(mailboxOf(user), []want{{from, []string{"two@example.net"}, m}})
	})
}
