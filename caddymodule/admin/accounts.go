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

package admin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/spool"
)

const (
	defaultPageSize = 100
	MaxPageSize     = 1000
	maxRecordSize   = 1 << 20
)

// AccountView is an account as the admin API shows it.
type AccountView struct {
	accounts.View
	// State is `active`, `paused`, or what else keeps it from sending.
	State string `json:"state"`
}

// AccountPage is one page of the list.
type AccountPage struct {
	Accounts []AccountView `json:"accounts"`
	// Next is the next page's `after`; absent on the last page.
	Next string `json:"next,omitempty"`
}

// listAccounts answers GET /smtp/accounts.
func listAccounts(w http.ResponseWriter, r *http.Request) error {
	dir, err := operate.Directory()
	if err != nil {
		return err
	}
	if err := onlyQuery(r, "state", "upstream", "label", "source", "after", "limit"); err != nil {
		return err
	}
	query := r.URL.Query()
	limit, err := pageSize(r)
	if err != nil {
		return err
	}
	states := operate.NewStates()
	filter := accounts.Filter{
		Upstream: query.Get("upstream"),
		Label:    query.Get("label"),
		Source:   query.Get("source"),
	}
	if err := checkSource(dir, filter.Source); err != nil {
		return err
	}
	if state := query.Get("state"); state != "" {
		if !slices.Contains(operate.AccountStates, state) {
			return badRequest("state", "%w", form.OneOf(operate.AccountStates...).Check(state))
		}
		filter.Match = func(a *accounts.Account) bool { return states.Of(a) == state }
	}
	page, next := dir.List(filter, query.Get("after"), limit)
	out := AccountPage{Accounts: make([]AccountView, len(page)), Next: next}
	for i, a := range page {
		out.Accounts[i] = AccountView{a.Redacted(), states.Of(a)}
	}
	return writeJSON(w, http.StatusOK, out)
}

// checkSource refuses what can be no account's source.
func checkSource(dir *accounts.Directory, source string) error {
	kinds := []string{"inline", "file", "dynamic", "ldap", "sql"}
	for _, s := range dir.Sources() {
		kind, _, _ := strings.Cut(s.Name, " ")
		for _, name := range []string{kind, s.Name} { // a module of others has its own
			if !slices.Contains(kinds, name) {
				kinds = append(kinds, name)
			}
		}
	}
	if source == "" || slices.Contains(kinds, source) {
		return nil
	}
	return badRequest("source", "%w", form.OneOf(kinds...).Check(source))
}

// pageSize is the number of entries that the caller wants.
func pageSize(r *http.Request) (int, error) {
	s := r.URL.Query().Get("limit")
	if s == "" {
		return defaultPageSize, nil
	}
	limit, err := strconv.Atoi(s)
	if err != nil || limit < 1 || limit > MaxPageSize {
		return 0, badRequest("limit", "want a number from 1 to %d", MaxPageSize)
	}
	return limit, nil
}

// getAccount answers GET /smtp/accounts/{name}.
func getAccount(w http.ResponseWriter, r *http.Request) error {
	dir, err := operate.Directory()
	if err != nil {
		return err
	}
	a, err := dir.Get(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	return writeAccount(w, http.StatusOK, a, true)
}

// putAccount answers PUT /smtp/accounts/{name}.
func putAccount(w http.ResponseWriter, r *http.Request) error {
	return changeAccount(w, r, func(dir *accounts.Directory, name string, body []byte, cond accounts.Condition) (accounts.Change, error) {
		return dir.Put(r.Context(), name, body, cond)
	})
}

// patchAccount answers PATCH /smtp/accounts/{name}.
func patchAccount(w http.ResponseWriter, r *http.Request) error {
	return changeAccount(w, r, func(dir *accounts.Directory, name string, body []byte, cond accounts.Condition) (accounts.Change, error) {
		return dir.Patch(r.Context(), name, body, cond)
	})
}

func changeAccount(w http.ResponseWriter, r *http.Request, change func(*accounts.Directory, string, []byte, accounts.Condition) (accounts.Change, error)) error {
	dir, err := operate.Directory()
	if err != nil {
		return err
	}
	cond, err := accounts.ParseCondition(r.Header.Get("If-Match"), r.Header.Get("If-None-Match"))
	if err != nil {
		return &apiError{http.StatusBadRequest, err, ""}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRecordSize))
	if err != nil {
		return err
	}
	c, err := change(dir, r.PathValue("name"), body, cond)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if c.Created {
		status = http.StatusCreated
	}
	if bytes.Contains(body, []byte(`"refresh_token"`)) {
		// The same token may have been set again, which no revision shows.
		operate.RetryGrant(c.Account)
	}
	return writeAccount(w, status, c.Account, false)
}

// deleteAccount answers DELETE /smtp/accounts/{name}.
func deleteAccount(w http.ResponseWriter, r *http.Request) error {
	dir, err := operate.Directory()
	if err != nil {
		return err
	}
	cond, err := accounts.ParseCondition(r.Header.Get("If-Match"), "")
	if err != nil {
		return &apiError{http.StatusBadRequest, err, ""}
	}
	if err := operate.DeleteAccount(r.Context(), dir, r.PathValue("name"), cond); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// pauseAccount answers POST /smtp/accounts/{name}/pause and resume.
func pauseAccount(paused bool) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		dir, err := operate.Directory()
		if err != nil {
			return err
		}
		c, err := dir.SetPaused(r.Context(), r.PathValue("name"), paused)
		if err != nil {
			return err
		}
		if !paused {
			operate.RetryGrant(c.Account)
		}
		return writeAccount(w, http.StatusOK, c.Account, false)
	}
}

func writeAccount(w http.ResponseWriter, status int, a *accounts.Account, full bool) error {
	w.Header().Set("ETag", a.ETag())
	view := AccountView{a.Redacted(), operate.NewStates().Of(a)}
	if !full {
		return writeJSON(w, status, view)
	}
	return writeJSON(w, status, struct {
		AccountView
		operate.AccountStatus
	}{view, operate.StatusOf(a)})
}

// importing is an import, or what would come of it.
type importing func(*accounts.Directory, context.Context, io.Reader) iter.Seq[accounts.ImportResult]

// importAccounts answers POST /smtp/accounts/import and
// /smtp/accounts/import/check. The results leave while lines still come in.
func importAccounts(do importing) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		return streamImport(w, r, do)
	}
}

func streamImport(w http.ResponseWriter, r *http.Request, do importing) error {
	dir, err := operate.Directory()
	if err != nil {
		return err
	}
	rc := http.NewResponseController(w)
	// The admin endpoint's ten seconds are not for ten thousand accounts.
	for _, unbound := range []func() error{
		rc.EnableFullDuplex,
		func() error { return rc.SetReadDeadline(time.Time{}) },
		func() error { return rc.SetWriteDeadline(time.Time{}) },
	} {
		if err := unbound(); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	enc := json.NewEncoder(printable.Writer{W: w})
	n := 0
	for result := range do(dir, r.Context(), r.Body) {
		if err := enc.Encode(result); err != nil {
			return nil // the client is gone
		}
		if n++; n%100 == 0 {
			_ = rc.Flush()
		}
	}
	return nil
}

// Problem is one of an account's record, or of a spool: what is wrong with that stands in
// the doctor's words beside it.
type Problem struct {
	accounts.Problem
	Check   string        `json:"check,omitempty"`
	Subject string        `json:"subject,omitempty"`
	State   checkup.State `json:"state,omitempty"`
	Cause   string        `json:"cause,omitempty"`
	Remedy  string        `json:"remedy,omitempty"`
}

// listProblems answers GET /smtp/problems.
func listProblems(w http.ResponseWriter, _ *http.Request) error {
	dir, err := operate.Directory()
	if err != nil {
		return err
	}
	problems := []Problem{}
	for _, p := range dir.Problems() {
		problems = append(problems, Problem{Problem: p})
	}
	for _, f := range spool.Findings() {
		if f.Trouble() {
			problems = append(problems, Problem{
				Problem: accounts.Problem{Source: "spool", Account: f.Account, Message: cmp.Or(f.Said, f.Cause)},
				Check:   f.Check, Subject: f.Subject, State: f.State, Cause: f.Cause, Remedy: f.Remedy,
			})
		}
	}
	return writeJSON(w, http.StatusOK, struct {
		Problems []Problem `json:"problems"`
	}{problems})
}

// AccountPath is the path of an account, or of something below it.
func AccountPath(name string, below ...string) string {
	escaped := url.PathEscape(name)
	if name == "." || name == ".." {
		escaped = strings.ReplaceAll(name, ".", "%2E") // or it would mean a directory
	}
	return "/smtp/accounts/" + strings.Join(append([]string{escaped}, below...), "/")
}
