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
	"net/http"

	"github.com/caddymail/mailgateway/operate"
)

// getLive answers GET /smtp/live: that it answers is the answer. It asks nothing
// that may be away, and no lock that a configuration holds while it loads.
func getLive(w http.ResponseWriter, r *http.Request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// getReady answers GET /smtp/ready: 204 if this process takes mail, else 503 and why
// it does not.
func getReady(w http.ResponseWriter, r *http.Request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	if err := operate.Ready(); err != nil {
		return &apiError{http.StatusServiceUnavailable, err, ""}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
