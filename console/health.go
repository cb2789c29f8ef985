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

package console

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/upstreamapp"
)

// health is what the gateway says of itself.
type health struct {
	// Certificates are told apart: they are what an office asks for.
	Certificates, Others []checkup.Finding
	Nodes                []limits.Node
	// NodesError is why the nodes are not known.
	NodesError string
}

// severity sorts findings, the worst first.
var severity = map[checkup.State]int{checkup.Wrong: -2, checkup.Warning: -1}

func showHealth(v *visit) error {
	var h health
	for _, f := range operate.Examine(v.r.Context()) {
		if f.Check == "certificate" {
			h.Certificates = append(h.Certificates, f)
		} else {
			h.Others = append(h.Others, f)
		}
	}
	for _, list := range [][]checkup.Finding{h.Certificates, h.Others} {
		slices.SortStableFunc(list, func(a, b checkup.Finding) int { return cmp.Compare(severity[a.State], severity[b.State]) })
	}
	h.Others = h.Others[:min(len(h.Others), maxRows)]
	if app, err := operate.App[*upstreamapp.App]("smtp_upstreams"); err == nil {
		if h.Nodes, err = app.Nodes(v.r.Context()); err != nil {
			h.NodesError = err.Error()
		}
	}
	return v.show(http.StatusOK, "health", "health", "Health", h)
}
