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

package smtpapp

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// nullUpstream reads bodies and forgets them, at no cost of its own.
type nullUpstream struct{ buf [32 << 10]byte }

type nullTx struct{ u *nullUpstream }

func (u *nullUpstream) Begin(context.Context, *accounts.Account, string, *smtp.MailOptions) (relay.Transaction, error) {
	return nullTx{u}, nil
}

func (nullTx) Rcpt(context.Context, string, *smtp.RcptOptions) error { return nil }

var nullReply = []string{"2.0.0 OK"}

func (tx nullTx) Data(_ context.Context, body io.Reader) (relay.Reply, error) {
	for {
		if _, err := body.Read(tx.u.buf[:]); err == io.EOF {
			return relay.Reply{Code: 250, Lines: nullReply}, nil
		} else if err != nil {
			return relay.Reply{}, err
		}
	}
}

func (nullTx) Abort() {}

// BenchmarkMessage sends messages of 4 KiB over one connection, two round
// trips each. The client's share is in the figures.
func BenchmarkMessage(b *testing.B) {
	body := strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n", 64)
	for name, data := range map[string]string{"DATA": body + ".\r\n", "BDAT": ""} {
		b.Run(name, func(b *testing.B) {
			s := startServerWith(b, new(nullUpstream), nil)
			c := dial(b, s.addr)
			c.login()
			_ = c.nc.SetDeadline(time.Time{})
			envelope := []byte("MAIL FROM:<a@example.com> BODY=8BITMIME SIZE=4096\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
			content := []byte(data)
			replies := []int{3, 1}
			if name == "BDAT" {
				envelope = []byte(fmt.Sprintf("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT %d LAST\r\n%s", len(body), body))
				content, replies = nil, []int{3}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				for i, out := range [][]byte{envelope, content} {
					if out == nil {
						continue
					}
					if _, err := c.nc.Write(out); err != nil {
						b.Fatal(err)
					}
					for range replies[i] {
						if _, err := c.r.ReadSlice('\n'); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
		})
	}
}

const (
	holdEnv  = "SMTPAPP_TEST_HOLD"
	freshEnv = "SMTPAPP_TEST_FRESH"
)

// TestMain's other life: a process that holds idle connections, so that their
// memory is not counted with the server's.
func holdClients() {
	mode, addr, _ := strings.Cut(os.Getenv(holdEnv), " ")
	mode, count, _ := strings.Cut(mode, ":")
	n, _ := strconv.Atoi(count)
	var held []net.Conn // an unreachable connection closes itself
	for range n {
		nc, err := net.Dial("tcp", addr)
		if err == nil && mode == "tls" {
			nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
		}
		if err == nil {
			// A login leaves the stack of the session deeper than it was.
			_, err = io.WriteString(nc, "EHLO c\r\nAUTH PLAIN "+plain(testUser, testPassword)+"\r\nNOOP\r\n")
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		held = append(held, nc)
		r := bufio.NewReader(nc)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			if line == "250 2.0.0 OK\r\n" {
				break
			}
		}
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(held)
	os.Exit(0)
}

// TestIdleMemory measures what an idle client costs.
func TestIdleMemory(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("figures of a normal build only")
	}
	ca := newAuthority(t)
	pair := ca.issue(t, x509.Certificate{DNSNames: []string{"mail.test"}})
	for mode, limit := range map[string]struct{ all, stack int }{
		// A stack of 4 KiB. One that is deeper than a quarter of 8 KiB while the
		// client is idle stays at 8.
		"plain": {9 << 10, 5 << 10},
		"tls":   {17 << 10, 5 << 10},
	} {
		t.Run(mode, func(t *testing.T) {
			if os.Getenv(freshEnv) == "" {
				// What has run before leaves stacks that are used again, and the
				// difference would be none.
				cmd := exec.Command(os.Args[0], "-test.run=^TestIdleMemory$/^"+mode+"$", "-test.v")
				cmd.Env = append(os.Environ(), freshEnv+"=1")
				out, err := cmd.CombinedOutput()
				t.Logf("%s", out)
				if err != nil {
					t.Error(err)
				}
				return
			}
			const n = 400
			s := startServer(t, func(p *policy) {
				p.maxConns, p.maxPerIP = n, n
				if mode == "tls" {
					p.ImplicitTLS = &tls.Config{Certificates: []tls.Certificate{pair}}
				}
			})
			without, otherStacks := memoryParts()
			cmd := exec.Command(os.Args[0], "-test.run=^$")
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s:%d %s", holdEnv, mode, n, s.addr))
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil || line != "ready\n" {
				t.Fatalf("got %q, %v", line, err)
			}
			with, stacks := memoryParts()
			_ = in.Close()
			_ = cmd.Wait()
			s.awaitConns(0)
			s.count.forget()
			each, stack := int(with-without)/n, int(stacks-otherStacks)/n
			t.Logf("%d idle clients: %d bytes each, %d of them stack", n, each, stack)
			if each > limit.all || stack > limit.stack {
				t.Errorf("%d bytes for each idle client, %d of them stack, want at most %d and %d", each, stack, limit.all, limit.stack)
			}
		})
	}
}

// memoryParts is what the process uses, and what of it are stacks, after garbage and
// stacks have been collected.
func memoryParts() (all, stacks int64) {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse), int64(m.StackInuse)
}

func memory() int64 {
	all, _ := memoryParts()
	return all
}
