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
	"net/http"
	"time"

	"github.com/caddymail/mailgateway/operate"
)

// doctorTimeout bounds all that the doctor asks for over the network.
const doctorTimeout = 40 * time.Second

// runDoctor answers GET /smtp/doctor. That something is wrong is an answer too.
func runDoctor(w http.ResponseWriter, r *http.Request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), doctorTimeout)
	defer cancel()
	return writeJSON(w, http.StatusOK, operate.Doctor(ctx))
}
