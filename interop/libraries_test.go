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
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// providerShapes are what providers announce, as far as it differs: lines for
// the sandbox's block.
var providerShapes = []struct{ name, sandbox string }{
	{"Gmail, Microsoft", ""},
	{"Fastmail", "no_smtputf8"},
	{"Yahoo", "no_smtputf8\nno_8bitmime\nno_chunking"},
	{"Zoho", "no_smtputf8\nno_8bitmime\nno_chunking\nno_pipelining"},
}

// mailLibrary is how applications send.
type mailLibrary struct {
	name string
	// command is run with SMTP_HOST and so on in its environment; send is
	// called in its place.
	command []string
	send    func(t *testing.T, g *gateway, env map[string]string) error
	// declares is for libraries that leave 8-bit text as it is and say so in
	// MAIL, so that a provider without 8BITMIME cannot take it. What sends it
	// without a word is passed on, and the provider decides.
	declares bool
}

// TestLibraries lets applications' libraries send through gateways in front of
// providers that announce less than others: text of pure ASCII always arrives,
// whatever a library says about it in MAIL, and other text wherever the
// provider can take it as it is. docs/clients.md has the outcome.
func TestLibraries(t *testing.T) {
	need(t, "php", "ruby", "perl", "/usr/bin/python3", "java", "mutt", "s-nail")
	node := needNode(t, "emailjs")
	gomail := filepath.Join(t.TempDir(), "gomail")
	build := exec.Command("go", "build", "-o", gomail, ".")
	build.Dir = "gomail"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build in interop/gomail: %v\n%s", err, out)
	}
	// Compiled once: the single-file launcher compiles at each start.
	classes := t.TempDir()
	const jars = "/usr/share/java/jakarta.mail.jar:/usr/share/java/jakarta-mail.jar:/usr/share/java/jakarta-activation.jar"
	succeed(t, nil, "javac", "-cp", jars, "-d", classes, "clients/Mail.java")
	libraries := []mailLibrary{
		{name: "Go net/smtp", send: netSMTP, declares: true},
		{name: "go-mail", command: []string{gomail}},
		{name: "PHPMailer", command: []string{"php", "clients/phpmailer.php"}},
		{name: "Symfony Mailer", command: []string{"php", "clients/symfony.php"}},
		{name: "Jakarta Mail", command: []string{"java", "-cp", classes + ":" + jars, "Mail"}},
		{name: "Ruby Net::SMTP", command: []string{"ruby", "clients/smtp.rb"}},
		{name: "Perl Email::Sender", command: []string{"perl", "clients/sender.pl"}},
		{name: "Django", command: []string{"/usr/bin/python3", "clients/django_send.py"}},
		{name: "emailjs", command: []string{node, "emailjs/send.mjs"}},
		{name: "mutt", send: mutt, declares: true},
		{name: "s-nail", send: snail},
	}
	libraryTable(t, "library@example.com", libraries)
}

// libraryTable has each of them send to each kind of provider, and compares the
// outcome with its table in docs/clients.md.
func libraryTable(t *testing.T, user string, libraries []mailLibrary) {
	t.Helper()
	table := "| | " + strings.Join(shapeNames(), " | ") + " |\n|---" + strings.Repeat("|---", len(providerShapes)) + "|\n"
	cells := make([][]string, len(libraries))
	for _, shape := range providerShapes {
		t.Run(shape.name, func(t *testing.T) {
			g := startGateway(t, gatewayOptions{sandbox: shape.sandbox}, user)
			for i, lib := range libraries {
				cell := "both arrive"
				for kind, text := range map[string]string{"ascii": "Toner is low", "utf8": "Grüße aus Köln"} {
					fits := kind == "ascii" || !lib.declares || !strings.Contains(shape.sandbox, "no_8bitmime")
					if !fits {
						cell = "ASCII arrives, 8-bit text is refused"
					}
					g.libraryMessage(t, lib, user, strings.ReplaceAll(lib.name, " ", "-")+"-"+kind, text, fits)
				}
				cells[i] = append(cells[i], cell)
			}
		})
	}
	for i, lib := range libraries {
		table += "| " + lib.name + " | " + strings.Join(cells[i], " | ") + " |\n"
	}
	page, err := os.ReadFile("../docs/clients.md")
	if err != nil {
		t.Fatal(err)
	}
	if !t.Failed() && !bytes.Contains(page, []byte(table)) {
		t.Errorf("docs/clients.md lacks the table of this test:\n%s", table)
	}
}

func shapeNames() (names []string) {
	for _, s := range providerShapes {
		names = append(names, s.name)
	}
	return names
}

// libraryMessage sends one message and looks at what the provider has of it.
func (g *gateway) libraryMessage(t *testing.T, lib mailLibrary, user, subject, text string, fits bool) {
	t.Helper()
	const from, to = "sender@example.com", "one@example.net"
	env := map[string]string{
		"SMTP_PORT": port(g.starttls), "SMTP_CA": g.pki.caFile, "SMTP_USER": user, "SMTP_PASSWORD": password,
		"SMTP_FROM": from, "SMTP_TO": to, "SMTP_SUBJECT": subject, "SMTP_TEXT": text,
	}
	before := len(g.sandbox.messages(mailboxOf(user)))
	var err error
	if lib.send != nil {
		err = lib.send(t, g, env)
	} else {
		cmd := exec.Command(lib.command[0], lib.command[1:]...)
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
		for k, v := range env {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		var out []byte
		if out, err = cmd.CombinedOutput(); err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
	}
	got := g.sandbox.messages(mailboxOf(user))[before:]
	if !fits {
		if err == nil || len(got) != 0 {
			t.Errorf("%s, %s: %v and %d messages; want a refusal, since the provider cannot take it", lib.name, subject, err, len(got))
		}
		return
	}
	if err != nil || len(got) != 1 {
		t.Errorf("%s, %s: %v and %d messages at the provider, want one", lib.name, subject, err, len(got))
		return
	}
	m, err := mail.ReadMessage(bytes.NewReader(g.sandbox.body(got[0].ID)))
	if err != nil {
		t.Errorf("%s, %s: %v", lib.name, subject, err)
		return
	}
	body := decoded(t, m)
	if s, _ := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); s != subject || !strings.Contains(body, text) {
		t.Errorf("%s: subject %q and body %q, want %q and %q", lib.name, s, body, subject, text)
	}
}

// decoded is the text of a message without parts.
func decoded(t *testing.T, m *mail.Message) string {
	t.Helper()
	var r io.Reader = m.Body
	switch strings.ToLower(m.Header.Get("Content-Transfer-Encoding")) {
	case "quoted-printable":
		r = quotedprintable.NewReader(r)
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, r)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

func netSMTP(_ *testing.T, g *gateway, env map[string]string) error {
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(g.pki.caFile)
	if err != nil {
		return err
	}
	roots.AppendCertsFromPEM(ca)
	c, err := smtp.Dial(g.starttls)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.StartTLS(&tls.Config{RootCAs: roots, ServerName: "localhost"}); err != nil { //nolint:gosec // Go's default version
		return err
	}
	if err := c.Auth(smtp.PlainAuth("", env["SMTP_USER"], password, "127.0.0.1")); err != nil {
		return err
	}
	if err := c.Mail(env["SMTP_FROM"]); err != nil {
		return err
	}
	if err := c.Rcpt(env["SMTP_TO"]); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(message(env["SMTP_SUBJECT"], env["SMTP_FROM"], env["SMTP_TO"], []byte(env["SMTP_TEXT"]+"\r\n"))); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

func mutt(t *testing.T, g *gateway, env map[string]string) error {
	rc := filepath.Join(t.TempDir(), "muttrc")
	config := fmt.Sprintf(`set smtp_url="smtp://%s@localhost:%s/"
set smtp_pass="%s"
set smtp_authenticators="plain"
set ssl_force_tls=yes
set certificate_file="%s"
set from="%s"
set use_envelope_from=yes
set envelope_from_address="%s"
set copy=no
set record=""
set send_charset="utf-8"
set charset="utf-8"
`, strings.ReplaceAll(env["SMTP_USER"], "@", "%40"), env["SMTP_PORT"], password, g.pki.caFile, env["SMTP_FROM"], env["SMTP_FROM"])
	if err := os.WriteFile(rc, []byte(config), 0o600); err != nil {
		return err
	}
	return runMailer(t, env, "mutt", "-F", rc, "-n", "-s", env["SMTP_SUBJECT"], "--", env["SMTP_TO"])
}

func snail(t *testing.T, g *gateway, env map[string]string) error {
	return runMailer(t, env, "s-nail", "-:/", "-Sv15-compat", "-Sttycharset=utf-8", "-Ssendcharsets=utf-8",
		"-Smta=smtp://localhost:"+env["SMTP_PORT"], "-Ssmtp-use-starttls", "-Stls-ca-file="+g.pki.caFile, "-Stls-verify=strict",
		"-Ssmtp-auth=plain", "-Suser="+env["SMTP_USER"], "-Spassword="+password, "-Sfrom="+env["SMTP_FROM"],
		"-Shostname=client.test", "-s", env["SMTP_SUBJECT"], env["SMTP_TO"])
}

// runMailer runs a mail program with the text on its standard input.
func runMailer(t *testing.T, env map[string]string, name string, args ...string) error {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "LC_ALL=C.UTF-8")
	cmd.Stdin = strings.NewReader(env["SMTP_TEXT"] + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}
