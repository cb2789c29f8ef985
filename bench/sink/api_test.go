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
package sink

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/bench/message"
)

// TestAPI: what comes by one of the APIs is counted as what comes by SMTP is, and a
// message of another mailbox's token is not.
func TestAPI(t *testing.T) {
	s := new(Sink)
	s.setPolicy(new(Policy))
	s.NewRun(7)
	mux := http.NewServeMux()
	s.serveAPI(mux)
	seq := uint32(0)
	for _, tc := range []struct {
		name, path, token string
		status            int
		of                func(msg string) string
	}{
		{"Graph", "/v1.0/users/" + message.AccountName(3) + "/sendMail", tokenPrefix + "3-1", http.StatusAccepted, func(msg string) string { return base64.StdEncoding.EncodeToString([]byte(msg)) }},
		{"Gmail", "/upload/gmail/v1/users/" + message.AccountName(3) + "/messages/send?uploadType=media", tokenPrefix + "3-1", http.StatusOK, func(msg string) string { return "Bcc: b@example.net\r\n" + msg }},
		{"no base64", "/v1.0/users/" + message.AccountName(3) + "/sendMail", tokenPrefix + "3-1", http.StatusBadRequest, func(msg string) string { return "!" + msg }},
		{"damaged", "/upload/gmail/v1/users/" + message.AccountName(3) + "/messages/send", tokenPrefix + "3-1", http.StatusBadRequest, func(msg string) string { return msg[:len(msg)-3] }},
		{"another's token", "/v1.0/users/" + message.AccountName(4) + "/sendMail", tokenPrefix + "3-1", http.StatusUnauthorized, func(msg string) string { return msg }},
		{"no token", "/v1.0/users/" + message.AccountName(4) + "/sendMail", "", http.StatusUnauthorized, func(msg string) string { return msg }},
	} {
		msg, err := message.Template(7, 1000)
		if err != nil {
			t.Fatal(err)
		}
		message.SetSeq(msg, seq)
		seq++
		before := s.Stats(false).Messages
		r := httptest.NewRequest(http.MethodPost, tc.path, strings.NewReader(tc.of(string(msg))))
		if tc.token != "" {
			r.Header.Set("Authorization", "Bearer "+tc.token)
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		counted := s.Stats(false).Messages - before
		want := int64(0)
		if tc.name == "Graph" || tc.name == "Gmail" {
			want = 1
		}
		if w.Code != tc.status || counted != want {
			t.Errorf("%s: HTTP %d, %d counted", tc.name, w.Code, counted)
		}
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/userinfo", http.NoBody)
	r.Header.Set("Authorization", "Bearer "+tokenPrefix+"12-5")
	mux.ServeHTTP(w, r)
	if !strings.Contains(w.Body.String(), message.AccountName(12)) {
		t.Errorf("whose it is: %s", w.Body)
	}
}
