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

package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/caddymail/mailgateway/internal/testpki"
)

// serverName is the name in the certificate of sink and gateway.
const serverName = "localhost"

// pki is the authority of one run and a certificate for serverName.
type pki struct{ ca, cert, key string }

// newPKI writes an authority and a server certificate (ECDSA P-256, as public
// providers mostly have) into dir.
func newPKI(dir string) (p pki, err error) {
	ca := testpki.NewAuthority("mailgateway bench authority")
	if p.ca, err = ca.Write(dir); err != nil {
		return p, err
	}
	p.cert, p.key, err = testpki.Write(dir, ca.Issue(testpki.Leaf{Names: []string{serverName, "127.0.0.1"}}))
	return p, err
}

// clientTLS trusts the authority in caFile.
func clientTLS(caFile string) (*tls.Config, error) {
	b, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("no certificate in %s", caFile)
	}
	return &tls.Config{
		RootCAs: pool, ServerName: serverName, MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true,
		// As the gateway does it towards the provider.
		ClientSessionCache: tls.NewLRUClientSessionCache(64),
	}, nil
}

// serverTLS presents the certificate.
func serverTLS(cert, key string) (*tls.Config, error) {
	c, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true}, nil
}
