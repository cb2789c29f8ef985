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
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"software.sslmate.com/src/go-pkcs12"
)

// certificate returns a certificate of a key, in DER.
func certificate(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(2_000_000_000, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func pkcs8(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return block("PRIVATE KEY", der)
}

func rsaKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// checked verifies an assertion as a server does, and returns its claims.
func checked(t testing.TB, token string, alg jose.SignatureAlgorithm, public crypto.PublicKey) map[string]any {
	t.Helper()
	sig, err := jose.ParseSigned(token, []jose.SignatureAlgorithm{alg})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := sig.Verify(public)
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// TestCertificate reads each kind of key in each form, and has a server's library
// check what it signs.
func TestCertificate(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for name, tc := range map[string]struct {
		key      crypto.Signer
		alg, pss jose.SignatureAlgorithm
	}{
		"RSA":   {rsaKey(t), jose.RS256, jose.PS256},
		"P-256": {ecKey(t, elliptic.P256()), jose.ES256, jose.ES256},
		"P-384": {ecKey(t, elliptic.P384()), jose.ES384, jose.ES384},
		"P-521": {ecKey(t, elliptic.P521()), jose.ES512, jose.ES512},
	} {
		t.Run(name, func(t *testing.T) {
			der := certificate(t, tc.key)
			parsed, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			p12, err := pkcs12.Modern.Encode(tc.key, parsed, nil, "open sesame")
			if err != nil {
				t.Fatal(err)
			}
			old := pkcs8(t, tc.key)
			switch k := tc.key.(type) {
			case *rsa.PrivateKey:
				old = block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k))
			case *ecdsa.PrivateKey:
				b, err := x509.MarshalECPrivateKey(k)
				if err != nil {
					t.Fatal(err)
				}
				old = append(block("EC PARAMETERS", []byte{5, 0}), block("EC PRIVATE KEY", b)...)
			}
			cert := block("CERTIFICATE", der)
			for form, in := range map[string][2][]byte{
				"two files": {cert, pkcs8(t, tc.key)},
				"one file":  {append(pkcs8(t, tc.key), cert...), nil},
				"old form":  {cert, old},
				"PKCS#12":   {p12, nil},
			} {
				c, err := ParseCertificate(in[0], in[1], "open sesame")
				if err != nil {
					t.Errorf("%s: %v", form, err)
					continue
				}
				if !c.NotAfter.Equal(parsed.NotAfter) {
					t.Errorf("%s: it ends at %s", form, c.NotAfter)
				}
				for pss, alg := range map[bool]jose.SignatureAlgorithm{false: tc.alg, true: tc.pss} {
					token, err := c.Assertion("client", "https://as.example/token", pss, now)
					if err != nil {
						t.Fatal(err)
					}
					claims := checked(t, token, alg, tc.key.Public())
					if claims["iss"] != "client" || claims["sub"] != "client" || claims["aud"] != "https://as.example/token" ||
						claims["exp"] != float64(now.Add(life).Unix()) || claims["jti"] == "" {
						t.Errorf("%s: %v", form, claims)
					}
				}
			}
		})
	}
}

// TestRefusedCertificates: what is wrong is said with the option it is from, and
// without a word of the key.
func TestRefusedCertificates(t *testing.T) {
	key, other := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P256())
	cert := block("CERTIFICATE", certificate(t, key))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(certificate(t, key))
	if err != nil {
		t.Fatal(err)
	}
	p12, err := pkcs12.Modern.Encode(key, parsed, nil, "right")
	if err != nil {
		t.Fatal(err)
	}
	for want, in := range map[string][2][]byte{
		"client_certificate: the key does not belong to the certificate": {cert, pkcs8(t, other)},
		"client_certificate: neither PEM nor readable PKCS#12":           {[]byte("hello"), nil},
		"client_certificate: neither PEM nor readable PKCS#12: pkcs12":   {p12, nil},
		"client_certificate: no certificate in the PEM file":             {pkcs8(t, key), nil},
		"client_key: no private key in the PEM file":                     {cert, nil},
		"client_key: no private key in the PEM file ":                    {cert, []byte{}},
		"client_key: encrypted PEM keys are not supported":               {cert, block("ENCRYPTED PRIVATE KEY", []byte("x"))},
		"client_key: a PKCS#12 file holds its own key":                   {p12, pkcs8(t, key)},
		"client_certificate: keys of type ed25519.PrivateKey":            {block("CERTIFICATE", certificate(t, ed)), pkcs8(t, ed)},
	} {
		_, err := ParseCertificate(in[0], in[1], "wrong")
		if err == nil || !strings.HasPrefix(err.Error()+" ", want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestServiceAccount reads Google's JSON, and has a server's library check what it
// signs.
func TestServiceAccount(t *testing.T) {
	key := rsaKey(t)
	whole, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "gw@example.iam.gserviceaccount.com", "private_key_id": "k1",
		"private_key": string(pkcs8(t, key)), "token_uri": "https://oauth2.example/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	sa, err := ParseServiceAccount(whole)
	if err != nil {
		t.Fatal(err)
	}
	if sa.Email != "gw@example.iam.gserviceaccount.com" || sa.TokenURI != "https://oauth2.example/token" || !sa.Signs() {
		t.Errorf("%+v", sa)
	}
	token, err := sa.Sign(map[string]any{"sub": "mailbox@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if claims := checked(t, token, jose.RS256, key.Public()); claims["sub"] != "mailbox@example.com" {
		t.Errorf("%v", claims)
	}
	if (&ServiceAccount{Email: "remote@example.com"}).Signs() {
		t.Error("one without a key signs")
	}
	for in, want := range map[string]string{
		`{`:                          "not a JSON file",
		`{"type":"authorized_user"}`: "not a service account's key",
		`{"type":"service_account","client_email":"a@b","private_key":"x"}`: "private_key: no private key",
	} {
		if _, err := ParseServiceAccount([]byte(in)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}

// FuzzKeys: whatever is taken can sign, and what it signs is checked by its own key.
func FuzzKeys(f *testing.F) {
	key := ecKey(f, elliptic.P256())
	cert := block("CERTIFICATE", certificate(f, key))
	f.Add(append(pkcs8(f, key), cert...), "")
	f.Add(cert, "")
	f.Add(block("ENCRYPTED PRIVATE KEY", []byte("x")), "secret")
	f.Add([]byte(`{"type":"service_account","client_email":"a@b","private_key":"x"}`), "")
	f.Fuzz(func(t *testing.T, b []byte, password string) {
		if sa, err := ParseServiceAccount(b); err == nil {
			if _, err := sa.Sign(map[string]any{"sub": "x"}); err != nil {
				t.Errorf("it was taken and does not sign: %v", err)
			}
		}
		// How long the key of a PKCS#12 file takes to derive stands in the file, which
		// is the operator's own.
		if len(b) > 0 && b[0] == 0x30 {
			return
		}
		c, err := ParseCertificate(b, nil, password)
		if err != nil {
			return
		}
		if _, err := c.Assertion("client", "audience", false, time.Unix(1, 0)); err != nil {
			t.Errorf("it was taken and does not sign: %v", err)
		}
	})
}
