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

	"github.com/caddymail/mailgateway/bench/sink"
	"github.com/caddymail/mailgateway/internal/testpki"
)

// serverName is the name in the certificate of sink and gateway.
const serverName = sink.Name

// pki is the authority of one run and a certificate for serverName.
type pki struct{ ca, cert, key string }

// newPKI writes an authority and a server certificate (ECDSA P-256, as public
// providers mostly have) into dir. Its chain is as large as theirs, 3 KB, since a
// client keeps it for as long as the connection lasts: another authority stands
// between, and the certificate names many hosts.
func newPKI(dir string) (p pki, err error) {
	ca := testpki.NewAuthority("mailgateway bench authority")
	if p.ca, err = ca.Write(dir); err != nil {
		return p, err
	}
	names := []string{serverName, "127.0.0.1"}
	for i := range 64 {
		names = append(names, fmt.Sprintf("smtp-%d.region.bench.test", i))
	}
	issuer := ca.Intermediate(testpki.Leaf{CommonName: "mailgateway bench intermediate"})
	p.cert, p.key, err = testpki.Write(dir, issuer.Issue(testpki.Leaf{Names: names}))
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
