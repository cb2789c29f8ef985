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

package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/internal/seal"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/gauges"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

func init() {
	caddy.RegisterModule(new(Transport))
}

// Transport is an upstream in front of another, which keeps what that cannot
// send now and sends it later.
type Transport struct {
	// Upstream is the name of the upstream that it sends through. Default: each
	// account's own, for the spool of servers and accounts that say `spool`.
	Upstream string `json:"upstream,omitempty"`

	// AlwaysKeep answers 250 as soon as a message is durable, without waiting for
	// the provider. Default: false.
	AlwaysKeep bool `json:"always,omitempty"`

	// MaxWait is how long a client waits for a connection of the upstream
	// before its message is kept. Default: 10s.
	MaxWait caddy.Duration `json:"max_wait,omitempty"`

	// Directory is where the messages lie. It must be on a local disk, and
	// belongs to one process at a time. Default: `smtp_spool/NAME` in Caddy's
	// data directory.
	Directory string `json:"directory,omitempty"`

	// EncryptionKeys seal the messages with AES-256-GCM, each 32 octets in
	// base64 or hex: the first seals, any opens. Default: those of the token
	// store; none if it has none.
	EncryptionKeys []string `json:"encryption_keys,omitempty"`

	// GiveUpAfter is the age at which a message is given up. Default: 24h.
	GiveUpAfter caddy.Duration `json:"give_up_after,omitempty"`

	// WarnAfter is the age at which a message that waits is something to look at: it
	// stands in `/smtp/problems`, and people are told. Default: 1h, or half of
	// `give_up_after` where that is less.
	WarnAfter caddy.Duration `json:"warn_after,omitempty"`

	// MaxMessages is the number of messages that are kept at most; further ones
	// are answered 452. Default: 10000.
	MaxMessages int `json:"max_messages,omitempty"`

	// MaxSize is the size of all kept messages in octets. Default: 10737418240
	// (10 GiB).
	MaxSize int64 `json:"max_size,omitempty"`

	// MinFree is the share of the disk, in percent, that is left free: nothing
	// is kept when less of it is. Default: 10. Negative: none.
	MinFree float64 `json:"min_free,omitempty"`

	// Reports is the address that is told of messages that could not be
	// delivered, where the account names none. Default: the message's sender.
	Reports string `json:"reports,omitempty"`

	// Peer is the upstream that `smtp spool drain --hand-over` hands the messages
	// to: another gateway that takes this one's word on the account (`submitter`).
	// Default: none.
	Peer string `json:"peer,omitempty"`

	// Hostname is the name of this host in the Received line of kept messages.
	// Default: the `smtp` app's, or the system's.
	Hostname string `json:"hostname,omitempty"`

	name     string
	siblings map[string]relay.Transport // without an upstream of its own
	dir      string
	data     string // Caddy's data directory; empty: none
	mention  string // where a directory is named that has no mark; empty: nowhere
	notes    string // the folder in which the marks of directories are noted; empty: nowhere
	fs       disk.FS
	keys     *seal.Keys
	logger   *zap.Logger
	next     relay.Transport
	peer     relay.Transport // nil: none
	started  chan struct{}   // closed by Attach

	mu     sync.Mutex
	engine *engine // nil: not attached yet
	over   bool    // detached

	lookup accountSource
	events emitter
	ctx    caddy.Context // for events alone: it ends with the configuration
}

// CaddyModule returns the Caddy module information.
func (*Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "smtp_upstreams.transports.spool",
		New: func() caddy.Module { return new(Transport) },
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Transport) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, t) }

const (
	defaultMaxWait     = 10 * time.Second
	defaultGiveUpAfter = 24 * time.Hour
	defaultWarnAfter   = caddy.Duration(time.Hour)
	defaultMaxMessages = 10_000
	defaultMaxSize     = 10 << 30
	defaultMinFree     = 10
)

// Provision resolves placeholders and fills in the defaults.
func (t *Transport) Provision(ctx caddy.Context) error {
	t.logger, t.ctx, t.data = printable.Logger(ctx.Logger()), ctx, caddy.AppDataDir()
	t.notes = filepath.Join(caddy.AppDataDir(), store.NotesFolder)
	ev, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting events app: %w", err)
	}
	t.events, _ = ev.(emitter)
	if err := gauges.Register(ctx.GetMetricsRegistry(), gaugesOf); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	if len(t.EncryptionKeys) == 0 {
		t.keys = storeKeys(ctx)
	}
	repl := caddy.NewReplacer()
	for i, key := range t.EncryptionKeys {
		v, err := repl.ReplaceOrErr(key, true, true)
		if err != nil {
			return fmt.Errorf("encryption_keys[%d]: %w", i, form.Unresolved(err))
		}
		t.EncryptionKeys[i] = v
	}
	for name, value := range map[string]*string{"directory": &t.Directory, "reports": &t.Reports, "hostname": &t.Hostname} {
		if *value == "" {
			continue
		}
		v, err := repl.ReplaceOrErr(*value, true, true)
		if err != nil {
			return fmt.Errorf("%s: %w", name, form.Unresolved(err))
		}
		*value = v
	}
	return nil
}

// keyRing is an app that seals what it stores: oauth_tokens.
type keyRing interface{ SealKeys() *seal.Keys }

// storeKeys returns the keys of the token store, if there are any.
func storeKeys(ctx caddy.Context) *seal.Keys {
	app, err := ctx.AppIfConfigured("oauth_tokens")
	if err != nil {
		return nil // none is configured, or it says itself what is wrong with it
	}
	if ring, ok := app.(keyRing); ok {
		return ring.SealKeys()
	}
	return nil
}

// hostname is the name of this host in what the spool writes.
func (t *Transport) hostname() string {
	if t.Hostname != "" {
		return t.Hostname
	}
	if host, err := os.Hostname(); err == nil {
		return host
	}
	return "localhost"
}

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// Bind implements relay.Transport.
func (t *Transport) Bind(name string) error {
	if err := t.resolve(name); err != nil {
		return fmt.Errorf("upstream '%s': %w", name, err)
	}
	t.started = make(chan struct{})
	return nil
}

func (t *Transport) resolve(name string) error {
	t.name = name
	for _, o := range []struct {
		name  string
		value int64
	}{
		{"max_wait", int64(t.MaxWait)},
		{"give_up_after", int64(t.GiveUpAfter)},
		{"warn_after", int64(t.WarnAfter)},
		{"max_messages", int64(t.MaxMessages)},
		{"max_size", t.MaxSize},
	} {
		if o.value < 0 {
			return fmt.Errorf("spool: %s: must not be negative", o.name)
		}
	}
	if t.MinFree >= 100 {
		return errors.New("spool: min_free: must be below 100 percent")
	}
	def(&t.MaxWait, caddy.Duration(defaultMaxWait))
	def(&t.GiveUpAfter, caddy.Duration(defaultGiveUpAfter))
	def(&t.WarnAfter, min(defaultWarnAfter, t.GiveUpAfter/2))
	def(&t.MaxMessages, defaultMaxMessages)
	def(&t.MaxSize, defaultMaxSize)
	def(&t.MinFree, defaultMinFree)
	if t.Directory == "" {
		t.Directory = filepath.Join(caddy.AppDataDir(), store.OfUpstreams, name)
		if t.Upstream == "" {
			// No upstream's name can meet it.
			t.Directory = filepath.Join(caddy.AppDataDir(), store.OfAccounts)
		}
	}
	dir, err := filepath.Abs(t.Directory)
	if err != nil {
		return fmt.Errorf("spool: directory: %w", err)
	}
	t.dir = dir
	if t.ctx.Context != nil {
		if err := store.Claim(t.ctx.Context, dir, name); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
	}
	if store.Within(dir, caddy.AppDataDir()) {
		if t.notes != "" && !store.OwnPlace(caddy.AppDataDir(), dir) {
			t.mention = store.Note(t.notes, dir)
		}
		t.notes = "" // it would be lost with the directory
	}
	if t.fs == nil {
		t.fs = disk.OS{}
	}
	if len(t.EncryptionKeys) == 0 {
		return nil // those of the token store, if there are any
	}
	if t.keys, err = seal.New(t.EncryptionKeys, keyID); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

func (t *Transport) bounds() store.Bounds {
	return store.Bounds{Messages: t.MaxMessages, Octets: t.MaxSize, MinFree: t.MinFree / 100}
}

// accountLookup finds an account by its name.
type accountLookup func(name string) (*accounts.Account, bool)

// Interface guards
var (
	_ caddy.Provisioner = (*Transport)(nil)
	_ caddy.Module      = (*Transport)(nil)
)
