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

package notify

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strings"
	"testing"
	"time"
)

func TestWebhookForms(t *testing.T) {
	d := digest{notices: []Notice{{State: began, Check: "e", Account: "<!channel>"}}}
	for format, want := range map[string]string{
		"json":  `"notices":[{"state":"began","check":"e","account":"\u003c!channel\u003e"}]`,
		"slack": `e, \u0026lt;!channel\u0026gt;`,
		"teams": `"contentType":"application/vnd.microsoft.card.adaptive"`,
	} {
		var got string
		s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			got = string(body)
		}))
		err := newWebhook(s.URL, format).send(t.Context(), d)
		s.Close()
		if err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: %v, posted %s, want %s", format, err, got, want)
		}
	}
}

func TestErrorsHideTheAddress(t *testing.T) {
	for _, address := range []string{"http://127.0.0.1:1/SECRET", "http://%zz/SECRET"} {
		err := newWebhook(address, "json").send(t.Context(), digest{})
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("error %v", err)
		}
	}
}

// TestMessage: what is mailed is a message, whatever stands in the notices.
func TestMessage(t *testing.T) {
	d := digest{notices: []Notice{{State: began, Check: "login", Account: "a\r\nBcc: x@example.com", Cause: "ü\r\n.\r\n"}}}
	raw := string(message("alerts@example.com", []string{"it@example.com"}, []string{"gone@example.com"}, d, time.Now()))
	m, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if m.Header.Get("Bcc") != "" || m.Header.Get("Auto-Submitted") != "auto-generated" || m.Header.Get("To") != "it@example.com" {
		t.Errorf("header %v", m.Header)
	}
	if strings.Contains(strings.ReplaceAll(raw, "\r\n", ""), "\n") {
		t.Errorf("bare line ends in %q", raw)
	}
	for line := range strings.SplitSeq(raw, "\r\n") {
		if len(line) > 200 {
			t.Errorf("line of %d octets", len(line))
		}
	}
}
