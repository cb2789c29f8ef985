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

	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/upstreamapp"
)

// NodesPage is the answer of GET /smtp/nodes.
type NodesPage struct {
	Nodes []limits.Node `json:"nodes"`
}

// listNodes answers GET /smtp/nodes. Where limits are not shared there are none.
func listNodes(w http.ResponseWriter, r *http.Request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	app, err := operate.App[*upstreamapp.App]("smtp_upstreams")
	if err != nil {
		return err
	}
	nodes, err := app.Nodes(r.Context())
	if err != nil {
		return err
	}
	if nodes == nil {
		nodes = []limits.Node{}
	}
	return writeJSON(w, http.StatusOK, NodesPage{nodes})
}
