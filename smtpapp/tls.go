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

package smtpapp

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/internal/servertls"
	"github.com/caddymail/mailgateway/smtpapp/legacyrsa"
)

// alpn keeps browsers out, which would offer http/1.1, and with them attacks
// across protocols. Mail clients offer nothing and are let in.
var alpn = []string{"smtp"}

// provision makes the policy's tls.Config.
func (t *TLS) provision(ctx caddy.Context, a *App, server string, p *policy) (needsCert bool, err error) {
	switch t.Mode {
	case "off":
		if t.Certificate != "" || t.Key != "" || t.Legacy || t.ConnectionPolicies != nil || t.ClientCertificateLogin {
			return false, errors.New("mode 'off' takes no other options")
		}
		return false, nil
	case "starttls", "implicit":
	default:
		return false, fmt.Errorf("mode: %w", form.TLSMode.Check(t.Mode))
	}
	if (t.Certificate == "") != (t.Key == "") {
		return false, errors.New("certificate and key belong together")
	}
	policies := t.ConnectionPolicies
	if len(policies) == 0 {
		policies = caddytls.ConnectionPolicies{new(caddytls.ConnectionPolicy)}
	}
	for _, cp := range policies {
		if cp.ALPN == nil {
			cp.ALPN = alpn
		}
		if cp.DefaultSNI == "" {
			// Many clients send no server name.
			cp.DefaultSNI = a.Hostname
		}
		if cp.FallbackSNI == "" {
			cp.FallbackSNI = a.Hostname
		}
	}
	asked, err := json.Marshal(policies) // Provision takes the guest modules out
	if err != nil {
		return false, fmt.Errorf("connection_policies: %w", err)
	}
	if err := policies.Provision(ctx); err != nil {
		return false, err
	}
	for _, cp := range policies {
		if !t.Legacy { // below
			cp.TLSConfig.GetCertificate = servertls.AnyName(cp.TLSConfig.GetCertificate)
		}
	}
	cfg := policies.TLSConfig(ctx)
	if t.Certificate != "" {
		file, err := servertls.New(t.Certificate, t.Key, a.logger)
		if err != nil {
			return false, err
		}
		cfg = servertls.Override(cfg, func(c *tls.Config) { c.GetCertificate = file.Get })
	}
	if t.Legacy {
		managed := t.Certificate == ""
		a.wantsRSA = a.wantsRSA || managed
		cfg = servertls.Override(cfg, func(c *tls.Config) {
			servertls.AllowLegacy(c)
			if managed {
				c.GetCertificate = servertls.AnyName(legacyrsa.Preferring(a.legacyRSA.Load, c.GetCertificate))
			}
		})
		a.logger.Warn("legacy_tls: this server accepts TLS 1.0 and 1.1, which are broken; "+
			"keep it to a network of devices that know no better", zap.String("server", server))
	}
	if t.ClientCertificateLogin && !slices.ContainsFunc(policies, func(cp *caddytls.ConnectionPolicy) bool {
		return cp.ClientAuthentication != nil
	}) {
		return false, errors.New("client_certificate_login: needs a connection policy with client_authentication")
	}
	if p.certLogin = t.ClientCertificateLogin; p.certLogin {
		p.clientAuth = sha256.Sum256(asked)
	}
	if t.Mode == "implicit" {
		p.ImplicitTLS = cfg
	} else {
		p.StartTLS = cfg
	}
	return t.Certificate == "", nil
}

// provisionCertificate sees to it that Caddy manages a certificate for the
// hostname once everything has started: before, ACME's solvers could take
// ports from the http app.
func (a *App) provisionCertificate(ctx caddy.Context) error {
	tlsApp, err := ctx.App("tls")
	if err != nil {
		return fmt.Errorf("getting the tls app: %w", err)
	}
	a.tlsApp = tlsApp.(*caddytls.TLS)
	host := a.Hostname
	if !certmagic.SubjectQualifiesForCert(host) {
		return fmt.Errorf("hostname: '%s' cannot have a certificate: a name alone is wanted, as in mail.example.com", host)
	}
	if !certmagic.SubjectQualifiesForPublicCert(host) && !a.hasAutomationPolicy(host) {
		ap := &caddytls.AutomationPolicy{
			SubjectsRaw: []string{host},
			IssuersRaw:  []json.RawMessage{json.RawMessage(`{"module":"internal"}`)},
		}
		if err := a.tlsApp.AddAutomationPolicy(ap); err != nil {
			return fmt.Errorf("hostname: internal certificate: %w", err)
		}
	}
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	return events.(*caddyevents.App).On("started", startedHandler{a, ctx})
}

// hasAutomationPolicy reports whether a policy of the configuration sees to a
// name that is not public. A policy for all names does so only if it could: the
// http app adds one whose issuers are the public ones, before us or after us as
// Go's maps have it.
func (a *App) hasAutomationPolicy(host string) bool {
	if a.tlsApp.Automation == nil {
		return false
	}
	for _, ap := range a.tlsApp.Automation.Policies {
		if len(ap.SubjectsRaw) == 0 && (len(ap.Managers) > 0 || slices.ContainsFunc(ap.Issuers, issuesPrivately)) {
			return true
		}
		for _, s := range ap.SubjectsRaw {
			if certmagic.MatchWildcard(host, s) {
				return true
			}
		}
	}
	return false
}

// publicCAs issue nothing for names that are not public.
var publicCAs = []string{"letsencrypt.org", "zerossl.com", "pki.goog"}

// issuesPrivately reports whether an issuer may have a certificate for a name
// that is not public.
func issuesPrivately(issuer certmagic.Issuer) bool {
	switch i := issuer.(type) {
	case *caddytls.ACMEIssuer:
		return i.CA != "" && !slices.ContainsFunc(publicCAs, func(ca string) bool { return strings.Contains(i.CA, ca) })
	case *caddytls.ZeroSSLIssuer:
		return false
	}
	return true
}

type startedHandler struct {
	app *App
	ctx caddy.Context
}

// Handle implements caddyevents.Handler.
func (h startedHandler) Handle(_ context.Context, _ caddy.Event) error {
	host := h.app.Hostname
	if h.app.wantsRSA {
		rsa, err := legacyrsa.New(h.ctx, h.app.tlsApp, host, h.app.logger)
		if err != nil {
			h.app.logger.Error("managing the RSA certificate", zap.String("hostname", host), zap.Error(err))
		}
		h.app.legacyRSA.Store(rsa)
	}
	if h.app.tlsApp.HasCertificateForSubject(host) {
		return nil
	}
	if err := h.app.tlsApp.Manage(map[string]struct{}{host: {}}); err != nil {
		h.app.logger.Error("managing the certificate", zap.String("hostname", host), zap.Error(err))
	}
	return nil
}

// Interface guards
var _ caddyevents.Handler = startedHandler{}
