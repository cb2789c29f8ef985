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

package sink

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/bench/message"
)

// serveAPI adds what Microsoft Graph and the Gmail API take messages with. A request
// counts as a connection that carries one message, and as one flight.
func (s *Sink) serveAPI(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1.0/users/{user}/sendMail", func(w http.ResponseWriter, r *http.Request) {
		s.take(w, r, base64.NewDecoder(base64.StdEncoding, r.Body), func() { w.WriteHeader(http.StatusAccepted) })
	})
	mux.HandleFunc("POST /upload/gmail/v1/users/{user}/messages/send", func(w http.ResponseWriter, r *http.Request) {
		s.take(w, r, r.Body, func() { fmt.Fprintf(w, `{"id":"%d"}`, s.serial.Add(1)) })
	})
	// Whose a token is, it says itself.
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, r *http.Request) {
		account, ok := bearer(r)
		if !ok {
			http.Error(w, "no token", http.StatusUnauthorized)
			return
		}
		name := message.AccountName(account)
		_ = json.NewEncoder(w).Encode(map[string]any{"sub": name, "email": name, "email_verified": true})
	})
}

// take reads a message and answers for it.
func (s *Sink) take(w http.ResponseWriter, r *http.Request, body io.Reader, ok func()) {
	run := s.run.Load()
	run.flights.Add(1)
	account, known := bearer(r)
	if !known || r.PathValue("user") != message.AccountName(account) {
		http.Error(w, "no token of this mailbox", http.StatusUnauthorized)
		return
	}
	msg, err := io.ReadAll(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if rtt := s.policy.Load().RTT; rtt > 0 {
		time.Sleep(rtt)
	}
	if !s.deliver(msg) {
		http.Error(w, "a damaged message", http.StatusBadRequest)
		return
	}
	ok()
}

// bearer is the account that a token of the sink's was given to.
func bearer(r *http.Request) (account int, ok bool) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return 0, false
	}
	n, err := fmt.Sscanf(token, tokenPrefix+"%d-", &account)
	return account, n == 1 && err == nil
}

// tokenPrefix is what access tokens begin with, before the account's number.
const tokenPrefix = "made-up-access-token-"
