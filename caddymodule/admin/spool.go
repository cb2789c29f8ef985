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

	"github.com/caddymail/mailgateway/spool"
)

// SpoolPage is the answer of GET /smtp/spool.
type SpoolPage struct {
	Spools   []spool.Status  `json:"spools"`
	Messages []spool.Message `json:"messages"`
	// Next is `after` of the next page; empty on the last one.
	Next string `json:"next,omitempty"`
}

var spoolStates = []string{"", "waiting", "sending", "held"}

// listSpool answers GET /smtp/spool.
func listSpool(w http.ResponseWriter, r *http.Request) error {
	if err := onlyQuery(r, "account", "state", "after", "limit"); err != nil {
		return err
	}
	query := r.URL.Query()
	f := spool.Filter{Account: query.Get("account"), State: query.Get("state"), After: query.Get("after")}
	if !slices.Contains(spoolStates, f.State) {
		return badRequest("state", "want waiting, sending or held")
	}
	limit, err := pageSize(r)
	if err != nil {
		return err
	}
	f.Limit = limit
	list, next := spool.List(f)
	return writeJSON(w, http.StatusOK, SpoolPage{spool.Statuses(), list, next})
}

// getSpooled answers GET /smtp/spool/{id}.
func getSpooled(w http.ResponseWriter, r *http.Request) error {
	m, err := spool.Get(r.PathValue("id"))
	if err != nil {
		return spoolError(err)
	}
	return writeJSON(w, http.StatusOK, m)
}

// steerSpooled answers the routes that change one message.
func steerSpooled(change func(id string) error) func(w http.ResponseWriter, r *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := change(r.PathValue("id")); err != nil {
			return spoolError(err)
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// SpoolDrain is the body of POST /smtp/spool/drain.
type SpoolDrain struct {
	// Upstream is the spool's name. Default: all of them.
	Upstream string `json:"upstream,omitempty"`
	// HandOver gives the messages to the spool's peer. Default: false: they are
	// sent as ever.
	HandOver bool `json:"hand_over,omitempty"`
}

// drainSpool answers POST /smtp/spool/drain.
func drainSpool(w http.ResponseWriter, r *http.Request) error {
	var req SpoolDrain
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	if err := spool.Drain(req.Upstream, req.HandOver); err != nil {
		return spoolError(err)
	}
	return writeJSON(w, http.StatusOK, SpoolPage{spool.Statuses(), []spool.Message{}, ""})
}

// endSpoolDrain answers DELETE /smtp/spool/drain.
func endSpoolDrain(w http.ResponseWriter, _ *http.Request) error {
	spool.EndDrain()
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func spoolError(err error) error {
	switch {
	case errors.Is(err, spool.ErrNotFound), errors.Is(err, spool.ErrNoSpool):
		return &apiError{http.StatusNotFound, err, ""}
	case errors.Is(err, spool.ErrBusy), errors.Is(err, spool.ErrClosing), errors.Is(err, spool.ErrNoPeer):
		return &apiError{http.StatusConflict, err, ""}
	}
	return err
}
