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

package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/loggers"
	"github.com/caddymail/mailgateway/internal/pgdb"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/limits/fleet"
)

const (
	defaultLease = 30 * time.Second
	minLease     = 5 * time.Second
	// With the lease it is longer than a machine is usually away that comes
	// back: what it still had open may be in use when it does.
	defaultGrace = 90 * time.Second
)

// Module is the module smtp_upstreams.limits.postgres. It is registered where
// the Caddyfile is known, in caddymodule.
type Module struct {
	pgdb.Config

	// Node is the name of this node, for people. Default: the host's name.
	Node string `json:"node,omitempty"`
	// Lease is how long a node may send without an answer of the database, less a
	// tenth. Others wait that long for what a dead node held. At least 5s.
	// Default: 30s.
	Lease caddy.Duration `json:"lease,omitempty"`
	// Grace is how long after its lease's end a dead node's connections, and a message
	// on its way, may be in use at the provider. A node that lives closes what is
	// in use still. A process that is paused for longer than lease and grace
	// finds its connections lent to others. Default: 90s.
	Grace caddy.Duration `json:"grace,omitempty"`

	node *node
	key  string
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *Module) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, m) }

// kind has the nodes of all configurations that are in force.
var kind = pgdb.NewKind[*node]("limits postgres", "limits", "change limits", migrations)

// Destruct implements caddy.Destructor.
func (n *node) Destruct() error {
	n.stop()
	if e, ok := n.eng.(*pgEngine); ok {
		e.db.Close()
	}
	return nil
}

// Provision finds this process's place among the nodes, which it takes when the
// configuration is in force ([Module.Attach]). The database has to be there.
func (m *Module) Provision(ctx caddy.Context) error {
	set, err := m.Config.Resolve()
	if err != nil {
		return kind.Failed(err)
	}
	if m.Node == "" {
		if m.Node, err = os.Hostname(); err != nil {
			return fmt.Errorf("limits postgres: node: %w", err)
		}
	}
	lease, grace := time.Duration(m.Lease), time.Duration(m.Grace)
	if lease == 0 {
		lease = defaultLease
	}
	if grace == 0 {
		grace = defaultGrace
	}
	switch {
	case lease < minLease:
		return fmt.Errorf("limits postgres: lease: %s is too short, %s is the least", lease, minLease)
	case grace < 0:
		return errors.New("limits postgres: grace: it is negative")
	}
	m.node, m.key, err = kind.Take(printable.Logger(ctx.Logger()), set, []any{m.Node, lease, grace}, func(db *pgdb.DB) *node {
		logger := loggers.Process("smtp_upstreams.limits.postgres").With(zap.String("node", m.Node))
		db.WarnUnheard(logger, "what other nodes want is looked for each second, and a node is drained with its next heartbeat")
		return newNode(newEngine(db), m.Node, lease, grace, logger)
	})
	return err
}

// Attach implements limits.Sharing.
func (m *Module) Attach(ctx context.Context) error {
	if e, ok := m.node.eng.(*pgEngine); ok {
		if err := e.db.Ready(ctx); err != nil {
			return kind.Failed(err)
		}
	}
	m.node.start()
	return nil
}

// Cleanup implements caddy.CleanerUpper.
func (m *Module) Cleanup() error { return kind.Give(m.key) }

// Lender implements limits.Sharing.
func (m *Module) Lender(upstream string) limits.Lender { return m.node.guest(upstream) }

// Lends implements limits.Sharing.
func (m *Module) Lends() bool { return limits.Now() < m.node.until.Load() }

// Nodes implements limits.Sharing.
func (m *Module) Nodes(ctx context.Context) ([]limits.Node, error) {
	e, ok := m.node.eng.(*pgEngine)
	if !ok {
		return nil, nil
	}
	m.node.mu.Lock()
	id := m.node.id
	m.node.mu.Unlock()
	nodes, err := e.list(ctx, id)
	for i := range nodes {
		if nodes[i].Self {
			nodes[i].Draining = m.node.draining.Load() // what is stored is a heartbeat old
		}
	}
	return nodes, err
}

// Drain implements limits.Sharing.
func (m *Module) Drain(on bool) { m.node.drain(on) }

// Ask implements limits.Sharing.
func (m *Module) Ask(ctx context.Context, id string, drain bool) error {
	lives, err := m.node.eng.ask(ctx, id, drain)
	if err == nil && !lives {
		err = fleet.ErrNoNode
	}
	return err
}

// Attend implements limits.Sharing.
func (m *Module) Attend(f fleet.Front) { m.node.front.Store(&f) }

// Examine implements checkup.Examiner.
func (m *Module) Examine(ctx context.Context) []checkup.Finding {
	e, ok := m.node.eng.(*pgEngine)
	if !ok {
		return nil
	}
	return e.db.Examine(ctx, "limits postgres")
}

// Interface guards
var (
	_ caddy.Provisioner  = (*Module)(nil)
	_ caddy.CleanerUpper = (*Module)(nil)
	_ limits.Sharing     = (*Module)(nil)
	_ checkup.Examiner   = (*Module)(nil)
)
