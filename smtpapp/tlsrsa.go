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
	"crypto/tls"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// legacyRSAPrefix is where the storage keeps the RSA certificates of legacy
// servers: Caddy's own place has room for one certificate of a name.
const legacyRSAPrefix = "smtp/legacy_rsa"

// legacyRSA has an RSA certificate for the hostname, beside Caddy's, whose keys
// are ECDSA unless the configuration says otherwise: devices from before 2010
// know RSA only.
type legacyRSA struct {
	cache *certmagic.Cache
	magic *certmagic.Config
}

// newLegacyRSA obtains the certificate from the issuers of the hostname's
// other one, and keeps it renewed until stop. It returns nil where the operator
// sees to the hostname's certificates, whom we don't second-guess.
func newLegacyRSA(ctx caddy.Context, tlsApp *caddytls.TLS, host string, logger *zap.Logger) (*legacyRSA, error) {
	issuers, own, err := hostIssuers(ctx, tlsApp, host)
	if err != nil {
		return nil, err
	}
	if tlsApp.HasCertificateForSubject(host) && !hasManaged(ctx, issuers, host) {
		issuers = nil
	}
	if len(issuers) == 0 {
		logger.Info("legacy_tls: the hostname's certificate is the operator's; devices that know RSA only need an RSA key there",
			zap.String("hostname", host))
		return nil, nil
	}
	r := new(legacyRSA)
	r.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return r.magic, nil },
		Logger:           logger,
	})
	r.magic = certmagic.New(r.cache, certmagic.Config{
		Issuers:            issuers,
		Storage:            prefixed{ctx.Storage(), legacyRSAPrefix + "/"},
		KeySource:          certmagic.StandardKeyGenerator{KeyType: certmagic.RSA2048},
		DefaultServerName:  host,
		FallbackServerName: host,
		Logger:             logger,
	})
	if own {
		// With the ordinary storage, where the other instances of a
		// cluster look for the challenges to answer.
		solving := certmagic.New(r.cache, certmagic.Config{Storage: ctx.Storage(), Logger: logger})
		for _, issuer := range issuers {
			if s, ok := issuer.(caddytls.ConfigSetter); ok {
				s.SetConfig(solving)
			}
		}
	}
	if err := r.magic.ManageAsync(ctx, []string{host}); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

// hostIssuers returns the issuers that Caddy would ask for a name. It reports
// whether they are made here, not those of a policy.
func hostIssuers(ctx caddy.Context, tlsApp *caddytls.TLS, host string) (issuers []certmagic.Issuer, own bool, err error) {
	if tlsApp.Automation != nil {
		for _, ap := range tlsApp.Automation.Policies {
			matches := len(ap.Subjects()) == 0
			for _, s := range ap.Subjects() {
				matches = matches || certmagic.MatchWildcard(host, s)
			}
			switch {
			case !matches:
				continue
			case len(ap.Issuers) > 0 || len(ap.Managers) > 0:
				return ap.Issuers, false, nil
			}
			break
		}
	}
	issuers, err = caddytls.DefaultIssuersProvisioned(ctx)
	return issuers, true, err
}

// hasManaged reports whether Caddy has a certificate for the name from one of
// the issuers.
func hasManaged(ctx caddy.Context, issuers []certmagic.Issuer, host string) bool {
	for _, issuer := range issuers {
		if ctx.Storage().Exists(ctx, certmagic.StorageKeys.SiteCert(issuer.IssuerKey(), host)) {
			return true
		}
	}
	return false
}

func (r *legacyRSA) stop() { r.cache.Stop() }

// preferring returns a tls.Config.GetCertificate that takes the RSA certificate
// where the client can't use the ordinary one.
func (a *App) preferring(ordinary func(*tls.ClientHelloInfo) (*tls.Certificate, error)) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := ordinary(hello)
		if err == nil && usable(hello, cert) {
			return cert, nil
		}
		if r := a.legacyRSA.Load(); r != nil {
			if rsa, rsaErr := r.magic.GetCertificateWithContext(hello.Context(), hello); rsaErr == nil && usable(hello, rsa) {
				return rsa, nil
			}
		}
		return cert, err
	}
}

// usable reports whether the client knows how to use a certificate with such a
// key. Whether it is for the right name is the client's to judge: many devices
// are set up with an address, or with another name.
func usable(hello *tls.ClientHelloInfo, cert *tls.Certificate) bool {
	nameless := *hello
	nameless.ServerName = ""
	return nameless.SupportsCertificate(cert) == nil
}

// prefixed is a part of a storage.
type prefixed struct {
	certmagic.Storage
	prefix string
}

// Lock implements certmagic.Locker.
func (p prefixed) Lock(ctx context.Context, name string) error {
	return p.Storage.Lock(ctx, p.prefix+name)
}

// Unlock implements certmagic.Locker.
func (p prefixed) Unlock(ctx context.Context, name string) error {
	return p.Storage.Unlock(ctx, p.prefix+name)
}

// Store implements certmagic.Storage.
func (p prefixed) Store(ctx context.Context, key string, value []byte) error {
	return p.Storage.Store(ctx, p.prefix+key, value)
}

// Load implements certmagic.Storage.
func (p prefixed) Load(ctx context.Context, key string) ([]byte, error) {
	return p.Storage.Load(ctx, p.prefix+key)
}

// Delete implements certmagic.Storage.
func (p prefixed) Delete(ctx context.Context, key string) error {
	return p.Storage.Delete(ctx, p.prefix+key)
}

// Exists implements certmagic.Storage.
func (p prefixed) Exists(ctx context.Context, key string) bool {
	return p.Storage.Exists(ctx, p.prefix+key)
}

// List implements certmagic.Storage.
func (p prefixed) List(ctx context.Context, dir string, recursive bool) ([]string, error) {
	keys, err := p.Storage.List(ctx, p.prefix+dir, recursive)
	for i, key := range keys {
		keys[i] = strings.TrimPrefix(key, p.prefix)
	}
	return keys, err
}

// Stat implements certmagic.Storage.
func (p prefixed) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	info, err := p.Storage.Stat(ctx, p.prefix+key)
	info.Key = strings.TrimPrefix(info.Key, p.prefix)
	return info, err
}

// Interface guards
var _ certmagic.Storage = prefixed{}
