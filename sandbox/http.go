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
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddymail/mailgateway/sandbox/internal/answer"
)

// handler is the OAuth endpoints, the inspection API and the control API.
func (s *Sandbox) handler() http.Handler {
	mux := http.NewServeMux()
	s.oauth.Register(mux)

	mux.Handle("GET /reports", s.webAPI)
	mux.Handle("GET /sent/{mailbox}", s.webAPI)

	mux.HandleFunc("GET /messages", s.listMessages)
	mux.HandleFunc("DELETE /messages", func(w http.ResponseWriter, _ *http.Request) {
		s.DeleteMessages()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /messages/{id}/body", s.messageBody)
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		answer.JSON(w, http.StatusOK, s.Stats())
	})
	mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(s.CAPEM())
	})

	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) {
		answer.JSON(w, http.StatusOK, s.Faults())
	})
	mux.HandleFunc("POST /faults", s.postFault)
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /control/{action}", s.control)
	// Tenants' paths leave the mux no room for one more at the top.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hasAnyPrefix(r.URL.Path, "/v1.0/", "/gmail/v1/", "/upload/gmail/v1/") {
			s.webAPI.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// messageList is the answer to GET /messages.
type messageList struct {
	// Count is how many were accepted, kept or not.
	Count    uint64    `json:"count"`
	Messages []Message `json:"messages"`
	// Next is the `after` of the next page; 0 on the last.
	Next uint64 `json:"next,omitempty"`
}

// listMessages takes `after` (an ID) and `limit` (default 100, at most 10000).
func (s *Sandbox) listMessages(w http.ResponseWriter, r *http.Request) {
	after, err := strconv.ParseUint(orZero(r.FormValue("after")), 10, 64)
	if err != nil {
		answer.Error(w, http.StatusBadRequest, "after: want the id of a message")
		return
	}
	limit, err := strconv.Atoi(orZero(r.FormValue("limit")))
	if err != nil || limit < 0 || limit > 10000 {
		answer.Error(w, http.StatusBadRequest, "limit: want a number up to 10000")
		return
	}
	if limit == 0 {
		limit = 100
	}
	list := messageList{Messages: s.MessagesAfter(after, limit), Count: s.MessageCount()}
	if len(list.Messages) == limit {
		list.Next = list.Messages[limit-1].ID
	}
	answer.JSON(w, http.StatusOK, list)
}

func orZero(v string) string {
	if v == "" {
		return "0"
	}
	return v
}

func (s *Sandbox) messageBody(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil || id == 0 {
		answer.Error(w, http.StatusBadRequest, "id: want a number")
		return
	}
	body, ok := s.Body(id)
	if !ok {
		answer.Error(w, http.StatusNotFound, "no such message, or its body is not kept (keep_bodies)")
		return
	}
	w.Header().Set("Content-Type", "message/rfc822")
	_, _ = w.Write(body)
}

// Body is the body of a message, if it is kept.
func (s *Sandbox) Body(id uint64) ([]byte, bool) {
	m := s.MessagesAfter(id-1, 1)
	if len(m) == 0 || m[0].ID != id || (m[0].Body == nil && m[0].Size > 0) {
		return nil, false
	}
	return m[0].Body, true
}

func (s *Sandbox) postFault(w http.ResponseWriter, r *http.Request) {
	var f Fault
	if !readJSON(w, r, &f) {
		return
	}
	id, err := s.AddFault(f)
	if err != nil {
		answer.Error(w, http.StatusBadRequest, err.Error())
		return
	}
	answer.JSON(w, http.StatusCreated, map[string]uint64{"id": id})
}

func readJSON(w http.ResponseWriter, r *http.Request, v any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil && err != io.EOF {
		answer.Error(w, http.StatusBadRequest, err.Error())
		return false
	}
	return true
}

// control is POST /control/{revoke,restore,expire,fail_tokens,consents,listen,drop}.
func (s *Sandbox) control(w http.ResponseWriter, r *http.Request) {
	switch r.PathValue("action") {
	case "revoke", "restore", "expire":
		var in struct {
			Mailbox string `json:"mailbox"`
		}
		if !readJSON(w, r, &in) {
			return
		}
		switch r.PathValue("action") {
		case "revoke":
			s.RevokeMailbox(in.Mailbox)
		case "restore":
			s.RestoreMailbox(in.Mailbox)
		default:
			s.ExpireTokens(in.Mailbox)
		}
	case "fail_tokens":
		var f TokenFailure
		if !readJSON(w, r, &f) {
			return
		}
		s.FailTokens(f)
	case "consents":
		var a ConsentAnswer
		if !readJSON(w, r, &a) {
			return
		}
		s.AnswerConsents(a)
	case "listen":
		var in struct {
			On bool `json:"on"`
		}
		if !readJSON(w, r, &in) {
			return
		}
		if err := s.SetListening(in.On); err != nil {
			answer.Error(w, http.StatusInternalServerError, err.Error())
			return
		}
	case "drop":
		var in struct {
			Reset bool `json:"reset"`
		}
		if !readJSON(w, r, &in) {
			return
		}
		s.DropConns(in.Reset)
	default:
		answer.Error(w, http.StatusNotFound, "want revoke, restore, expire, fail_tokens, consents, listen or drop")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
