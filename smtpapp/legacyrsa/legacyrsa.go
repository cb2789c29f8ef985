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

package legacyrsa

import (
	"crypto/tls"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// storagePrefix is where the storage keeps the RSA certificates of legacy
// servers: Caddy's own place has room for one certificate of a name.
const storagePrefix = "smtp/legacy_rsa"

// Certificate is the RSA certificate.
type Certificate struct {
	cache *certmagic.Cache
	magic *certmagic.Config
}

// New obtains the certificate from the issuers of the hostname's
// other one, and keeps it renewed until Stop. It returns nil where the operator
// sees to the hostname's certificates, whom we don't second-guess.
func New(ctx caddy.Context, tlsApp *caddytls.TLS, host string, logger *zap.Logger) (*Certificate, error) {
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
	r := new(Certificate)
	r.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return r.magic, nil },
		Logger:           logger,
	})
	r.magic = certmagic.New(r.cache, certmagic.Config{
		Issuers:            issuers,
		Storage:            prefixed{ctx.Storage(), storagePrefix + "/"},
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
		r.Stop()
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

// Stop ends its renewal.
func (r *Certificate) Stop() { r.cache.Stop() }

// Obtained reports whether there is one for the name by now.
func (r *Certificate) Obtained(host string) bool {
	return len(r.cache.AllMatchingCertificates(host)) > 0
}

// Preferring returns a tls.Config.GetCertificate that takes the RSA certificate, if
// there is one at the time, where the client can't use the ordinary one.
func Preferring(current func() *Certificate, ordinary func(*tls.ClientHelloInfo) (*tls.Certificate, error)) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := ordinary(hello)
		if err == nil && usable(hello, cert) {
			return cert, nil
		}
		if r := current(); r != nil {
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
