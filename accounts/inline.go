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
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/printable"
)

func init() {
	caddy.RegisterModule(new(InlineSource))
}

// InlineSource holds accounts that are part of the configuration. It suits a
// handful: every change is a reload of the whole configuration.
type InlineSource struct {
	// Accounts are the records. `refresh_token`, `secret` and
	// `password_hashes` may hold placeholders such as {env.TOKEN} and
	// {file./etc/mailgateway/credentials/token}, so that the configuration itself,
	// which the admin API shows, holds no secret. A bad record is an error
	// of the configuration.
	Accounts []Record `json:"accounts,omitempty"`

	index Index
}

// CaddyModule returns the Caddy module information.
func (*InlineSource) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "smtp.accounts.inline",
		New: func() caddy.Module { return new(InlineSource) },
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *InlineSource) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, s) }

// Provision resolves placeholders and compiles the accounts.
func (s *InlineSource) Provision(ctx caddy.Context) error {
	logger := printable.Logger(ctx.Logger())
	compiled := make([]*Account, 0, len(s.Accounts))
	seen := make(map[string]bool, len(s.Accounts))
	for i, r := range s.Accounts {
		if r.RefreshToken != "" && !strings.Contains(r.RefreshToken, "{") || r.Secret != "" && !strings.Contains(r.Secret, "{") {
			logger.Warn("account has a literal secret in the configuration, use {file.PATH} or {env.NAME}",
				zap.String("account", r.Name))
			if err := literalSecrets(logger, r); err != nil {
				return fmt.Errorf("inline account %d: %w", i+1, err)
			}
		}
		r, err := resolve(r)
		var a *Account
		if err == nil {
			a, err = Compile(r, s.Name())
		}
		if err == nil && seen[a.key] {
			err = &FieldError{Account: r.Name, Field: "name", Err: errors.New("duplicate account")}
		}
		if err != nil {
			return fmt.Errorf("inline account %d: %w", i+1, err)
		}
		seen[a.key] = true
		compiled = append(compiled, a)
	}
	s.index.Replace(compiled)
	return nil
}

// literalSecrets looks at secrets that stand in the configuration itself.
func literalSecrets(logger *zap.Logger, r Record) error {
	for _, f := range []struct{ name, value string }{{"refresh_token", r.RefreshToken}, {"secret", r.Secret}} {
		if strings.Contains(f.value, "{") && form.ShellVariable(f.value) == "" {
			continue
		}
		if err := form.Secret.Check(f.value); err != nil {
			return &FieldError{Account: r.Name, Field: f.name, Err: err}
		}
		if hint := form.ShellVariable(f.value); hint != "" {
			logger.Warn(f.name+": "+hint, zap.String("account", r.Name))
		}
	}
	return nil
}

// resolve returns the record with its placeholders resolved. The
// configuration's record stays as it is: its arrays are shared with it.
func resolve(r Record) (Record, error) {
	repl := caddy.NewReplacer()
	field := func(name string, value *string) error {
		if *value == "" {
			return nil
		}
		resolved, err := repl.ReplaceOrErr(*value, true, true)
		err = form.Unresolved(err)
		if err == nil && strings.TrimSpace(resolved) == "" {
			err = errors.New("resolves to nothing")
		}
		if err != nil {
			return &FieldError{Account: r.Name, Field: name, Err: err}
		}
		*value = strings.TrimSpace(resolved)
		return nil
	}
	if err := field("refresh_token", &r.RefreshToken); err != nil {
		return r, err
	}
	if err := field("secret", &r.Secret); err != nil {
		return r, err
	}
	hashes := make([]string, len(r.PasswordHashes))
	for i, h := range r.PasswordHashes {
		hashes[i] = h
		if err := field("password_hashes["+strconv.Itoa(i)+"]", &hashes[i]); err != nil {
			return r, err
		}
	}
	r.PasswordHashes = hashes
	return r, nil
}

// Name implements Source.
func (*InlineSource) Name() string { return "inline" }

// Index implements Source.
func (s *InlineSource) Index() *Index { return &s.index }

// Start implements Source.
func (*InlineSource) Start() error { return nil }

// Stop implements Source.
func (*InlineSource) Stop() {}

// Problems implements Source: a bad inline account is an error of the
// configuration instead.
func (*InlineSource) Problems() []Problem { return nil }

// Interface guards
var (
	_ caddy.Provisioner = (*InlineSource)(nil)
	_ Source            = (*InlineSource)(nil)
)
