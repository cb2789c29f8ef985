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
	"fmt"
	"net/http"

	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/limits/fleet"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/upstreamapp"
)

// NodesPage is the answer of GET /smtp/nodes.
type NodesPage struct {
	Nodes []limits.Node `json:"nodes"`
}

// listNodes answers GET /smtp/nodes. Where limits are not shared there are none.
func listNodes(w http.ResponseWriter, r *http.Request) error {
	_, nodes, err := sharingNodes(r)
	if err != nil {
		return err
	}
	if nodes == nil {
		nodes = []limits.Node{}
	}
	return writeJSON(w, http.StatusOK, NodesPage{nodes})
}

// sharingNodes are the nodes that share limits, and the app that knows them.
func sharingNodes(r *http.Request) (*upstreamapp.App, []limits.Node, error) {
	if err := onlyQuery(r); err != nil {
		return nil, nil, err
	}
	app, err := operate.App[*upstreamapp.App]("smtp_upstreams")
	if err != nil {
		return nil, nil, err
	}
	nodes, err := app.Nodes(r.Context())
	return app, nodes, err
}

// NodeDrain is the answer of POST /smtp/nodes/drain: what is left on the node that
// was asked.
type NodeDrain struct {
	// Sessions is the number of clients' sessions that have not ended.
	Sessions int `json:"sessions"`
	// Mailboxes is the number of mailboxes of which it holds something that other
	// nodes could use. It is 0 where limits are not shared.
	Mailboxes int64 `json:"mailboxes"`
	// Error is why the number of mailboxes is not known.
	Error string `json:"error,omitempty"`
	// Waiting reports whether the node, another one, has not answered yet.
	Waiting bool `json:"waiting,omitempty"`
}

// drainNode answers POST /smtp/nodes/drain. It begins, and says how far it is.
func drainNode(w http.ResponseWriter, r *http.Request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	smtp, upstreams, err := nodeApps()
	if err != nil {
		return err
	}
	// Clients first: what they still begin would take shares again.
	smtp.HandOn(true)
	upstreams.DrainNode(true)
	left := NodeDrain{Sessions: len(smtp.Sessions())}
	// A database that is away keeps no client here.
	nodes, err := upstreams.Nodes(r.Context())
	if err != nil {
		left.Error = err.Error()
	}
	for _, n := range nodes {
		if n.Self {
			left.Mailboxes = n.Mailboxes
		}
	}
	return writeJSON(w, http.StatusOK, left)
}

// resumeNode answers DELETE /smtp/nodes/drain.
func resumeNode(w http.ResponseWriter, r *http.Request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	smtp, upstreams, err := nodeApps()
	if err != nil {
		return err
	}
	upstreams.DrainNode(false)
	smtp.HandOn(false)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// askNode drains another node, or ends that, through the database of the limits.
// The node's name does for its ID where it is the name of one that lives.
func askNode(w http.ResponseWriter, r *http.Request) error {
	app, nodes, err := sharingNodes(r)
	if err != nil {
		return err
	}
	n, err := findNode(nodes, r.PathValue("id"))
	if err != nil {
		return err
	}
	drain, wish := true, "drain"
	if r.Method == http.MethodDelete {
		drain, wish = false, "resume"
	}
	switch {
	case n.Self && drain:
		return drainNode(w, r)
	case n.Self:
		return resumeNode(w, r)
	case n.Asked == wish || n.Asked == "" && n.Draining == drain: // it knows
	default:
		if err := app.AskNode(r.Context(), n.ID, drain); errors.Is(err, fleet.ErrNoNode) {
			return &apiError{http.StatusNotFound, err, ""}
		} else if err != nil {
			return err
		}
	}
	if !drain {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return writeJSON(w, http.StatusOK, NodeDrain{Sessions: int(n.Sessions), Mailboxes: n.Mailboxes, Waiting: n.Asked != "" || !n.Draining})
}

// findNode finds a node that lives by its ID, or by a name that no other has.
func findNode(nodes []limits.Node, id string) (*limits.Node, error) {
	var named []*limits.Node
	for i := range nodes {
		n := &nodes[i]
		switch {
		case n.ID == id && n.Ended:
			return nil, &apiError{http.StatusNotFound, fmt.Errorf("node %s (%s) has ended", n.Name, n.ID), ""}
		case n.ID == id:
			return n, nil
		case n.Name == id && !n.Ended:
			named = append(named, n)
		}
	}
	switch len(named) {
	case 1:
		return named[0], nil
	case 0:
		return nil, &apiError{http.StatusNotFound, fleet.ErrNoNode, ""}
	}
	return nil, &apiError{http.StatusConflict, fmt.Errorf("%d nodes have the name %s: say the ID", len(named), id), ""}
}

func nodeApps() (smtp *smtpapp.App, upstreams *upstreamapp.App, err error) {
	if smtp, err = operate.App[*smtpapp.App]("smtp"); err != nil {
		return nil, nil, err
	}
	upstreams, err = operate.App[*upstreamapp.App]("smtp_upstreams")
	return smtp, upstreams, err
}
