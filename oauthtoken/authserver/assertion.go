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
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"
	"software.sslmate.com/src/go-pkcs12"
)

// assertionLife is short: an assertion is used once, at once.
const assertionLife = 5 * time.Minute

// clientCert signs client assertions (private_key_jwt, RFC 7523 section 2.2,
// OpenID Connect Core section 9).
type clientCert struct {
	signer   jose.Signer
	pss      jose.Signer // of an RSA key
	notAfter time.Time
}

// loadClientCert reads a certificate and its key, PEM or PKCS#12.
func loadClientCert(certPath, keyPath, password string) (*clientCert, error) {
	b, err := readBounded(certPath, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("client_certificate: %w", err)
	}
	var key crypto.PrivateKey
	var cert *x509.Certificate
	if bytes.Contains(b, []byte("-----BEGIN ")) {
		kb := b
		if keyPath != "" {
			if kb, err = readBounded(keyPath, 1<<20); err != nil {
				return nil, fmt.Errorf("client_key: %w", err)
			}
		}
		if cert, err = pemCert(b); err != nil {
			return nil, fmt.Errorf("client_certificate: %w", err)
		}
		if key, err = pemKey(kb); err != nil {
			return nil, fmt.Errorf("client_key: %w", err)
		}
	} else {
		if keyPath != "" {
			return nil, errors.New("client_key: a PKCS#12 file holds its own key")
		}
		if key, cert, _, err = pkcs12.DecodeChain(b, password); err != nil {
			return nil, fmt.Errorf("client_certificate: neither PEM nor readable PKCS#12: %w", err)
		}
	}
	return newClientCert(key, cert)
}

func newClientCert(key crypto.PrivateKey, cert *x509.Certificate) (*clientCert, error) {
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
	c := &clientCert{notAfter: cert.NotAfter}
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

// signatureAlg is RS256 for RSA, which every server knows, and what the curve
// says for EC.
func signatureAlg(key crypto.PrivateKey) (jose.SignatureAlgorithm, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return jose.RS256, nil
	case *ecdsa.PrivateKey:
		switch k.Curve {
		case elliptic.P256():
			return jose.ES256, nil
		case elliptic.P384():
			return jose.ES384, nil
		case elliptic.P521():
			return jose.ES512, nil
		}
	}
	return "", fmt.Errorf("keys of type %T are not supported", key)
}

func (c *clientCert) Assertion(clientID, audience string, pss bool, now time.Time) (string, error) {
	s := c.signer
	if pss && c.pss != nil {
		s = c.pss
	}
	return signClaims(s, map[string]any{
		"iss": clientID, "sub": clientID, "aud": audience, "jti": randomID(),
		"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(assertionLife).Unix(),
	})
}

func signClaims(s jose.Signer, claims map[string]any) (string, error) {
	b, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	jws, err := s.Sign(b)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

func randomID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func pemCert(b []byte) (*x509.Certificate, error) {
	for {
		var blk *pem.Block
		if blk, b = pem.Decode(b); blk == nil {
			return nil, errors.New("no certificate in the PEM file")
		}
		if blk.Type == "CERTIFICATE" {
			return x509.ParseCertificate(blk.Bytes)
		}
	}
}

func pemKey(b []byte) (crypto.PrivateKey, error) {
	for {
		var blk *pem.Block
		if blk, b = pem.Decode(b); blk == nil {
			return nil, errors.New("no private key in the PEM file")
		}
		switch blk.Type {
		case "PRIVATE KEY":
			return x509.ParsePKCS8PrivateKey(blk.Bytes)
		case "RSA PRIVATE KEY":
			return x509.ParsePKCS1PrivateKey(blk.Bytes)
		case "EC PRIVATE KEY":
			return x509.ParseECPrivateKey(blk.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("encrypted PEM keys are not supported; use PKCS#12 with client_certificate_password")
		}
	}
}

// readBounded reads a file that should be small.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, nil
}
