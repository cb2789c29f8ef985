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

package console_test

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/smtp"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/sandbox"
	"github.com/caddymail/mailgateway/setup"
)

const (
	tenantID = "11111111-2222-3333-4444-555555555555"
	clientID = "22222222-3333-4444-5555-666666666666"
	objectID = "33333333-4444-5555-6666-777777777777"
	// secretValue is as Entra makes them.
	secretValue = "abc8Q~sandbox-secret-of-the-first-run"
)

// fresh is a machine with the console alone, and a provider with Microsoft's manners.
type fresh struct {
	*console
	file string
	sb   *sandbox.Sandbox
	// mailbox is another's in each run: what was learned of one outlives it.
	mailbox string
}

func newFresh(t *testing.T, options, more string) *fresh {
	t.Helper()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	sb, err := sandbox.Start(&sandbox.App{Profile: "microsoft", CAFile: ca, KeepBodies: true, Clients: map[string]string{clientID: secretValue}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sb.Close() })
	f := &fresh{&console{Gateway: &gatewaytest.Gateway{Admin: gatewaytest.FreeAddress(t), Dir: dir}, base: "http://" + gatewaytest.FreeAddress(t)}, filepath.Join(dir, "Caddyfile"), sb, "scanner-" + strings.ToLower(rand.Text()[:6]) + "@contoso.example"}
	f.console = f.as(t, "")
	// The provider is not at its usual place: as if begun on a terminal with flags.
	tenant := sb.HTTPURL() + "/contoso.example/oauth2/v2.0"
	if err := setup.Save(dir, &setup.Answers{Dial: sb.SMTPAddr(), TokenURL: tenant + "/token", AuthURL: tenant + "/authorize", CAFile: ca}); err != nil {
		t.Fatal(err)
	}
	f.write(t, fmt.Sprintf(`# mine
{
	admin %s
	persist_config off
	storage file_system %s
	log {
		level ERROR
	}
}
%[3]s {
	bind 127.0.0.1
	smtp_connect {
		url %[3]s/connect
	}
	smtp_console {
		url %[3]s/console
		%[4]s
	}
}
%[5]s`, f.Admin, filepath.Join(dir, "storage"), f.base, strings.ReplaceAll(options, "FILE", f.file), more))
	t.Cleanup(func() { _ = caddy.Stop() })
	f.load(t)
	return f
}

func (f *fresh) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(f.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f *fresh) text(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(f.file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (f *fresh) load(t *testing.T) {
	t.Helper()
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(f.text(t)), nil)
	if err == nil {
		err = caddy.Load(adapted, true)
	}
	if err != nil {
		t.Fatal(err)
	}
}

var hiddenSetup = regexp.MustCompile(`name="(csrf|number|version|plan)" value="([^"]*)"`)

// step sends the form of a step as the page has it.
func (f *fresh) step(t *testing.T, name string, more url.Values) page {
	t.Helper()
	form, path := url.Values{}, "/console/setup"
	if name == "another" {
		path += "?step=choice" // whatever the step, this one has a form
	}
	for _, m := range hiddenSetup.FindAllStringSubmatch(f.do(t, http.MethodGet, path, nil).body, -1) {
		form.Set(m[1], m[2])
	}
	for k, v := range more {
		form[k] = v
	}
	return f.do(t, http.MethodPost, "/console/setup/"+name, form)
}

func (p page) want(t *testing.T, words ...string) page {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(p.body, w) {
			t.Fatalf("%s (%d) lacks %q:\n%s", p.address, p.status, w, p.body)
		}
	}
	return p
}

func (f *fresh) answers(more ...string) url.Values {
	form := url.Values{
		"tenant": {"contoso.example"}, "client-id": {clientID}, "object-id": {objectID}, "secret": {secretValue},
		"mailbox": {f.mailbox}, "to": {"kim@example.org"}, "hostname": {"localhost"},
	}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return form
}

// TestFirstRun goes from a console alone to a test mail that the provider has, with an
// administrator's approval.
func TestFirstRun(t *testing.T) {
	f := newFresh(t, "setup FILE", "")
	f.get(t, "/console/", "Nothing is set up yet", "/setup")
	f.get(t, "/console/setup", "Step 1 of 7", "Microsoft 365")
	if p := f.step(t, "choice", url.Values{"choice": {"yahoo app"}}); p.status != http.StatusBadRequest {
		t.Errorf("a provider of no kind: %d", p.status)
	}
	f.step(t, "choice", url.Values{"choice": {"microsoft app"}}).want(t, "Step 2 of 7", "Register the application", "SMTP.SendAsApp")

	// What cannot be right is said at its field, and the rest stays typed in.
	wrong := f.step(t, "answers", f.answers("client-id", secretValue, "secret", tenantID, "mailbox", `"><script>alert(1)</script>`))
	if wrong.status != http.StatusBadRequest {
		t.Errorf("wrong answers: %d", wrong.status)
	}
	wrong.want(t, "client secret&#39;s value", "the secret&#39;s ID", "is no mail address", `value="contoso.example"`)
	if strings.Contains(f.files(t), secretValue) {
		t.Error("a secret typed into the wrong field was kept")
	}
	f.step(t, "answers", f.answers("secret", "abc8Q~another-secret-altogether")).want(t, "Step 3 of 7", "New-ServicePrincipal -AppId &#39;"+clientID+"&#39; -ObjectId &#39;"+objectID+"&#39;", "Set-CASMailbox -Identity &#39;"+f.mailbox)
	f.step(t, "check", nil).want(t, "Step 3 of 7", "AADSTS7000215", "reached at", "Go on all the same")
	f.get(t, "/console/setup?step=answers", "Step 2 of 7", "One is kept already")
	f.step(t, "answers", f.answers())
	before := f.text(t)
	f.step(t, "check", nil).want(t, "Step 4 of 7", "known, and its secret is right", "provider microsoft {", f.file)
	if f.text(t) != before {
		t.Error("the file was written before anyone said so")
	}

	// An editor comes between the page and the button.
	shown := f.get(t, "/console/setup")
	f.write(t, before+"# theirs\n")
	form := url.Values{}
	for _, m := range hiddenSetup.FindAllStringSubmatch(shown.body, -1) {
		form.Set(m[1], m[2])
	}
	p := f.do(t, http.MethodPost, "/console/setup/write", form).want(t, "was changed since it was loaded")
	if p.status != http.StatusConflict || f.text(t) != before+"# theirs\n" {
		t.Errorf("the file was changed, and the page: %d", p.status)
	}
	f.load(t)
	f.step(t, "write", nil).want(t, "Step 5 of 7")
	if now := f.text(t); !strings.HasPrefix(now, "# mine\n{\n\tadmin ") || !strings.HasSuffix(now, "}\n# theirs\n") || strings.Count(now, "provider microsoft") != 1 {
		t.Errorf("the file is\n%s", now)
	}
	if p := f.do(t, http.MethodPost, "/console/setup/write", form); p.status == http.StatusOK && strings.Count(f.text(t), "provider microsoft") != 1 {
		t.Error("the same form again wrote it again")
	}

	card := f.step(t, "account", url.Values{"device": {"Printer"}}).want(t, "Go on with the setup", "Printer")
	pw := shownPassword.FindStringSubmatch(card.body)
	port := regexp.MustCompile(`<dt>Port</dt><dd><code>(\d+)</code>`).FindStringSubmatch(card.body)
	if pw == nil || port == nil {
		t.Fatalf("no card:\n%s", card.body)
	}
	last := f.get(t, "/console/setup", "Step 7 of 7", "kim@example.org")
	trial := f.post(t, last, "/console/accounts/"+f.mailbox+"/test", url.Values{"to": {"kim@example.org"}})
	f.awaitTrial(t, trial.address).want(t, "It was accepted", "Finish the setup")
	f.get(t, "/console/setup", "That is all")
	if got := f.sb.Messages(); len(got) != 1 || got[0].From != f.mailbox || got[0].Rcpts[0] != "kim@example.org" {
		t.Errorf("the provider has %+v", got)
	}
	if p := f.get(t, "/console/accounts/"+f.mailbox+"/card"); strings.Contains(p.body, "Go on with the setup") {
		t.Error("the setup never ends")
	}
	// Where is my message? Nobody needs a shell to have it known.
	none := f.get(t, "/console/messages", "Keep a list from now on", f.file)
	form = url.Values{}
	for _, m := range hiddenSetup.FindAllStringSubmatch(none.body, -1) {
		form.Set(m[1], m[2])
	}
	stale := none.fill(url.Values{"plan": {"of another text"}})
	if p := f.do(t, http.MethodPost, "/console/messages", stale); p.status != http.StatusConflict || strings.Contains(f.text(t), "messages") {
		t.Errorf("a plan of another text: %d", p.status)
	}
	if p := f.do(t, http.MethodPost, "/console/messages", form).want(t, "There was no message yet"); p.status != http.StatusOK || strings.Count(f.text(t), "messages") != 1 {
		t.Errorf("%d, and the file is\n%s", p.status, f.text(t))
	}
	f.post(t, none, "/console/messages", nil).want(t, "There was no message yet") // in another window

	// The device sends with what the card says.
	if err := smtp.SendMail("127.0.0.1:"+port[1], smtp.PlainAuth("", f.mailbox, pw[1], "127.0.0.1"), f.mailbox, []string{"a@example.org"}, []byte("Subject: x\r\n\r\nx\r\n")); err != nil {
		t.Errorf("the first device: %v", err)
	}
	f.get(t, "/console/messages", "a@example.org", "Accepted by the provider")
	f.get(t, "/console/changes", "configuration written", "setup answered")
	all := f.files(t)
	if strings.Count(all, secretValue) != 1 {
		t.Errorf("the secret is in %d files", strings.Count(all, secretValue))
	}
	if st, err := os.Stat(filepath.Join(f.Dir, "credentials", "microsoft_secret")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the secret's file: %v %v", st, err)
	}
	// What was written runs from the file as well.
	f.load(t)
	f.get(t, "/console/accounts/"+f.mailbox, "Printer")
	// Another provider: the first is left alone.
	f.step(t, "another", nil).want(t, "Step 1 of 7")
	f.step(t, "choice", url.Values{"choice": {"other user"}}).want(t, "Step 2 of 7")
	f.step(t, "answers", url.Values{
		"dial": {f.sb.SMTPAddr()}, "tls": {"starttls"}, "token-url": {f.sb.HTTPURL() + "/token"}, "auth-url": {f.sb.HTTPURL() + "/authorize"},
		"client-id": {clientID}, "secret": {secretValue}, "mailbox": {"second@example.com"}, "to": {"kim@example.org"}, "hostname": {"localhost"},
	})
	f.step(t, "check", nil).want(t, "Step 4 of 7", "provider provider generic")
	f.step(t, "write", nil).want(t, "Step 5 of 7")
	if now := f.text(t); strings.Count(now, "server local") != 1 || !strings.Contains(now, "provider microsoft {") || !strings.Contains(now, "provider_secret") {
		t.Errorf("the file is\n%s", now)
	}
	f.get(t, "/console/accounts/"+f.mailbox, "Printer")
}

// files is what lies in the directory, one after the other.
func (f *fresh) files(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(f.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		if errors.Is(err, os.ErrNotExist) {
			return nil // a temporary one
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// TestFirstRunByHand is about a configuration that the pages cannot write: they say
// what to put where, and go on when it is there.
func TestFirstRunByHand(t *testing.T) {
	f := newFresh(t, "", "")
	f.step(t, "another", nil) // what an earlier run has left in the process
	f.step(t, "choice", url.Values{"choice": {"microsoft app"}})
	if p := f.get(t, "/console/setup"); strings.Contains(p.body, `id="secret"`) {
		t.Error("a secret is asked for that cannot be kept")
	}
	answers := f.answers()
	answers.Del("secret")
	f.step(t, "answers", answers).want(t, "Step 3 of 7", "for this check alone")
	p := f.step(t, "check", url.Values{"skip": {"1"}, "secret": {secretValue}})
	p.want(t, "Step 4 of 7", "names no Caddyfile", "provider microsoft {", "/etc/mailgateway/credentials/microsoft_secret", `&#34;client_credentials&#34;`)
	if strings.Contains(p.body, secretValue) || strings.Contains(f.files(t), secretValue) {
		t.Error("the secret of a check is kept")
	}
	if p := f.step(t, "write", nil); p.status < 400 {
		t.Errorf("written all the same: %d", p.status)
	}
	// The operator does what the page says.
	secret := filepath.Join(f.Dir, "secret")
	if err := os.WriteFile(secret, []byte(secretValue), 0o600); err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?s)<pre class="fold"><code>(\toauth_tokens.*?)</code>`).FindStringSubmatch(p.body)
	if lines == nil {
		t.Fatalf("no lines:\n%s", p.body)
	}
	added := strings.ReplaceAll(html.UnescapeString(lines[1]), "/etc/mailgateway/credentials/microsoft_secret", secret)
	f.write(t, strings.Replace(f.text(t), "\tpersist_config off\n", "\tpersist_config off\n"+added, 1))
	f.load(t)
	f.get(t, "/console/setup", "Step 5 of 7")
	f.step(t, "account", nil).want(t, f.mailbox)
}

// TestFirstRunRoles holds who may do it, and from where.
func TestFirstRunRoles(t *testing.T) {
	f := newFresh(t, "setup FILE\nuser {http.request.header.X-User}\noperators op@example.com\nviewers view@example.com", "")
	before := f.files(t)
	viewer, operator := f.as(t, "view@example.com"), f.as(t, "op@example.com")
	form := viewer.get(t, "/console/").fill(nil)
	for _, name := range []string{"choice", "answers", "check", "write", "account", "consent", "another"} {
		for who, c := range map[string]*console{"a viewer": viewer, "a stranger": f.as(t, "x@example.com"), "an operator without a token": operator} {
			if p := c.do(t, http.MethodPost, "/console/setup/"+name, form); p.status != http.StatusForbidden {
				t.Errorf("%s posts %s: %d", who, name, p.status)
			}
		}
	}
	if p := viewer.do(t, http.MethodGet, "/console/setup", nil); p.status != http.StatusForbidden {
		t.Errorf("a viewer reads the answers: %d", p.status)
	}
	// A form of a window that another has overtaken.
	page := operator.get(t, "/console/setup")
	good := page.fill(url.Values{"choice": {"microsoft app"}})
	if p := operator.do(t, http.MethodPost, "/console/setup/choice", good); p.status != http.StatusConflict {
		t.Errorf("a form without a version: %d", p.status)
	}
	var kept setup.Answers
	text, err := os.ReadFile(filepath.Join(f.Dir, "setup.json"))
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil || kept.Provider != "" {
		t.Errorf("somebody has answered: %+v %v", kept, err)
	}
	if len(f.files(t)) < len(before) {
		t.Error("files are gone")
	}
}
