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

// Package certs is the sandbox's TLS side: one certificate that its clients trust, by an
// authority of its own or Caddy's, and one by an authority that nobody trusts. A leaf
// is renewed when it is asked for. The mutex is a leaf: nothing is called under it but
// the authority's signer.
package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"sync"
	"time"
)

// Signer gives the chain of the authority, leaf's issuer first, and the
// issuer's key.
type Signer func() (chain []*x509.Certificate, key crypto.Signer)

// Certificates are a sandbox's. The two configurations live as long as it does, so that
// session tickets survive reloads.
type Certificates struct {
	// Good is what servers ordinarily serve, Wrong what no client may accept.
	Good, Wrong *tls.Config

	mu   sync.Mutex
	sign Signer
	leaf *tls.Certificate
	till time.Time
}

const leafLifetime = 24 * time.Hour

// Init makes the first certificates; without a signer the authority is made too.
func (cs *Certificates) Init(sign Signer) error {
	if sign == nil {
		own, err := newAuthority("Sandbox Authority")
		if err != nil {
			return err
		}
		sign = own
	}
	cs.Use(sign)
	cs.Good = &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return cs.Current()
		},
	}
	foreign, err := newAuthority("Somebody Else's Authority")
	if err != nil {
		return err
	}
	bad, _, err := issue(foreign, "wrong.invalid")
	if err != nil {
		return err
	}
	cs.Wrong = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*bad}}
	_, err = cs.Current()
	return err
}

// Use changes the authority; certificates are issued by it from now on.
func (cs *Certificates) Use(sign Signer) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.sign = sign
	cs.leaf = nil
}

// Current is the certificate that servers ordinarily serve.
func (cs *Certificates) Current() (*tls.Certificate, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.leaf != nil && time.Until(cs.till) > leafLifetime/4 {
		return cs.leaf, nil
	}
	leaf, till, err := issue(cs.sign, "localhost", "127.0.0.1", "::1", "sandbox.localhost")
	if err != nil {
		return nil, err
	}
	cs.leaf, cs.till = leaf, till
	return leaf, nil
}

func (cs *Certificates) issuers() []*x509.Certificate {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	chain, _ := cs.sign()
	return chain
}

// Pool is what a client trusts.
func (cs *Certificates) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range cs.issuers() {
		pool.AddCert(c)
	}
	return pool
}

// CAPEM is the root's certificate.
func (cs *Certificates) CAPEM() []byte {
	chain := cs.issuers()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[len(chain)-1].Raw})
}

// WriteCA writes it to a file, if one is named.
func (cs *Certificates) WriteCA(file string) error {
	if file == "" {
		return nil
	}
	if err := os.WriteFile(file, cs.CAPEM(), 0o644); err != nil { //nolint:gosec // a certificate is public
		return fmt.Errorf("ca_file: %v", err)
	}
	return nil
}

func newAuthority(name string) (Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return func() ([]*x509.Certificate, crypto.Signer) { return []*x509.Certificate{cert}, key }, nil
}

func issue(sign Signer, names ...string) (*tls.Certificate, time.Time, error) {
	chain, issuerKey := sign()
	if len(chain) == 0 || issuerKey == nil {
		return nil, time.Time{}, fmt.Errorf("the certificate authority has no certificate")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, time.Time{}, err
	}
	till := time.Now().Add(leafLifetime)
	if till.After(chain[0].NotAfter) {
		till = chain[0].NotAfter
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: names[0]},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     till,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, chain[0], key.Public(), issuerKey)
	if err != nil {
		return nil, time.Time{}, err
	}
	cert := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	if cert.Leaf, err = x509.ParseCertificate(der); err != nil {
		return nil, time.Time{}, err
	}
	return cert, till, nil
}

func serial() *big.Int {
	n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // crypto/rand doesn't fail
	return n
}
