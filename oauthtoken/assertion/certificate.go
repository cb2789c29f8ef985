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

package assertion

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"software.sslmate.com/src/go-pkcs12"
)

// life is short: an assertion is used once, at once.
const life = 5 * time.Minute

// Certificate signs client assertions (private_key_jwt, RFC 7523 section 2.2,
// OpenID Connect Core section 9).
type Certificate struct {
	// NotAfter is when the certificate ends.
	NotAfter time.Time

	signer jose.Signer
	pss    jose.Signer // of an RSA key
}

// ParseCertificate reads a certificate and its key: PEM, the key in the same bytes if
// key is nil, or PKCS#12.
func ParseCertificate(certificate, key []byte, password string) (*Certificate, error) {
	var signs crypto.PrivateKey
	var cert *x509.Certificate
	var err error
	if bytes.Contains(certificate, []byte("-----BEGIN ")) {
		if key == nil {
			key = certificate
		}
		if cert, err = pemCert(certificate); err != nil {
			return nil, fmt.Errorf("client_certificate: %w", err)
		}
		if signs, err = pemKey(key); err != nil {
			return nil, fmt.Errorf("client_key: %w", err)
		}
	} else {
		if key != nil {
			return nil, errors.New("client_key: a PKCS#12 file holds its own key")
		}
		if signs, cert, _, err = pkcs12.DecodeChain(certificate, password); err != nil {
			return nil, fmt.Errorf("client_certificate: neither PEM nor readable PKCS#12: %w", err)
		}
	}
	return newCertificate(signs, cert)
}

func newCertificate(key crypto.PrivateKey, cert *x509.Certificate) (*Certificate, error) {
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("client_certificate: the key cannot sign")
	}
	if pub, ok := s.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(cert.PublicKey) {
		return nil, errors.New("client_certificate: the key does not belong to the certificate")
	}
	alg, err := signatureAlg(key)
	if err != nil {
		return nil, fmt.Errorf("client_certificate: %w", err)
	}
	sum := sha256.Sum256(cert.Raw)
	opts := new(jose.SignerOptions).WithType("JWT").
		WithHeader("x5t#S256", base64.RawURLEncoding.EncodeToString(sum[:]))
	c := &Certificate{NotAfter: cert.NotAfter}
	if c.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts); err != nil {
		return nil, fmt.Errorf("client_certificate: %w", err)
	}
	if alg == jose.RS256 {
		if c.pss, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.PS256, Key: key}, opts); err != nil {
			return nil, fmt.Errorf("client_certificate: %w", err)
		}
	}
	return c, nil
}

// Assertion says for an audience who the client is; pss: with RSA-PSS, where the key
// can.
func (c *Certificate) Assertion(clientID, audience string, pss bool, now time.Time) (string, error) {
	s := c.signer
	if pss && c.pss != nil {
		s = c.pss
	}
	return signClaims(s, map[string]any{
		"iss": clientID, "sub": clientID, "aud": audience, "jti": rand.Text(),
		"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(life).Unix(),
	})
}
