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

package command_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddymail/mailgateway/sandbox"
)

// terminal is a pseudo-terminal that a person sits at.
type terminal struct {
	t      *testing.T
	master *os.File
	output chan string
	seen   string // since the last answer
	all    string
}

func newTerminal(t *testing.T) (here *terminal, there *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no pseudo-terminals: ", err)
	}
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo-terminals: ", err)
	}
	here = &terminal{t: t, master: master, output: make(chan string, 1000)}
	go func() {
		defer close(here.output)
		for b := make([]byte, 4096); ; {
			n, err := master.Read(b)
			if n > 0 {
				here.output <- strings.ReplaceAll(string(b[:n]), "\r", "")
			}
			if err != nil {
				return // the other side has closed
			}
		}
	}()
	return here, slave
}

// await reads until the text since the last answer has what is awaited.
func (t *terminal) await(want *regexp.Regexp) string {
	t.t.Helper()
	late := time.After(90 * time.Second)
	for {
		if m := want.FindString(t.seen); m != "" {
			return m
		}
		select {
		case text, ok := <-t.output:
			if !ok {
				t.t.Fatalf("it ended before %q:\n%s", want, t.all)
			}
			t.seen, t.all = t.seen+text, t.all+text
		case <-late:
			t.t.Fatalf("%q did not come:\n%s", want, t.all)
		}
	}
}

// answer awaits a prompt and types.
func (t *terminal) answer(prompt, text string) {
	t.t.Helper()
	t.await(regexp.MustCompile(regexp.QuoteMeta(prompt) + `[^\n]*: $`))
	t.seen = ""
	if _, err := t.master.WriteString(text + "\n"); err != nil {
		t.t.Fatal(err)
	}
}

// hidden answers once what is typed is not shown any more.
func (t *terminal) hidden(prompt, text string) {
	t.t.Helper()
	t.await(regexp.MustCompile(regexp.QuoteMeta(prompt) + ": $"))
	for late := time.Now().Add(90 * time.Second); ; time.Sleep(time.Millisecond) {
		state, err := unix.IoctlGetTermios(int(t.master.Fd()), unix.TCGETS)
		if err != nil || time.Now().After(late) {
			t.t.Fatalf("what is typed is shown: %v", err)
		}
		if state.Lflag&unix.ECHO == 0 {
			break
		}
	}
	t.answer(prompt, text)
}

// TestSetupAtATerminal goes through setup as a person does, with mistakes.
func TestSetupAtATerminal(t *testing.T) {
	tmp := t.TempDir()
	ca := filepath.Join(tmp, "ca.pem")
	sb, err := sandbox.Start(&sandbox.App{CAFile: ca}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer sb.Close()
	term, slave := newTerminal(t)
	defer term.master.Close()
	cmd := setupIn(t, filepath.Join(tmp, "gateway"), "--ca-file", ca)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()

	term.answer("Whose mailboxes send?", "Fastmail")
	term.await(regexp.MustCompile("'fastmail' is none of microsoft, google, other"))
	term.answer("Whose mailboxes send?", "Office 365")
	term.answer("Who lets the gateway send?", "back")
	term.answer("Whose mailboxes send?", "3")
	term.await(regexp.MustCompile("Enter when that is done. $"))
	term.seen = ""
	_, _ = term.master.WriteString("\n")
	term.answer("The provider's submission server", "127.0.0.1")
	term.answer("The provider's submission server", sb.SMTPAddr())
	term.answer("How it does TLS", "")
	term.answer("The token endpoint", sb.HTTPURL()+"/wrong")
	term.answer("The authorization endpoint", "back")
	term.answer("The token endpoint", sb.HTTPURL()+"/token")
	term.answer("The authorization endpoint", sb.HTTPURL()+"/authorize")
	term.answer("client ID", " sandbox ")
	term.hidden("client secret (not shown)", "sandbox-secret")
	term.answer("The first mailbox that sends", "Scanner <scanner@example.com>")
	term.answer("Where the test mail goes [scanner@example.com]", "")
	term.answer("The name by which devices reach this machine", "http://localhost/")
	get(t, http.DefaultClient, strings.TrimSpace(term.await(regexp.MustCompile(`http://\S+/authorize\?\S+\n`))))
	term.await(regexp.MustCompile("In the device: server 127.0.0.1, port 2525, .*, user and From scanner@example.com"))
	for range term.output { // to its end
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v:\n%s", err, term.all)
	}
	if msgs := sb.Messages(); len(msgs) != 1 || msgs[0].Rcpts[0] != "scanner@example.com" {
		t.Errorf("the provider has %+v", msgs)
	}
	for _, noise := range []string{"sandbox-secret", "INFO", "Who lets the gateway send? (user)"} {
		if strings.Contains(term.all, noise) {
			t.Errorf("%q is shown:\n%s", noise, term.all)
		}
	}
}
