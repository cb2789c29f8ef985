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
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/spool"
)

func init() {
	caddy.RegisterModule(API{})
}

// API is the gateway's part of Caddy's admin API: accounts, upstreams,
// sessions and token states. Whatever Caddy's admin endpoint demands of its
// callers holds for it too. It never shows a secret.
type API struct{}

// openAPI describes the routes.
//
//go:embed openapi.json
var openAPI []byte

// CaddyModule returns the Caddy module information.
func (API) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.smtp",
		New: func() caddy.Module { return new(API) },
	}
}

// Routes returns the routes. Handlers ask for the running apps at each
// request, since the router is made before the apps of its configuration.
func (API) Routes() []caddy.AdminRoute {
	routes := []struct {
		pattern string
		handler func(w http.ResponseWriter, r *http.Request) error
	}{
		{"GET /smtp/accounts", listAccounts},
		{"POST /smtp/accounts/import", importAccounts((*accounts.Directory).Import)},
		// A path and not a query: a gateway that does not know it imports nothing.
		{"POST /smtp/accounts/import/check", importAccounts((*accounts.Directory).CheckImport)},
		{"GET /smtp/accounts/{name}", getAccount},
		{"PUT /smtp/accounts/{name}", putAccount},
		{"PATCH /smtp/accounts/{name}", patchAccount},
		{"DELETE /smtp/accounts/{name}", deleteAccount},
		{"POST /smtp/accounts/{name}/pause", pauseAccount(true)},
		{"POST /smtp/accounts/{name}/resume", pauseAccount(false)},
		{"POST /smtp/accounts/{name}/verify", verifyAccount},
		{"POST /smtp/accounts/{name}/login", startLogin},
		{"GET /smtp/logins/{id}", getLogin},
		{"POST /smtp/logins/{id}", pasteLogin},
		{"GET /smtp/problems", listProblems},
		{"GET /smtp/upstreams", listUpstreams},
		{"POST /smtp/upstreams/{name}/drain", drainUpstream},
		{"GET /smtp/sessions", listSessions},
		{"DELETE /smtp/sessions", endSessions},
		{"DELETE /smtp/sessions/{id}", endSession},
		{"GET /smtp/refusals", listRefusals},
		{"GET /smtp/bans", listBans},
		{"DELETE /smtp/bans", liftBans},
		{"GET /smtp/invitations", listInvitations},
		{"POST /smtp/invitations", invite},
		{"DELETE /smtp/invitations/{id}", revokeInvitation},
		{"GET /smtp/messages", searchMessages},
		{"GET /smtp/spool", listSpool},
		{"POST /smtp/spool/drain", drainSpool},
		{"DELETE /smtp/spool/drain", endSpoolDrain},
		{"GET /smtp/spool/{id}", getSpooled},
		{"DELETE /smtp/spool/{id}", steerSpooled(spool.Delete)},
		{"POST /smtp/spool/{id}/hold", steerSpooled(spool.Hold)},
		{"POST /smtp/spool/{id}/release", steerSpooled(spool.Release)},
		{"POST /smtp/spool/{id}/retry", steerSpooled(spool.Release)},
		{"GET /smtp/nodes", listNodes},
		{"POST /smtp/nodes/drain", drainNode},
		{"DELETE /smtp/nodes/drain", resumeNode},
		{"POST /smtp/nodes/{id}/drain", askNode},
		{"DELETE /smtp/nodes/{id}/drain", askNode},
		{"GET /smtp/live", getLive},
		{"GET /smtp/ready", getReady},
		{"GET /smtp/doctor", runDoctor},
		{"GET /oauth_tokens", listTokens},
		{"GET /smtp/openapi.json", func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Type", "application/json")
			_, err := w.Write(openAPI)
			return err
		}},
	}
	out := make([]caddy.AdminRoute, 0, len(routes))
	for _, route := range routes {
		out = append(out, caddy.AdminRoute{
			Pattern: route.pattern,
			Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
				w.Header().Set("Cache-Control", "no-store")
				n := note(route.pattern, r)
				err := route.handler(w, r)
				if err == nil {
					n.done(r)
					return nil
				}
				if name := r.PathValue("name"); errors.Is(err, accounts.ErrNotFound) && name != "" {
					err = notFound(name)
				}
				return writeAPIError(w, err)
			}),
		})
	}
	return out
}

// notFound is the error of an account that is not there.
func notFound(name string) error {
	var problems []accounts.Problem
	if dir, err := operate.Directory(); err == nil {
		problems = dir.Problems()
	}
	return &apiError{http.StatusNotFound, errors.New(operate.UnknownAccount(name, problems)), ""}
}

// apiError is an error with its HTTP status and the name of the field at
// fault, if one is.
type apiError struct {
	status int
	err    error
	field  string
}

// explainedError is an error of a provider, with what it means.
type explainedError struct {
	error
	explanation explain.Explanation
}

// withExplanation adds what is known of an error.
func withExplanation(status int, err error) error {
	if ae, ok := errors.AsType[*apiError](err); ok {
		return ae
	}
	if e, ok := explain.Of(err.Error()); ok {
		err = &explainedError{err, e}
	}
	return &apiError{status, err, ""}
}

// unknownField is how encoding/json names a field that it does not know.
var unknownField = regexp.MustCompile(`unknown field "([^"]*)"`)

// jsonBodyError names the field at fault, and shows no value.
func jsonBodyError(err error) error {
	if te, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return badRequest(te.Field, "want another type than JSON %s", strings.Fields(te.Value + " ")[0])
	}
	if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
		return badRequest(m[1], "unknown field")
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return err
	}
	return badRequest("", "malformed JSON")
}

func (e *apiError) Error() string { return e.err.Error() }
func (e *apiError) Unwrap() error { return e.err }

func badRequest(field, format string, args ...any) error {
	return &apiError{http.StatusBadRequest, fmt.Errorf(format, args...), field}
}

// onlyQuery refuses query parameters that a route does not know.
func onlyQuery(r *http.Request, known ...string) error {
	for key := range r.URL.Query() {
		if !slices.Contains(known, key) {
			return badRequest(key, "unknown query parameter")
		}
	}
	return nil
}

// errorAnswer is the body of an error.
type errorAnswer struct {
	Error       string               `json:"error"`
	Field       string               `json:"field,omitempty"`
	Explanation *explain.Explanation `json:"explanation,omitempty"`
}

// writeAPIError answers with the error, as caddy.APIError does, and the field.
// What it returns is for Caddy to log.
func writeAPIError(w http.ResponseWriter, err error) error {
	status, field := http.StatusInternalServerError, ""
	text := err.Error()
	var (
		ae *apiError
		fe *accounts.FieldError
		me *http.MaxBytesError
	)
	switch {
	case errors.As(err, &ae):
		status, field = ae.status, ae.field
	case errors.As(err, &fe):
		status, field, text = http.StatusBadRequest, fe.Field, fe.Err.Error()
	case errors.As(err, &me):
		status = http.StatusRequestEntityTooLarge
	case errors.As(err, new(*operate.NotRunningError)):
		status = http.StatusServiceUnavailable
	case errors.Is(err, operate.ErrNoUpstream), errors.Is(err, operate.ErrNoOAuth):
		status, field = http.StatusConflict, "upstream"
	case errors.Is(err, accounts.ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, accounts.ErrPrecondition):
		status = http.StatusPreconditionFailed
	case errors.Is(err, accounts.ErrReadOnly), errors.Is(err, accounts.ErrSealed):
		status = http.StatusConflict
	case errors.Is(err, accounts.ErrUnavailable):
		status = http.StatusServiceUnavailable
	}
	if status == http.StatusInternalServerError {
		return caddy.APIError{HTTPStatus: status, Err: err, Message: text}
	}
	answer := errorAnswer{Error: text, Field: field}
	if ee, ok := errors.AsType[*explainedError](err); ok {
		answer.Explanation = &ee.explanation
	}
	return writeJSON(w, status, answer)
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(append(printable.Escape(body), '\n'))
	return err
}

// Interface guards
var _ caddy.AdminRouter = API{}
