// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//	http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package interop

import (
	"bytes"
	"fmt"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The small MTAs of Debian, of which it installs one at a time: they are
// unpacked beside each other. Their paths are compiled into them, so each runs
// in a mount namespace of its own with another /etc, and its directories empty.

// TestMTAs lets small MTAs relay through gateways in front of providers that
// announce less than others.
func TestMTAs(t *testing.T) {
	mtaRoot(t)
	libraryTable(t, "mta@example.com", []mailLibrary{
		{name: "OpenSMTPD", send: openSMTPD},
		{name: "sendmail", send: sendmail},
		{name: "dma", send: dma},
	})
}

// mtaRoot is where the packages were unpacked.
func mtaRoot(t *testing.T) string {
	t.Helper()
	need(t, "unshare", "mount", "m4")
	dir := os.Getenv("MAILGATEWAY_MTAS")
	if _, err := os.Stat(filepath.Join(dir, "usr/sbin/smtpd")); dir == "" || err != nil {
		t.Fatalf("MAILGATEWAY_MTAS names no directory with OpenSMTPD, sendmail and dma: %v (see interop/README.md)", err)
	}
	if os.Getuid() != 0 {
		t.Fatal("only root has mount namespaces")
	}
	return dir
}

// inside is a command of the unpacked packages with files in its /etc.
func inside(t *testing.T, etc map[string]string, program string, args ...string) *exec.Cmd {
	t.Helper()
	root, dir, room := mtaRoot(t), t.TempDir(), publicDir(t)
	for name, content := range etc {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("unshare", append([]string{"--mount", "--uts", "sh", "clients/enter.sh", filepath.Join(root, program)}, args...)...)
	cmd.Env = append(os.Environ(), "ETC="+dir, "ROOM="+room, "LD_LIBRARY_PATH="+filepath.Join(root, "usr/lib/x86_64-linux-gnu"), "LC_ALL=C.UTF-8")
	return cmd
}

// letter is a message as it is given to a sendmail program.
func letter(env map[string]string) string {
	return fmt.Sprintf("From: <%s>\nTo: <%s>\nSubject: %s\n\n%s\n", env["SMTP_FROM"], env["SMTP_TO"], env["SMTP_SUBJECT"], env["SMTP_TEXT"])
}

// dma is DragonFly's, which delivers while its caller waits if it is told to.
func dma(t *testing.T, _ *gateway, env map[string]string) error {
	cmd := inside(t, map[string]string{
		"dma/dma.conf":  fmt.Sprintf("SMARTHOST localhost\nPORT %s\nAUTHPATH /etc/dma/auth.conf\nSECURETRANSFER\nSTARTTLS\nMAILNAME client.test\n", env["SMTP_PORT"]),
		"dma/auth.conf": fmt.Sprintf("%s|localhost:%s\n", env["SMTP_USER"], env["SMTP_PASSWORD"]),
	}, "usr/sbin/dma", "-D", "-f", env["SMTP_FROM"], env["SMTP_TO"])
	cmd.Stdin = strings.NewReader(letter(env))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// sendmail delivers while its caller waits (-odi), and mails a report to the
// sender where that fails.
func sendmail(t *testing.T, g *gateway, env map[string]string) error {
	root := mtaRoot(t)
	mc, err := os.ReadFile("clients/sendmail.mc")
	if err != nil {
		return err
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "sendmail.mc")
	if err := os.WriteFile(file, bytes.ReplaceAll(mc, []byte("587"), []byte(env["SMTP_PORT"])), 0o600); err != nil {
		return err
	}
	libraries := "LD_LIBRARY_PATH=" + filepath.Join(root, "usr/lib/x86_64-linux-gnu")
	cf := filepath.Join(root, "usr/share/sendmail/cf")
	conf := succeed(t, nil, "m4", "-D_CF_DIR_="+cf+"/", filepath.Join(cf, "m4/cf.m4"), file)
	info := fmt.Sprintf("AuthInfo: \"U:%s\" \"I:%s\" \"P:%s\" \"M:PLAIN\"\n", env["SMTP_USER"], env["SMTP_USER"], env["SMTP_PASSWORD"])
	if err := os.WriteFile(filepath.Join(dir, "sendmail.cf"), []byte(conf), 0o600); err != nil {
		return err
	}
	succeed(t, []byte(info), "env", libraries, filepath.Join(root, "usr/libexec/sendmail/makemap"),
		"-C", filepath.Join(dir, "sendmail.cf"), "hash", filepath.Join(dir, "authinfo"))
	db, err := os.ReadFile(filepath.Join(dir, "authinfo.db"))
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(g.pki.caFile)
	if err != nil {
		return err
	}
	cmd := inside(t, map[string]string{"mail/sendmail.cf": conf, "mail/authinfo.db": string(db), "mail/ca.pem": string(ca), "mail/service.switch": "hosts files\n"},
		"usr/libexec/sendmail/sendmail", "-Am", "-odi", "-i", "-v", "-f", env["SMTP_FROM"], env["SMTP_TO"])
	cmd.Stdin = strings.NewReader(letter(env))
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte(" Ok: kept as ")) {
		return fmt.Errorf("sendmail: %v\n%s", err, out)
	}
	return nil
}

// openSMTPD is given the message by SMTP, and sends it from its queue.
func openSMTPD(t *testing.T, g *gateway, env map[string]string) error {
	ca, err := os.ReadFile(g.pki.caFile)
	if err != nil {
		return err
	}
	addr := freeAddrs(t, 1)[0]
	p := start(t, inside(t, map[string]string{
		"smtpd.conf": fmt.Sprintf("table secrets file:/etc/mail/secrets\nlisten on 127.0.0.1 port %s\n"+
			"action gateway relay host smtp+tls://gateway@localhost:%s auth <secrets>\nmatch from any for any action gateway\n", port(addr), env["SMTP_PORT"]),
		"mail/secrets":                  fmt.Sprintf("gateway %s:%s\n", env["SMTP_USER"], env["SMTP_PASSWORD"]),
		"ssl/certs/ca-certificates.crt": string(ca),
	}, "usr/sbin/smtpd", "-d"))
	defer p.stop()
	p.waitListening(addr)
	if err := smtp.SendMail(addr, nil, env["SMTP_FROM"], []string{env["SMTP_TO"]}, []byte(strings.ReplaceAll(letter(env), "\n", "\r\n"))); err != nil {
		return err
	}
	var ok bool
	p.waitOutputFunc("a delivery", func(s string) bool {
		_, delivery, found := strings.Cut(s, " mta delivery ")
		ok = strings.Contains(delivery, `result="Ok"`)
		return found && strings.Contains(delivery, "\n")
	})
	if !ok {
		return fmt.Errorf("OpenSMTPD: %s", tail(p.out.String(), 10))
	}
	return nil
}
