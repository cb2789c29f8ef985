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

package authserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/internal/outproxy"
)

// certPool is what guest modules in tls.ca_pool.source offer.
type certPool interface{ CertPool() *x509.CertPool }

// newClient makes the HTTP client for the provider's endpoints.
func (p *Provider) newClient(ctx caddy.Context) (*http.Client, error) {
	tc := &tls.Config{MinVersion: tls.VersionTLS12}
	if p.CARaw != nil {
		mod, err := ctx.LoadModule(p, "CARaw")
		if err != nil {
			return nil, fmt.Errorf("loading trust_pool module: %w", err)
		}
		ca, ok := mod.(certPool)
		if !ok {
			return nil, errors.New("trust_pool module is not a certificate pool")
		}
		tc.RootCAs = ca.CertPool()
	}
	proxy := http.ProxyFromEnvironment
	if p.NetworkProxyRaw != nil {
		if err := outproxy.Module(p.NetworkProxyRaw); err != nil {
			return nil, fmt.Errorf("network_proxy: %w", err)
		}
		mod, err := ctx.LoadModule(p, "NetworkProxyRaw")
		if err != nil {
			return nil, fmt.Errorf("loading network_proxy module: %w", err)
		}
		pr, ok := mod.(caddy.ProxyFuncProducer)
		if !ok {
			return nil, errors.New("network_proxy module has no proxy function")
		}
		proxy = pr.ProxyFunc()
	}
	t := &http.Transport{
		Proxy:                  proxy,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:        tc,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxConnsPerHost:        p.MaxParallel,
		MaxIdleConnsPerHost:    min(p.MaxParallel, 8),
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	}
	return &http.Client{
		Transport: t,
		// A redirected token request would carry its secrets elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// checkURL holds endpoints to https. Plain http is for loopback: tests, the
// sandbox, a local agent.
func checkURL(field, s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return fmt.Errorf("%s: malformed URL: it begins with https://, as in https://login.example.com/path", field)
	}
	if u.Fragment != "" {
		return fmt.Errorf("%s: what stands behind the # is never sent: take it away", field)
	}
	if u.User != nil {
		return fmt.Errorf("%s: credentials in the URL are not supported", field)
	}
	switch u.Scheme {
	case "https":
		return nil
	case "http":
		host := u.Hostname()
		if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
			return nil
		}
		return fmt.Errorf("%s: '%s' must be https; plain http is for loopback addresses only", field, u.Host)
	}
	return fmt.Errorf("%s: scheme '%s' is not supported", field, u.Scheme)
}

// get fetches a document.
func (p *Provider) get(ctx context.Context, url string) (int, []byte, *Error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, &Error{Description: Sanitize(err.Error()), Class: ClassTemporary}
	}
	status, _, body, rerr := p.do(req)
	return status, body, rerr
}
