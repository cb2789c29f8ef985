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
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/upstreamapp"
)

// verifyTimeout bounds a verification as a whole.
const verifyTimeout = 2 * time.Minute

// VerifyRequest says how far to go.
type VerifyRequest struct {
	// From is a MAIL FROM to try and take back; `<>` is the null sender.
	From string `json:"from,omitempty"`
}

// verifyAccount answers POST /smtp/accounts/{name}/verify.
func verifyAccount(w http.ResponseWriter, r *http.Request) error {
	dir, err := operate.Directory()
	if err != nil {
		return err
	}
	a, err := dir.Get(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	var req VerifyRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	// A provider that hangs takes longer than the admin endpoint likes.
	rc := http.NewResponseController(w)
	if err := errors.Join(rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{})); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), verifyTimeout)
	defer cancel()

	result, err := operate.Verify(ctx, a, req.From)
	if errors.Is(err, upstreamapp.ErrNoUpstream) || errors.Is(err, upstreamapp.ErrUnsupported) {
		return &apiError{http.StatusConflict, err, "upstream"}
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, result)
}
