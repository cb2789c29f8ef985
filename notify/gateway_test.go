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

package notify_test

import (
	"encoding/json"
	"io"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/notify"
	"github.com/caddymail/mailgateway/sandbox"
)

// TestToldOnceAndWhenItIsOver goes the whole way: a gateway whose client secret
// ends soon tells a webhook and, through one of its accounts, a mailbox; a
// reload tells nothing anew; a new secret is told as the end.
func TestToldOnceAndWhenItIsOver(t *testing.T) {
	posted := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		posted <- r.URL.Path + " " + string(body)
	}))
	defer hook.Close()
	end := filepath.Join(t.TempDir(), "end")
	ends := func(at time.Time) {
		if err := os.WriteFile(end, []byte(at.Format(time.DateOnly)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ends(time.Now().AddDate(0, 0, 3))
	t.Setenv("HOOK", hook.URL+"/the-hooks-secret")
	events := `events {
		on smtp_trouble smtp_notify {
			webhook {env.HOOK}
			mail_to it@example.com
			mail_accounts missing@example.com alerts@example.com
			window 1s
			interval 1s
		}
	}
	oauth_tokens {
		provider office generic {
			token_url https://id.example.com/token
			client_id gateway
			client_secret office-client-secret
			secret_expires {file.` + end + `}
		}
	}`
	g := gatewaytest.New(t, events)
	g.AddAccount(t, "alerts@example.com")

	told := func(state string) {
		t.Helper()
		select {
		case body := <-posted:
			var digest struct {
				Title   string
				Notices []struct{ State, Check, Subject, Remedy string }
			}
			path, raw, _ := strings.Cut(body, " ")
			if err := json.Unmarshal([]byte(raw), &digest); err != nil || path != "/the-hooks-secret" {
				t.Fatalf("%v: posted %s", err, body)
			}
			n := digest.Notices
			if len(n) != 1 || n[0].State != state || n[0].Check != "secret" || n[0].Subject != "office client_secret" || (n[0].Remedy == "") != (state == "over") {
				t.Errorf("posted %s, want the secret's %s", body, state)
			}
			if strings.Contains(body, "office-client-secret") {
				t.Errorf("a secret was told: %s", body)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("nothing told of the secret's %s", state)
		}
	}
	told("began")
	g.Load(t, events)
	ends(time.Now().AddDate(1, 0, 0))
	g.Load(t, events, "debug")
	told("over")

	var subjects []string
	for deadline := time.Now().Add(20 * time.Second); len(subjects) < 2 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		subjects = nil
		for _, m := range g.Sandbox.Messages() {
			body, ok := g.Sandbox.Body(m.ID)
			raw := string(body)
			text, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(raw)))
			if err != nil || !ok || m.From != "alerts@example.com" || !slices.Equal(m.Rcpts, []string{"it@example.com"}) {
				t.Fatalf("%v: message %+v", err, m)
			}
			for _, secret := range []string{"the-hooks-secret", "office-client-secret", "upstream-password"} {
				if strings.Contains(string(text), secret) {
					t.Errorf("a secret was mailed: %s", text)
				}
			}
			_, after, _ := strings.Cut(raw, "Subject: ")
			subject, _, _ := strings.Cut(after, "\r\n")
			subjects = append(subjects, subject)
		}
	}
	want := []string{
		"Mailgateway: trouble: client secret or certificate ends, office client_secret",
		"Mailgateway: over: client secret or certificate ends, office client_secret",
	}
	if !slices.Equal(subjects, want) {
		t.Errorf("mailed %q, want %q", subjects, want)
	}
}

// TestMailFindsAWay holds that neither an account whose upstream does not answer nor a
// recipient that the provider refuses keeps the mail from the others.
func TestMailFindsAWay(t *testing.T) {
	notify.SetSendTimeout(t, 4*time.Second)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	g := gatewaytest.New(t, `events {
		on smtp_trouble smtp_notify {
			mail_to gone@example.com it@example.com
			mail_accounts stuck@example.com alerts@example.com
			window 1s
			interval 1s
		}
	}
	oauth_tokens {
		provider office generic {
			token_url https://id.example.com/token
			client_id gateway
			client_secret office-client-secret
			secret_expires `+time.Now().AddDate(0, 0, 3).Format(time.DateOnly)+`
		}
	}
	smtp_upstreams {
		upstream silent {
			dial `+silent.Addr().String()+`
			tls off
			auth none
		}
	}`)
	if _, err := g.Sandbox.AddFault(sandbox.Fault{Stage: "rcpt", Action: "reply", Reply: "550 5.1.1 No such user", Times: 1}); err != nil {
		t.Fatal(err)
	}
	g.Do(t, "PUT", "/smtp/accounts/stuck@example.com", `{"upstream": "silent"}`).Want(http.StatusCreated)
	g.AddAccount(t, "alerts@example.com")
	var got []sandbox.Message
	for deadline := time.Now().Add(30 * time.Second); len(got) == 0 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		got = g.Sandbox.Messages()
	}
	if len(got) == 0 {
		t.Fatal("nothing was mailed")
	}
	body, _ := g.Sandbox.Body(got[0].ID)
	if !slices.Equal(got[0].Rcpts, []string{"it@example.com"}) || !strings.Contains(string(body), "could not be told to gone@example.com") {
		t.Errorf("to %q: %s", got[0].Rcpts, body)
	}
}
