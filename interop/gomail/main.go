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

// Command gomail sends one message with go-mail. It is a module of its own, so
// that the gateway's go.mod knows nothing of it.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"log"
	"os"
	"strconv"

	"github.com/wneessen/go-mail"
)

func main() {
	if err := send(); err != nil {
		log.Fatal(err)
	}
}

func send() error {
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(os.Getenv("SMTP_CA"))
	if err != nil {
		return err
	}
	roots.AppendCertsFromPEM(ca)
	port, err := strconv.Atoi(os.Getenv("SMTP_PORT"))
	if err != nil {
		return err
	}
	m := mail.NewMsg()
	if err := m.From(os.Getenv("SMTP_FROM")); err != nil {
		return err
	}
	if err := m.To(os.Getenv("SMTP_TO")); err != nil {
		return err
	}
	m.Subject(os.Getenv("SMTP_SUBJECT"))
	m.SetBodyString(mail.TypeTextPlain, os.Getenv("SMTP_TEXT"))
	c, err := mail.NewClient("localhost", mail.WithPort(port), mail.WithTLSPolicy(mail.TLSMandatory),
		mail.WithTLSConfig(&tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}),
		mail.WithSMTPAuth(mail.SMTPAuthPlain), mail.WithUsername(os.Getenv("SMTP_USER")), mail.WithPassword(os.Getenv("SMTP_PASSWORD")))
	if err != nil {
		return err
	}
	return c.DialAndSend(m)
}
