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
	"errors"
	"net/http"
	"slices"

	"github.com/caddymail/mailgateway/connect"
)

// InvitationPage is one page of GET /smtp/invitations.
type InvitationPage struct {
	Invitations []connect.Invitation `json:"invitations"`
	// Next is the next page's `after`; absent on the last page.
	Next string `json:"next,omitempty"`
}

// listInvitations answers GET /smtp/invitations. Links are not among what it shows.
func listInvitations(w http.ResponseWriter, r *http.Request) error {
	if err := onlyQuery(r, "account", "state", "after", "limit"); err != nil {
		return err
	}
	limit, err := pageSize(r)
	if err != nil {
		return err
	}
	site, err := connect.Current()
	if err != nil {
		return invitationError(err)
	}
	query := r.URL.Query()
	f := connect.Filter{Account: query.Get("account"), State: query.Get("state")}
	if !slices.Contains([]string{"", connect.StateOpen, connect.StateUsed, connect.StateExpired}, f.State) {
		return badRequest("state", "want open, used or expired")
	}
	list, next, err := site.Invitations.List(r.Context(), f, query.Get("after"), limit)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, InvitationPage{list, next})
}

// invite answers POST /smtp/invitations.
func invite(w http.ResponseWriter, r *http.Request) error {
	var req connect.Request
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	invited, err := connect.Invite(r.Context(), req)
	if err != nil {
		return invitationError(err)
	}
	return writeJSON(w, http.StatusCreated, invited)
}

// revokeInvitation answers DELETE /smtp/invitations/{id}.
func revokeInvitation(w http.ResponseWriter, r *http.Request) error {
	site, err := connect.Current()
	if err == nil {
		err = site.Invitations.Revoke(r.Context(), r.PathValue("id"))
	}
	if err != nil {
		return invitationError(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func invitationError(err error) error {
	if fe, ok := errors.AsType[*connect.FieldError](err); ok {
		return &apiError{http.StatusBadRequest, fe.Err, fe.Field}
	}
	switch {
	case errors.Is(err, connect.ErrUnknown):
		return &apiError{http.StatusNotFound, err, ""}
	case errors.Is(err, connect.ErrNoSite):
		return &apiError{http.StatusConflict, err, ""}
	}
	return err
}
