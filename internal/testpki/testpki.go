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

// Package testpki makes certificates for tests, for the benchmark and for the
// sandbox provider: an authority, what it issues, and what signs itself.
// Nothing in the gateway imports it.
package testpki

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
	"path/filepath"
	"time"
)

// Leaf says what a certificate is for. The zero value is a certificate without
// a name that is valid from an hour ago until two days from now.
type Leaf struct {
	// CommonName is the subject. Default: the first of Names.
	CommonName string
	// Names are DNS names and IP addresses.
	Names []string
	// Emails are mail addresses, of certificates that clients log in with.
	Emails []string
	// Key is the certificate's key. Default: a new one, ECDSA P-256.
	Key crypto.Signer
	// NotAfter is the certificate's end. Default: in two days.
	NotAfter time.Time
	// Trusted makes one that signs itself its own authority, for clients that
	// take it as a root.
	Trusted bool
}

// An Authority issues certificates.
type Authority struct {
	// Cert is the authority's own certificate.
	Cert *x509.Certificate

	key   crypto.Signer
	chain [][]byte // of an intermediate one: what stands behind its certificates
}

// NewAuthority makes an authority.
func NewAuthority(name string) *Authority {
	key := newKey()
	tmpl := template(Leaf{CommonName: name})
	tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
	tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return &Authority{Cert: sign(tmpl, tmpl, key.Public(), key), key: key}
}

// Intermediate makes an authority that this one vouches for. Its certificate is
// part of the chain of those that it issues, as with public authorities.
func (a *Authority) Intermediate(l Leaf) *Authority {
	if l.Key == nil {
		l.Key = newKey()
	}
	tmpl := template(l)
	tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
	tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	cert := sign(tmpl, a.Cert, l.Key.Public(), a.key)
	return &Authority{Cert: cert, key: l.Key, chain: append([][]byte{cert.Raw}, a.chain...)}
}

// Issue makes a certificate that servers and clients can use. A root's own
// certificate is not part of the chain.
func (a *Authority) Issue(l Leaf) tls.Certificate {
	if l.Key == nil {
		l.Key = newKey()
	}
	cert := sign(template(l), a.Cert, l.Key.Public(), a.key)
	return tls.Certificate{Certificate: append([][]byte{cert.Raw}, a.chain...), PrivateKey: l.Key, Leaf: cert}
}

// Pool returns the roots of a client that trusts the authority.
func (a *Authority) Pool() *x509.CertPool { return pool(a.Cert) }

// Write stores the authority's certificate as dir/ca.pem.
func (a *Authority) Write(dir string) (file string, err error) {
	file = filepath.Join(dir, "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Cert.Raw})
	return file, os.WriteFile(file, b, 0o644) //nolint:gosec // a certificate is public
}

// SelfSigned makes a certificate that signs itself.
func SelfSigned(l Leaf) tls.Certificate {
	if l.Key == nil {
		l.Key = newKey()
	}
	tmpl := template(l)
	if l.Trusted {
		tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
		tmpl.KeyUsage |= x509.KeyUsageCertSign
	}
	cert := sign(tmpl, tmpl, l.Key.Public(), l.Key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: l.Key, Leaf: cert}
}

// Trust returns the roots of a client that trusts just this certificate.
func Trust(c tls.Certificate) *x509.CertPool { return pool(c.Leaf) }

// PEM returns the chain and the private key (PKCS #8) in PEM.
func PEM(c tls.Certificate) (cert, key []byte) {
	for _, der := range c.Certificate {
		cert = append(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	must(err)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Write stores the chain as dir/cert.pem and the key as dir/key.pem.
func Write(dir string, c tls.Certificate) (certFile, keyFile string, err error) {
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	cert, key := PEM(c)
	if err := os.WriteFile(certFile, cert, 0o644); err != nil { //nolint:gosec // a certificate is public
		return "", "", err
	}
	return certFile, keyFile, os.WriteFile(keyFile, key, 0o600)
}

func template(l Leaf) *x509.Certificate {
	// 64 bits, as browsers and OpenSSL want serial numbers unique for an issuer.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	must(err)
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: l.CommonName},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.Add(48 * time.Hour),
		// RSA keys of clients that know nothing newer encipher.
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if !l.NotAfter.IsZero() {
		tmpl.NotAfter = l.NotAfter
		if tmpl.NotAfter.Before(tmpl.NotBefore) {
			tmpl.NotBefore = l.NotAfter.Add(-24 * time.Hour)
		}
	}
	tmpl.EmailAddresses = l.Emails
	for _, name := range l.Names {
		if ip := net.ParseIP(name); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, name)
		}
	}
	if tmpl.Subject.CommonName == "" && len(l.Names) > 0 {
		tmpl.Subject.CommonName = l.Names[0]
	}
	return tmpl
}

func sign(tmpl, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, public, key)
	must(err)
	cert, err := x509.ParseCertificate(der)
	must(err)
	return cert
}

func newKey() crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	return key
}

func pool(cert *x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(cert)
	return p
}

// must is for what fails only if the caller asks for the impossible.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("testpki: %v", err))
	}
}
