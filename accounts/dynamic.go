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

package accounts

import (
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(DynamicSource))
}

// DynamicSource keeps accounts in Caddy's storage, one record each, where the
// admin API adds, changes and removes them without a reload. Processes that
// share a storage share the accounts: a change is seen at once where it is
// made, and within 15 seconds by the others.
type DynamicSource struct {
	// EncryptionKeys seal the records (AES-256-GCM). Each is 32 bytes in
	// base64 or hex; placeholders such as {file./run/credentials/accounts.key}
	// are resolved. The first seals, all of them open. Default: none,
	// records are stored in the clear.
	EncryptionKeys []string `json:"encryption_keys,omitempty"`

	logger  *zap.Logger
	storage certmagic.Storage
	key     string // in the pool
	state   *dynamicState
}

// dynamics are the storages in use: a reload does not load ten thousand
// accounts again.
var dynamics = caddy.NewUsagePool()

// CaddyModule returns the Caddy module information.
func (*DynamicSource) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "smtp.accounts.dynamic",
		New: func() caddy.Module { return new(DynamicSource) },
	}
}

// Provision resolves the keys. The accounts are loaded after Start, or one by
// one as they are asked for.
func (s *DynamicSource) Provision(ctx caddy.Context) error {
	return s.provision(ctx.Logger(), ctx.Storage())
}

func (s *DynamicSource) provision(logger *zap.Logger, storage certmagic.Storage) error {
	repl := caddy.NewReplacer()
	keys := make([]string, len(s.EncryptionKeys))
	for i, k := range s.EncryptionKeys {
		resolved, err := repl.ReplaceOrErr(k, true, true)
		if err != nil {
			return fmt.Errorf("dynamic accounts: field 'encryption_keys[%d]': %w", i, err)
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
		return newDynamicState(logger, storage, seal), nil
	})
	if err != nil {
		return err
	}
	s.state = value.(*dynamicState)
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
func (s *DynamicSource) Cleanup() error {
	if s.state == nil {
		return nil
	}
	_, err := dynamics.Delete(s.key)
	return err
}

// Name implements Source.
func (*DynamicSource) Name() string { return "dynamic" }

// Index implements Source.
func (s *DynamicSource) Index() *Index { return &s.state.index }

// Start begins to load the accounts and to follow their changes.
func (s *DynamicSource) Start() error {
	s.state.start(s)
	return nil
}

// Stop ends it when nobody else needs it.
func (s *DynamicSource) Stop() { s.state.stop(s) }

// Problems implements Source.
func (s *DynamicSource) Problems() []Problem { return s.state.problems() }

// Load implements Loader.
func (s *DynamicSource) Load(ctx context.Context, name string) (*Account, error) {
	return s.state.lookup(ctx, name)
}

// Missed implements Loader: another process may have added the account.
func (s *DynamicSource) Missed(string) { s.state.pokeLoop() }

// Reload looks for changes by other processes.
func (s *DynamicSource) Reload(ctx context.Context) error { return s.state.poll(ctx) }

// Edit implements Editor.
func (s *DynamicSource) Edit(ctx context.Context, edits []Edit) []Change {
	return s.state.edit(ctx, edits)
}

// Interface guards
var (
	_ caddy.Provisioner  = (*DynamicSource)(nil)
	_ caddy.CleanerUpper = (*DynamicSource)(nil)
	_ Source             = (*DynamicSource)(nil)
	_ Loader             = (*DynamicSource)(nil)
	_ Reloader           = (*DynamicSource)(nil)
	_ Editor             = (*DynamicSource)(nil)
)
