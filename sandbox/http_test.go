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

package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// ask does one request to the API.
func ask(t *testing.T, s *Sandbox, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, s.HTTPURL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

func TestInspection(t *testing.T) {
	s := start(t, plain(App{KeepMessages: 5, KeepBodies: true}))
	w := login(t, s, "a@example.com")
	for i := range 8 {
		w.send(fmt.Sprintf("MAIL FROM:<>\r\nRCPT TO:<b%d@example.net>\r\nRCPT TO:<reject-%d@example.net>\r\nBDAT 2 LAST\r\n\r\n", i, i))
		w.want("250", "250", "550", "250")
	}
	list := func(query string) messageList {
		status, body := ask(t, s, "GET", "/messages"+query, "")
		var l messageList
		if err := json.Unmarshal([]byte(body), &l); err != nil || status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		return l
	}
	l := list("?limit=2")
	if l.Count != 8 || len(l.Messages) != 2 || l.Messages[0].ID != 4 || l.Next != 5 || l.Messages[0].Rcpts[0] != "b3@example.net" || l.Messages[0].Refused[0] != "reject-3@example.net" {
		t.Errorf("%+v", l)
	}
	if l = list("?limit=2&after=5"); l.Messages[1].ID != 7 || l.Messages[0].SHA256 == "" {
		t.Errorf("%+v", l)
	}
	if l = list("?after=7"); len(l.Messages) != 1 || l.Next != 0 {
		t.Errorf("%+v", l)
	}
	if status, body := ask(t, s, "GET", "/messages/8/body", ""); status != 200 || body != "\r\n" {
		t.Errorf("%d %q", status, body)
	}
	for path, want := range map[string]int{"/messages/2/body": 404, "/messages/x/body": 400, "/messages?limit=x": 400, "/nothing": 404} {
		if status, _ := ask(t, s, "GET", path, ""); status != want {
			t.Errorf("%s: %d", path, status)
		}
	}
	var st Stats
	_, body := ask(t, s, "GET", "/stats", "")
	if err := json.Unmarshal([]byte(body), &st); err != nil || st.Messages != 8 || st.Commands["BDAT"] != 8 || st.Mailboxes["a@example.com"].Recipients != 8 {
		t.Errorf("%v %s", err, body)
	}
	if status, _ := ask(t, s, "DELETE", "/messages", ""); status != 204 || s.MessageCount() != 0 || len(s.Messages()) != 0 {
		t.Error("not deleted")
	}
	w.send("MAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\nBDAT 2 LAST\r\n\r\n")
	w.want("250", "250", "250")
	if m := s.Messages(); len(m) != 1 || m[0].ID != 9 || m[0].From != "" {
		t.Errorf("%+v", m)
	}
	if _, pem := ask(t, s, "GET", "/ca.pem", ""); !strings.HasPrefix(pem, "-----BEGIN CERTIFICATE") {
		t.Error(pem)
	}
}

func TestControl(t *testing.T) {
	s := start(t, plain(App{}))
	for _, tc := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", "/faults", `{"stage":"mail","action":"reply","reply":"451 4.0.0 No","times":1}`, 201},
		{"POST", "/faults", `{"stage":"mail","action":"nonsense"}`, 400},
		{"POST", "/faults", `{"stage":"mail","bogus":1}`, 400},
		{"GET", "/faults", "", 200},
		{"POST", "/control/revoke", `{"mailbox":"a@example.com"}`, 204},
		{"POST", "/control/restore", `{"mailbox":"a@example.com"}`, 204},
		{"POST", "/control/expire", `{"mailbox":"a@example.com"}`, 204},
		{"POST", "/control/fail_tokens", `{"times":1}`, 204},
		{"POST", "/control/consents", `{"mailbox":"b@example.com","unticked":["smtp"]}`, 204},
		{"POST", "/control/consents", `{}`, 204},
		{"POST", "/control/listen", `{"on":false}`, 204},
		{"POST", "/control/listen", `{"on":true}`, 204},
		{"POST", "/control/drop", ``, 204},
		{"POST", "/control/nonsense", ``, 404},
	} {
		if status, body := ask(t, s, tc.method, tc.path, tc.body); status != tc.want {
			t.Errorf("%s %s %s: %d %s", tc.method, tc.path, tc.body, status, body)
		}
	}
	w := login(t, s, "a@example.com")
	w.script("C: MAIL FROM:<a@example.com>\nS: 451 4.0.0\nC: MAIL FROM:<a@example.com>\nS: 250")
	if status, _ := ask(t, s, "DELETE", "/faults", ""); status != 204 || len(s.Faults()) != 0 {
		t.Error("faults are left")
	}
	wantError(t, s, refreshForm("rt-a@example.com"), 503, "temporarily_unavailable")
}
