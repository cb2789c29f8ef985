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
	"errors"
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/printable"
)

func init() {
	caddy.RegisterModule(new(FileSource))
}

// FileSource reads accounts from a file of JSON Lines: one record per line,
// blank lines are skipped. The file is read again within two seconds of a
// change. A bad line is reported with its number and field, and costs no other
// account anything; its own account stays as it was. A file that cannot be
// read, or without a single good line among its lines, changes nothing; nor does
// one that is empty or has lost more than half of its accounts, until an
// operator who was told so reloads the configuration.
type FileSource struct {
	// Path is the file. Placeholders such as {env.HOME} are resolved. It
	// must exist when the configuration is loaded.
	Path string `json:"path,omitempty"`

	logger *zap.Logger
	key    string // in the pool
	state  *fileState
}

// files are the accounts files in use, by absolute path: a reload does not
// read again what has not changed.
var files = caddy.NewUsagePool()

// CaddyModule returns the Caddy module information.
func (*FileSource) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "smtp.accounts.file",
		New: func() caddy.Module { return new(FileSource) },
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *FileSource) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, s) }

// Provision reads the file, unless a running configuration has it already.
func (s *FileSource) Provision(ctx caddy.Context) error {
	s.logger = printable.Logger(ctx.Logger())
	if s.Path == "" {
		return errors.New("accounts file: field 'path': must not be empty")
	}
	path, err := caddy.NewReplacer().ReplaceOrErr(s.Path, true, true)
	if err != nil {
		return fmt.Errorf("accounts file: field 'path': %w", err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return fmt.Errorf("accounts file: field 'path': %w", err)
	}
	value, _, err := files.LoadOrNew(path, func() (caddy.Destructor, error) {
		state := newFileState(path, s.logger)
		if err := state.load(); err != nil {
			return nil, err
		}
		return state, nil
	})
	if err != nil {
		return fmt.Errorf("accounts file: %w", err)
	}
	s.key, s.state = path, value.(*fileState)
	return nil
}

// Cleanup gives the file back.
func (s *FileSource) Cleanup() error {
	if s.state == nil {
		return nil
	}
	_, err := files.Delete(s.key)
	return err
}

// Name implements Source.
func (s *FileSource) Name() string { return "file " + s.key }

// Index implements Source.
func (s *FileSource) Index() *Index { return &s.state.index }

// Start begins to watch the file.
func (s *FileSource) Start() error {
	s.state.start(s)
	// A reload of the configuration is when operators expect their changes
	// to count. What is wrong is a problem then, not an error: the accounts
	// that are known go on.
	if err := s.state.confirm(); err != nil {
		s.logger.Error("accounts file not loaded, the accounts stay as they were",
			zap.String("file", s.key), zap.Error(err))
	}
	return nil
}

// Stop ends the watching when nobody else needs it.
func (s *FileSource) Stop() { s.state.stop(s) }

// Reload reads the file if it has changed. An operator asks for it, who may
// confirm by it that accounts are gone.
func (s *FileSource) Reload(context.Context) error { return s.state.confirm() }

// Problems implements Source.
func (s *FileSource) Problems() []Problem { return s.state.problems() }

// Interface guards
var (
	_ caddy.Provisioner  = (*FileSource)(nil)
	_ caddy.CleanerUpper = (*FileSource)(nil)
	_ Source             = (*FileSource)(nil)
	_ Reloader           = (*FileSource)(nil)
)
