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

package dynamic

import (
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/printable"
)

func init() {
	caddy.RegisterModule(new(Source))
}

// Source keeps accounts in Caddy's storage, one record each, where the
// admin API adds, changes and removes them without a reload. Processes that
// share a storage share the accounts: a change is seen at once where it is
// made, and within 15 seconds by the others.
type Source struct {
	// EncryptionKeys seal the records (AES-256-GCM). Each is 32 bytes in
	// base64 or hex; placeholders such as {file./etc/mailgateway/credentials/accounts.key}
	// are resolved. The first seals, all of them open. Default: none,
	// records are stored in the clear.
	EncryptionKeys []string `json:"encryption_keys,omitempty"`

	logger  *zap.Logger
	storage certmagic.Storage
	key     string // in the pool
	state   *state
}

// dynamics are the storages in use: a reload does not load ten thousand
// accounts again.
var dynamics = caddy.NewUsagePool()

// CaddyModule returns the Caddy module information.
func (*Source) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "smtp.accounts.dynamic",
		New: func() caddy.Module { return new(Source) },
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Source) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, s) }

// Provision resolves the keys. The accounts are loaded after Start, or one by
// one as they are asked for.
func (s *Source) Provision(ctx caddy.Context) error {
	return s.provision(printable.Logger(ctx.Logger()), ctx.Storage())
}

func (s *Source) provision(logger *zap.Logger, storage certmagic.Storage) error {
	repl := caddy.NewReplacer()
	keys := make([]string, len(s.EncryptionKeys))
	for i, k := range s.EncryptionKeys {
		resolved, err := repl.ReplaceOrErr(k, true, true)
		if err != nil {
			return fmt.Errorf("dynamic accounts: field 'encryption_keys[%d]': %w", i, form.Unresolved(err))
		}
		keys[i] = resolved
	}
	seal, err := newSealer(keys)
	if err != nil {
		return fmt.Errorf("dynamic accounts: %w", err)
	}
	s.logger, s.storage = logger, storage
	s.key = storageIdentity(storage) + "\x00" + seal.Identity()
	value, _, err := dynamics.LoadOrNew(s.key, func() (caddy.Destructor, error) {
		return newState(logger, storage, seal), nil
	})
	if err != nil {
		return err
	}
	s.state = value.(*state)
	return nil
}

// storageIdentity tells storages apart. Each configuration has its own value
// for what may be the same storage; one that does not say what it is counts as
// another one.
func storageIdentity(s certmagic.Storage) string {
	switch s := s.(type) {
	case *certmagic.FileStorage:
		return "file:" + s.Path
	case fmt.Stringer:
		return fmt.Sprintf("%T:%s", s, s)
	}
	return fmt.Sprintf("%T:%p", s, s)
}

// Cleanup gives the state back.
func (s *Source) Cleanup() error {
	if s.state == nil {
		return nil
	}
	_, err := dynamics.Delete(s.key)
	return err
}

// Name implements Source.
func (*Source) Name() string { return "dynamic" }

// Index implements Source.
func (s *Source) Index() *accounts.Index { return &s.state.index }

// Start begins to load the accounts and to follow their changes.
func (s *Source) Start() error {
	s.state.start(s)
	return nil
}

// Stop ends it when nobody else needs it.
func (s *Source) Stop() { s.state.stop(s) }

// Problems implements Source.
func (s *Source) Problems() []accounts.Problem { return s.state.problems() }

// Load implements Loader.
func (s *Source) Load(ctx context.Context, name string) (*accounts.Account, error) {
	return s.state.lookup(ctx, name)
}

// Missed implements Loader: another process may have added the account.
func (s *Source) Missed(string) { s.state.pokeLoop() }

// Reload looks for changes by other processes.
func (s *Source) Reload(ctx context.Context) error { return s.state.poll(ctx) }

// Edit implements Editor.
func (s *Source) Edit(ctx context.Context, edits []accounts.Edit) []accounts.Change {
	return s.state.edit(ctx, edits)
}

// Interface guards
var (
	_ caddy.Provisioner  = (*Source)(nil)
	_ caddy.CleanerUpper = (*Source)(nil)
	_ accounts.Source    = (*Source)(nil)
	_ accounts.Loader    = (*Source)(nil)
	_ accounts.Reloader  = (*Source)(nil)
	_ accounts.Editor    = (*Source)(nil)
)
