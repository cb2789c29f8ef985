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
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The proofs of docs/bottlenecks.md that no other test gives.

// TestGoroutinesPerClient holds that a client costs one goroutine, also amid a
// message of many lines: nothing is started for a line or a command.
func TestGoroutinesPerClient(t *testing.T) {
	const clients = 100
	up := &fakeUpstream{hold: make(chan struct{}), inData: make(chan struct{}, clients)}
	s := startServerWith(t, up, func(p *policy) { p.MaxSize = 1 << 30 })
	body := strings.Repeat(strings.Repeat("x", 20)+"\r\n", 10_000)
	before := runtime.NumGoroutine()
	all := make([]*client, clients)
	for i := range all {
		c := dial(t, s.addr)
		all[i] = c
		c.login()
		c.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
		c.expect("250")
		c.expect("250")
		c.expect("354")
		c.send(body)
		<-up.inData
	}
	if n := runtime.NumGoroutine() - before; n > clients+10 {
		t.Errorf("%d goroutines for %d clients", n, clients)
	}
	for _, c := range all {
		c.send(".\r\n")
	}
	close(up.hold)
	for _, c := range all {
		c.expect("250")
	}
}

// BenchmarkBodyLines sends a message of n lines. Allocations do not depend on
// n, and the time of an octet does not grow with it.
func BenchmarkBodyLines(b *testing.B) {
	for _, lines := range []int{100, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(lines), func(b *testing.B) {
			up := &fakeUpstream{onData: func(r io.Reader) { _, _ = io.Copy(io.Discard, r) }}
			s := startServerWith(b, up, func(p *policy) { p.MaxSize = 1 << 30 })
			c := dial(b, s.addr)
			c.login()
			body := []byte(strings.Repeat(strings.Repeat("x", 38)+"\r\n", lines) + ".\r\n")
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				c.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
				c.expect("250")
				c.expect("250")
				c.expect("354")
				if _, err := c.nc.Write(body); err != nil {
					b.Fatal(err)
				}
				c.expect("451") // it was read, and not kept
			}
		})
	}
}

// TestSlowUpstreamSlowsTheClient holds that a message which the provider does
// not take is not gathered here: the client's writes come to a halt.
func TestSlowUpstreamSlowsTheClient(t *testing.T) {
	release := make(chan struct{})
	up := &fakeUpstream{onData: func(r io.Reader) {
		_, _ = r.Read(make([]byte, 1)) // replies leave before the next read
		<-release
		_, _ = io.Copy(io.Discard, r)
	}}
	s := startServerWith(t, up, func(p *policy) { p.MaxSize = 1 << 40 })
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free)
	c := dial(t, s.addr)
	c.login()
	c.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
	c.expect("250")
	c.expect("250")
	c.expect("354")
	chunk := bytes.Repeat([]byte(strings.Repeat("x", 62)+"\r\n"), 1024) // 64 KiB
	// What the system's socket buffers take is all that can go.
	const most = 256 << 20
	sent := 0
	for sent < most {
		_ = c.nc.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		n, err := c.nc.Write(chunk)
		sent += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	free()
	if sent >= most {
		t.Errorf("%d MiB went to nobody", sent>>20)
	}
	_ = c.nc.Close()
}

// TestSeriesAreClosed holds that neither accounts nor names of failed logins
// make series.
func TestSeriesAreClosed(t *testing.T) {
	reg := prometheus.NewRegistry()
	if err := processMetrics.register(reg); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, nil)
	session := func(user, password string) {
		c := dial(t, s.addr)
		c.expect("220")
		c.send("EHLO c\r\n")
		c.expect("250")
		c.send("AUTH PLAIN " + plain(user, password) + "\r\n")
		if c.expect(""); password == testPassword {
			c.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 3 LAST\r\nx\r\n")
			c.expect("250")
			c.expect("250")
			c.expect("250")
		}
		c.send("QUIT\r\n")
		c.expect("221")
		c.expectEOF()
	}
	count := func() (n int) {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			n += len(f.GetMetric())
		}
		return n
	}
	session(testUser, testPassword)
	session("nobody@example.com", "wrong")
	before := count()
	for i := range 100 {
		name := fmt.Sprintf("user%d@example.com", i)
		s.source.index.Set(mustCompile(t, testRecord(name)))
		session(name, testPassword)
		session(fmt.Sprintf("random%d@example.net", i), "wrong")
	}
	if after := count(); after != before {
		t.Errorf("%d series became %d", before, after)
	}
}
