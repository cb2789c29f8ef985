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

package command_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/operate"
)

// calls are what an administrator types. Each fails with the words, or succeeds
// where there are none.
var calls = []struct{ args, want string }{
	// What is missing, too much or empty.
	{"account show", "an argument is missing: smtp account show NAME"},
	{"account show a@example.com b@example.com", "'b@example.com' is too much: smtp account show NAME"},
	{"account show ''", "an argument is empty: smtp account show NAME"},
	{"account list extra", "'extra' is too much: smtp account list"},
	{"account pause", "an argument is missing: smtp account pause NAME..."},
	{"account add", "--upstream is missing: smtp account add NAME --upstream UPSTREAM"},
	{"account add x@example.com", "--upstream is missing"},
	{"account import a b", "'b' is too much: smtp account import [FILE]"},
	{"spool show ''", "an argument is empty"},
	{"spool retry", "an argument is missing: smtp spool retry ID..."},
	{"ban lift", "an argument is missing"},
	{"test", "an argument is missing: smtp test ACCOUNT"},
	{"login", "an argument is missing: smtp login ACCOUNT"},
	{"snippet", "an argument is missing"},
	{"doctor x", "'x' is too much: smtp doctor"},
	{"node bogus", "there is no command 'smtp node bogus', only"},
	{"node list x", "'x' is too much"},
	{"storage copy --to x", "--from is missing: smtp storage copy --from CONFIG --to CONFIG"},

	// Flags.
	{"account list --sate paused", "there is no flag --sate; did you mean 'state'?: smtp account list --help has all"},
	{"account list -x", "there is no flag -x: smtp account list --help has all"},
	{"account add x@example.com --upstream sandbox --max-conns many", `invalid argument "many" for "--max-conns" flag: it is no number`},
	{"sandbox --rtt 5", "want one as in 90s or 10m"},
	{"sandbox --smtp 2587", "smtp: '2587' is a port without its colon"},
	{"account add x@example.com --upstream sandbox --no-password --password-hash x", "--no-password and --password-hash contradict each other"},
	{"account add x@example.com --upstream sandbox --no-password --password-length 20", "--no-password and --password-length contradict each other"},
	{"account set x@example.com --new-password --password-hash x", "--new-password and --password-hash contradict each other"},
	{"account set x@example.com --mailbox y@example.com --password-length 20", "--password-length means nothing without --new-password"},
	{"login x@example.com --device --listen 127.0.0.1:1", "--device and --listen contradict each other"},
	{"spool drain --end --hand-over", "--end and --hand-over contradict each other"},
	{"spool drain sandbox --end", "--end lets all spools keep messages again: leave sandbox out"},
	{"snippet postfix --json", "--json: smtp snippet prints no JSON"},
	{"setup --json", "--json: smtp setup prints no JSON"},

	// Values that choose nothing because they are mistyped.
	{"account list --state bogus", "field 'state': unrecognized value 'bogus', want paused, "},
	{"account list --source dynamc", "field 'source': unrecognized value 'dynamc', want inline, file, dynamic, ldap or sql; did you mean 'dynamic'?"},
	{"account list --source file", ""},
	{"account export --source inline", ""},
	{"ban lift 192.0.2.1 --server locla", "field 'server': unrecognized value 'locla', want local; did you mean 'local'?"},
	{"ban lift 192.0.2.1 --server local", ""},
	{"session end --server locla", "field 'server': unrecognized value 'locla'"},
	{"session end --server local", ""},
	{"snippet Postfix", "did you mean 'postfix'?"},
	{"snippet postfix --gateway gw.example.com:smtp", "with a port from 1 to 65535"},
	{"snippet postfix a@example.com --state active", "give accounts, or flags that choose them"},
	{"test a@example.com --from nope", "--from: 'nope' is not a mail address"},
	{"test a@example.com --from <a@example.com>", ""},
	{"test a@example.com --from <>", ""},
	{"account import /", "is a directory"},

	// What is done has a word.
	{"node resume", ""},
	{"spool drain --end", ""},
}

// quotedWord is a word of a call.
var quotedWord = regexp.MustCompile(`'[^']*'|\S+`)

// TestCalls holds that a command that is called wrongly fails, says what is wrong and
// prints nothing else; and that what succeeds says something, as JSON too.
func TestCalls(t *testing.T) {
	g := gatewaytest.New(t)
	g.AddAccount(t, "a@example.com")
	for _, c := range calls {
		words := quotedWord.FindAllString(c.args, -1)
		for i := range words {
			words[i] = strings.Trim(words[i], "'")
		}
		out, stderr, err := g.Run(t, "", words...)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.args, err)
		case c.want != "" && (err == nil || !strings.Contains(stderr, c.want)):
			t.Errorf("%s:\n got %v, %q\nwant %s", c.args, err, stderr, c.want)
		case c.want != "" && out != "":
			t.Errorf("%s: fails, and prints %q", c.args, out)
		}
	}
	for _, args := range []string{
		"account list", "account show a@example.com", "ban list", "ban lift 192.0.2.1", "session list", "session end --server local", "refusals", "node list",
		"node resume", "spool list", "spool drain --end", "doctor", "test a@example.com", "account pause a@example.com",
	} {
		out, stderr, _ := g.Run(t, "", append(strings.Fields(args), "--json")...)
		if !json.Valid([]byte(out)) {
			t.Errorf("%s --json: %q, %q", args, out, stderr)
		}
		if strings.Contains(out, "\x1b") {
			t.Errorf("%s: colours where no terminal is", args)
		}
	}
}

// TestAdminAddress holds that the address of the admin API is taken as people write
// it, and what is none is told.
func TestAdminAddress(t *testing.T) {
	g := gatewaytest.New(t)
	_, port, _ := strings.Cut(g.Admin, ":")
	for address, want := range map[string]string{
		"http://" + g.Admin:       "",
		"http://" + g.Admin + "/": "",
		":" + port:                "",
		"localhost:" + port:       "",
		"127.0.0.1":               "'127.0.0.1' is no address of an admin API: want HOST:PORT",
		"https://" + g.Admin:      "the admin API speaks HTTP",
		"127.0.0.1:99999":         "has a port that is none",
		"127.0.0.1:x":             "has a port that is none",
		"unix//no/such.sock":      "is the gateway running?",
		"unix:/no/such.sock":      "is the gateway running?",
		"unix:///no/such.sock":    "is the gateway running?",
		"/no/such.sock":           "is the gateway running?",
		strings.TrimPrefix(g.Sandbox.HTTPURL(), "http://"): "is not the admin API of a gateway",
	} {
		_, stderr, err := (&gatewaytest.Gateway{Admin: address}).Run(t, "", "account", "list")
		if (err == nil) != (want == "") || !strings.Contains(stderr, want) {
			t.Errorf("%s: %v, %q, want %q", address, err, stderr, want)
		}
	}
}

// TestImportEndsEarly holds that an import whose answers end in the middle leaves no
// account whose password nobody knows.
func TestImportEndsEarly(t *testing.T) {
	g := gatewaytest.New(t)
	target, err := url.Parse("http://" + g.Admin)
	if err != nil {
		t.Fatal(err)
	}
	front := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Header.Set("Origin", target.String())
	}}
	var cut atomic.Bool
	front.ModifyResponse = func(r *http.Response) error {
		if strings.HasSuffix(r.Request.URL.Path, "/import") && cut.Load() {
			r.Body = &cutShort{r.Body, 100}
		}
		return nil
	}
	addr := gatewaytest.FreeAddress(t)
	server := &http.Server{Addr: addr, Handler: front}
	served := make(chan error, 1)
	go func() { served <- server.ListenAndServe() }()
	t.Cleanup(func() { server.Close(); <-served })

	const accounts = 40
	var lines strings.Builder
	for i := range accounts {
		lines.WriteString("m" + strconv.Itoa(i) + "@example.com,id,planted-token,client\n")
	}
	csv := "email,account_id,refresh_token,client_id\n" + lines.String()
	via := &gatewaytest.Gateway{Admin: addr}
	cut.Store(true)
	first, stderr, err := via.Run(t, csv, "account", "import", "--format", "csv")
	if err == nil || !strings.Contains(stderr, "Run the import again") {
		t.Fatalf("the first import: %v, %q", err, stderr)
	}
	cut.Store(false)
	second, _, _ := via.Run(t, csv, "account", "import", "--format", "csv")
	told := regexp.MustCompile(`(?m)^(\S+) password: (\S+)$`)
	passwords := make(map[string]string)
	for _, out := range []string{first, second} {
		for _, m := range told.FindAllStringSubmatch(out, -1) {
			passwords[m[1]] = m[2]
		}
	}
	if len(passwords) != accounts {
		t.Fatalf("%d passwords were told:\n%s\n%s", len(passwords), first, second)
	}
	dir, err := operate.Directory()
	if err != nil {
		t.Fatal(err)
	}
	for name, password := range passwords {
		if _, err := dir.Authenticate(t.Context(), name, password); err != nil {
			t.Errorf("%s with the password that was told last: %v", name, err)
		}
	}
}

// cutShort is a body whose connection is lost after some octets.
type cutShort struct {
	io.ReadCloser
	left int
}

func (c *cutShort) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("cut")
	}
	n, err := c.ReadCloser.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}
