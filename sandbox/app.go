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

package sandbox

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddypki"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/printable"
)

func init() {
	caddy.RegisterModule(new(App))
}

// running holds the sandboxes of this process by their addresses, so that a
// reload keeps connections, messages and tokens.
var running = caddy.NewUsagePool()

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "smtp_sandbox",
		New: func() caddy.Module { return new(App) },
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *App) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, a) }

// Provision checks the configuration. It binds nothing.
func (a *App) Provision(ctx caddy.Context) error {
	a.logger = printable.Logger(ctx.Logger())
	a.SMTP, a.SMTPS, a.HTTP = cmp.Or(a.SMTP, "127.0.0.1:2587"), cmp.Or(a.SMTPS, "127.0.0.1:2465"), cmp.Or(a.HTTP, "127.0.0.1:2580")
	if a.UsePKI {
		app, err := ctx.App("pki")
		if err != nil {
			return fmt.Errorf("loading pki app: %v", err)
		}
		ca, err := app.(*caddypki.PKI).GetCA(ctx, caddypki.DefaultCAID)
		if err != nil {
			return fmt.Errorf("use_pki: %v", err)
		}
		a.sign = func() ([]*x509.Certificate, crypto.Signer) {
			return ca.IntermediateCertificateChain(), ca.IntermediateKey()
		}
	}
	st, err := newSettings(a)
	if err != nil {
		return err
	}
	a.mine = st
	return nil
}

func (a *App) key() string { return a.SMTP + " " + a.SMTPS + " " + a.HTTP }

// pooled is what the pool holds.
type pooled struct{ *Sandbox }

// Destruct ends the sandbox with the last configuration that has it.
func (p pooled) Destruct() error {
	p.Close()
	return nil
}

// Start runs the sandbox, or takes over the one that is running.
func (a *App) Start() error {
	v, loaded, err := running.LoadOrNew(a.key(), func() (caddy.Destructor, error) {
		s, err := Start(a, a.logger)
		if err != nil {
			return nil, err
		}
		return pooled{s}, nil
	})
	if err != nil {
		return err
	}
	a.sandbox = v.(pooled).Sandbox
	if loaded {
		a.prev = a.sandbox.settings.Load()
		if err := a.sandbox.adopt(a.mine); err != nil {
			_, _ = running.Delete(a.key())
			a.sandbox = nil
			return err
		}
	} else {
		a.mine = a.sandbox.settings.Load()
	}
	a.logger.Info("sandbox is running; it delivers nothing",
		zap.String("smtp", a.sandbox.SMTPAddr()),
		zap.String("smtps", a.sandbox.SMTPSAddr()),
		zap.String("http", a.sandbox.HTTPURL()))
	return nil
}

// Stop gives the sandbox up. If the configuration that it belonged to never
// went live, the one before it is in force again.
func (a *App) Stop() error {
	if a.sandbox == nil {
		return nil
	}
	if a.prev != nil && a.sandbox.settings.Load() == a.mine {
		if refs, ok := running.References(a.key()); ok && refs > 1 {
			_ = a.sandbox.adopt(a.prev)
		}
	}
	a.sandbox, a.prev = nil, nil
	_, err := running.Delete(a.key())
	return err
}

// Sandbox is the running provider; nil before Start.
func (a *App) Sandbox() *Sandbox { return a.sandbox }

// adopt applies another configuration of the same addresses.
func (s *Sandbox) adopt(st *settings) error {
	if st.app.sign != nil {
		s.certs.Use(st.app.sign)
		if _, err := s.certs.Current(); err != nil {
			return err
		}
	}
	s.rec.Resize(st.keep)
	if err := s.certs.WriteCA(st.app.CAFile); err != nil {
		return err
	}
	return s.apply(st)
}

// Interface guards
var (
	_ caddy.App         = (*App)(nil)
	_ caddy.Provisioner = (*App)(nil)
)
