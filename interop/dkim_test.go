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

package interop

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/smtp"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
)

// TestDKIM signs with one implementation, sends, and verifies what the
// provider received with the other: straight, and through Postfix.
func TestDKIM(t *testing.T) {
	need(t, python, "postfix")
	const login = "dkim@example.com"
	const domain, selector = "example.com", "interop"
	g := startGateway(t, gatewayOptions{}, login)
	_, mta := startPostfix(t, g, login)

	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	record := "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(pub)
	dir := t.TempDir()
	keyFile, recordFile := filepath.Join(dir, "key.pem"), filepath.Join(dir, "record")
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	for name, b := range map[string][]byte{keyFile: keyPEM, recordFile: []byte(record)} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	signWith := map[string]func(t *testing.T, msg []byte, canon string) []byte{
		"go-msgauth": func(t *testing.T, msg []byte, canon string) []byte {
			c := dkim.Canonicalization(strings.Split(canon, "/")[0])
			var out bytes.Buffer
			err := dkim.Sign(&out, bytes.NewReader(msg), &dkim.SignOptions{
				Domain: domain, Selector: selector, Signer: key, HeaderCanonicalization: c, BodyCanonicalization: c,
			})
			if err != nil {
				t.Fatal(err)
			}
			return out.Bytes()
		},
		"dkimpy": func(t *testing.T, msg []byte, canon string) []byte {
			sig := succeed(t, msg, python, "dkim_tool.py", "sign", selector, domain, keyFile, canon)
			return append([]byte(sig), msg...)
		},
	}
	verifyWith := map[string]func(t *testing.T, msg []byte) error{
		"go-msgauth": func(t *testing.T, msg []byte) error {
			list, err := dkim.VerifyWithOptions(bytes.NewReader(msg), &dkim.VerifyOptions{
				LookupTXT: func(name string) ([]string, error) {
					if name != selector+"._domainkey."+domain {
						return nil, fmt.Errorf("unexpected lookup of %s", name)
					}
					return []string{record}, nil
				},
			})
			if err != nil {
				return err
			}
			if len(list) != 1 {
				return fmt.Errorf("%d signatures, want 1", len(list))
			}
			return list[0].Err
		},
		"dkimpy": func(t *testing.T, msg []byte) error {
			out, err := command(t, msg, python, "dkim_tool.py", "verify", selector, domain, recordFile)
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		},
	}
	port, err := strconv.Atoi(port(g.starttls))
	if err != nil {
		t.Fatal(err)
	}
	send := map[string]func(t *testing.T, msg []byte){
		"straight": func(t *testing.T, msg []byte) {
			runSMTPLib(t, smtplibJob{
				CAFile: g.pki.caFile, Port: port, TLS: "starttls", User: login, Password: password, Mechanism: "PLAIN", InitialResponse: true,
				Messages: []smtplibMessage{{From: login, To: []string{"one@example.net"}, Data: msg, MailOptions: []string{"BODY=8BITMIME"}}},
			})
		},
		"postfix": func(t *testing.T, msg []byte) {
			if err := smtp.SendMail(mta, nil, login, []string{"one@example.net"}, msg); err != nil {
				t.Fatal(err)
			}
		},
	}

	n := 0
	for path, send := range send {
		for signer, sign := range signWith {
			for _, canon := range []string{"simple/simple", "relaxed/relaxed"} {
				t.Run(path+"/"+signer+"/"+strings.Split(canon, "/")[0], func(t *testing.T) {
					body := []byte("Grüße, with trailing space \r\n.\r\n..dots\r\n\tand  runs   of    space\r\n\r\n\r\n")
					msg := sign(t, message(fmt.Sprintf("dkim%d", n), login, "one@example.net", body), canon)
					for name, verify := range verifyWith {
						if err := verify(t, msg); err != nil {
							t.Fatalf("%s does not verify it even before the trip: %v", name, err)
						}
					}
					send(t, msg)
					n++
					received := g.sandbox.body(g.sandbox.waitMessages(mailboxOf(login), n)[n-1].ID)
					for name, verify := range verifyWith {
						if err := verify(t, received); err != nil {
							t.Errorf("%s after the trip: %v", name, err)
						}
					}
					// The check itself can fail.
					broken := bytes.Replace(received, []byte("dots"), []byte("Dots"), 1)
					for name, verify := range verifyWith {
						if verify(t, broken) == nil {
							t.Errorf("%s verifies a changed message", name)
						}
					}
				})
			}
		}
	}
}
