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
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
	"github.com/caddymail/mailgateway/setup"
)

// graphIs names the sandbox as Graph in the answers, as a flag does on a terminal.
func (f *fresh) graphIs(t *testing.T) {
	t.Helper()
	a, _, err := setup.Load(f.Dir)
	if err == nil {
		a.GraphURL = f.sb.HTTPURL()
		err = setup.Save(f.Dir, &a)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestFirstRunGraph is an office that began with SMTP, whose tenant does not switch SMTP
// AUTH on: the same pages lead to Graph, and the account goes along with its devices.
func TestFirstRunGraph(t *testing.T) {
	f := newFresh(t, "setup FILE", "")
	f.graphIs(t)
	f.step(t, "choice", url.Values{"choice": {"microsoft app"}}).want(t, "Step 2 of 7", "SMTP.SendAsApp")
	f.step(t, "answers", f.answers()).want(t, "Step 3 of 7", "Where it has to stay off", "choose Microsoft Graph")
	f.step(t, "check", nil).want(t, "Step 4 of 7")
	f.step(t, "write", nil).want(t, "Step 5 of 7")
	f.step(t, "account", url.Values{"device": {"Printer"}}).want(t, "Printer")
	if _, err := f.sb.AddFault(sandbox.Fault{Stage: "auth", Action: "reply", Reply: "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information."}); err != nil {
		t.Fatal(err)
	}
	test := func() page {
		t.Helper()
		last := f.get(t, "/console/setup", "Step 7 of 7")
		return f.awaitTrial(t, f.post(t, last, "/console/accounts/"+f.mailbox+"/test", url.Values{"to": {"kim@example.org"}}).address)
	}
	test().want(t, "5.7.139", "Microsoft Graph sends without it")

	for _, wrong := range []string{"microsoft app fax", "google app graph", "microsoft personal graph", "microsoft", "graph"} {
		if p := f.choose(t, wrong); p.status < 400 {
			t.Errorf("%q is taken: %d", wrong, p.status)
		}
	}
	denied, err := f.sb.AddFault(sandbox.Fault{Stage: "api_head", Action: "reply", Reply: "403 ErrorAccessDenied Access is denied. Check credentials and try again."})
	if err != nil {
		t.Fatal(err)
	}
	// The application is the same one: nothing of it is asked for again, its secret neither.
	p := f.choose(t, "microsoft app graph").want(t, "Step 3 of 7", `New-ManagementRoleAssignment -App &#39;`+clientID+`&#39; -Role &#34;Application Mail.Send&#34; -CustomResourceScope mailgateway`,
		"Set-Mailbox -Identity &#39;"+f.mailbox+"&#39; -CustomAttribute1 mailgateway", "Test-ServicePrincipalAuthorization")
	if strings.Contains(p.body, "SmtpClientAuthentication") {
		t.Error("SMTP AUTH is to be switched on for Graph")
	}
	f.step(t, "check", nil).want(t, "Step 3 of 7", "may not send as it yet", "2 hours", "Go on all the same")
	f.sb.RemoveFault(denied)
	f.step(t, "check", nil).want(t, "Step 4 of 7", "the application may send as it", "transport graph graph {", "app_only", "graph_secret")
	f.step(t, "write", nil).want(t, "Step 5 of 7", "sends through <strong>microsoft365</strong> now", "Send through graph from now on")
	f.step(t, "account", nil).want(t, "Step 7 of 7")
	f.get(t, "/console/accounts/"+f.mailbox, "Printer", "graph")
	f.get(t, "/console/changes", "account changed", "microsoft365")
	test().want(t, "It was accepted", "Finish the setup")
	f.get(t, "/console/setup", "That is all")
	if got := f.sb.Messages(); len(got) != 1 || got[0].Framing != "GRAPH" || got[0].From != f.mailbox || got[0].Rcpts[0] != "kim@example.org" {
		t.Errorf("the provider has %+v", got)
	}
	if now := f.text(t); strings.Count(now, "provider microsoft {") != 1 || strings.Count(now, "provider graph microsoft {") != 1 {
		t.Errorf("the file is\n%s", now)
	}
	f.load(t)
	f.get(t, "/console/setup", "That is all")
}

// choose sends the first step's form, whatever step the setup is at.
func (f *fresh) choose(t *testing.T, choice string) page {
	t.Helper()
	form := url.Values{"choice": {choice}}
	for _, m := range hiddenSetup.FindAllStringSubmatch(f.get(t, "/console/setup?step=choice", "Step 1 of 7").body, -1) {
		form.Set(m[1], m[2])
	}
	return f.do(t, http.MethodPost, "/console/setup/choice", form)
}

// TestFirstRunPersonal: the owner of an Outlook.com mailbox is asked for no tenant.
func TestFirstRunPersonal(t *testing.T) {
	f := newFresh(t, "setup FILE", "")
	f.mailbox = strings.Replace(f.mailbox, "contoso.example", "outlook.com", 1)
	f.graphIs(t)
	p := f.step(t, "choice", url.Values{"choice": {"microsoft personal"}}).want(t, "Step 2 of 7", "Personal Microsoft accounts only", "/connect/callback/outlook", "Mail.Send")
	if strings.Contains(p.body, `id="tenant"`) || strings.Contains(p.body, `id="object-id"`) {
		t.Error("a personal mailbox has no tenant")
	}
	f.step(t, "answers", url.Values{"client-id": {clientID}, "secret": {secretValue}, "mailbox": {f.mailbox}, "to": {"kim@example.org"}, "hostname": {"localhost"}}).want(t, "Step 3 of 7")
	f.step(t, "check", nil).want(t, "Step 4 of 7", "tenant consumers", "user me")
	f.step(t, "write", nil).want(t, "Step 5 of 7")
	f.step(t, "account", nil).want(t, f.mailbox)
	f.get(t, "/console/setup", "Step 6 of 7", "has to agree once")
	var kept setup.Answers
	text, err := os.ReadFile(filepath.Join(f.Dir, "setup.json"))
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil || !kept.Graph() || kept.Tenant != "" {
		t.Errorf("%+v %v", kept, err)
	}
	// In a tenant it is told at its field.
	f.choose(t, "microsoft user graph").want(t, "Step 2 of 7")
	answers := f.answers("mailbox", "kim@hotmail.com")
	f.step(t, "answers", answers).want(t, "is a personal mailbox")
}
