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

package upstreampool

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// provider is a real SMTP server on loopback whose every reply a test can
// replace. It speaks the protocol by itself and keeps what it took.
type provider struct {
	t  testing.TB
	ln net.Listener

	caps     []string // EHLO keywords
	implicit bool
	tls      *tls.Config
	noBDAT   string // the reply to BDAT and to the lines of its chunk

	// hook sees each command line, `<body>` and `<end>` (of a DATA body).
	// A reply that is not empty goes out instead of the usual; "<close>" and
	// "<reset>" end the connection, "<hang>" says nothing more.
	hook func(s *serverConn, line string) string
	// after sees each line, and `<end>`, when its reply is out.
	after func(s *serverConn, line string)
	// write sends a reply, if it is set; after hears only of others.
	write func(s *serverConn, reply string) error
	// handshake takes the place of TLS's if it returns true; the connection ends.
	handshake func(s *serverConn) bool
	// wrap changes how a connection is written to.
	wrap func(net.Conn) net.Conn

	mu       sync.Mutex
	conns    int
	open     int
	maxOpen  int
	lines    []string
	messages []message
	wg       sync.WaitGroup
	live     map[net.Conn]struct{}
}

type message struct {
	user string
	from string
	to   []string
	body string
}

type serverConn struct {
	p     *provider
	n     int // connection number, from 1
	nc    net.Conn
	br    *bufio.Reader
	line  string // the last that hook was shown
	user  string
	from  string
	to    []string
	mails int
	rcpts int
	chunk strings.Builder
}

var allCaps = []string{"PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "AUTH PLAIN LOGIN XOAUTH2 OAUTHBEARER"}

func newProvider(t testing.TB, mod ...func(*provider)) *provider {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{t: t, ln: ln, caps: allCaps, live: make(map[net.Conn]struct{})}
	for _, m := range mod {
		m(p)
	}
	p.wg.Add(1)
	go p.accept()
	t.Cleanup(p.stop)
	return p
}

func (p *provider) stop() {
	_ = p.ln.Close()
	p.mu.Lock()
	for nc := range p.live {
		_ = nc.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// dropAll closes every connection, as a provider that restarts does.
func (p *provider) dropAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for nc := range p.live {
		_ = nc.Close()
	}
}

func (p *provider) accept() {
	defer p.wg.Done()
	for {
		nc, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.conns++
		p.open++
		p.maxOpen = max(p.maxOpen, p.open)
		n := p.conns
		p.live[nc] = struct{}{}
		p.mu.Unlock()
		p.wg.Add(1)
		go func() {
			defer p.wg.Done()
			s := &serverConn{p: p, n: n, nc: nc}
			if p.wrap != nil {
				s.nc = p.wrap(nc)
			}
			s.serve()
			p.mu.Lock()
			p.open--
			delete(p.live, nc)
			p.mu.Unlock()
			_ = nc.Close()
		}()
	}
}

func (s *serverConn) say(r string) bool {
	switch r {
	case "<close>":
		return false
	case "<reset>":
		tcp := s.nc
		if tc, ok := tcp.(*tls.Conn); ok {
			tcp = tc.NetConn()
		}
		if slow, ok := tcp.(*slowConn); ok {
			tcp = slow.Conn
		}
		_ = tcp.(*net.TCPConn).SetLinger(0)
		_ = tcp.Close()
		return false
	case "<hang>":
		_, _ = io.Copy(io.Discard, s.nc)
		return false
	case "<nothing>":
		return true
	}
	closing := strings.HasSuffix(r, "<close>")
	r = strings.TrimSuffix(r, "<close>")
	if !strings.HasSuffix(r, "\n") {
		r += "\r\n"
	}
	if s.p.write != nil {
		return s.p.write(s, r) == nil && !closing
	}
	_, err := io.WriteString(s.nc, r)
	if s.p.after != nil && err == nil {
		s.p.after(s, s.line)
	}
	return err == nil && !closing
}

func (s *serverConn) override(line string) (string, bool) {
	s.p.mu.Lock()
	s.p.lines = append(s.p.lines, line)
	s.line = line
	s.p.mu.Unlock()
	if s.p.hook == nil {
		return "", false
	}
	r := s.p.hook(s, line)
	return r, r != ""
}

func (s *serverConn) serve() {
	if s.p.implicit && !s.startTLS() {
		return
	}
	s.br = bufio.NewReader(s.nc)
	r, ok := s.override("<connect>")
	if !ok {
		r = "220 provider.test ESMTP"
	}
	if !s.say(r) {
		return
	}
	for {
		line, err := s.br.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		if !s.handle(line) {
			return
		}
	}
}

func (s *serverConn) startTLS() bool {
	if s.p.handshake != nil && s.p.handshake(s) {
		return false
	}
	tc := tls.Server(s.nc, s.p.tls)
	if tc.Handshake() != nil {
		return false
	}
	s.nc = tc
	return true
}

func (s *serverConn) handle(line string) bool {
	verb, args, _ := strings.Cut(line, " ")
	r, replaced := s.override(line)
	switch strings.ToUpper(verb) {
	case "EHLO":
		if replaced {
			return s.say(r)
		}
		lines := append([]string{"provider.test"}, s.p.caps...)
		if _, isTLS := s.nc.(*tls.Conn); !isTLS && s.p.tls != nil {
			lines = append(lines, "STARTTLS")
		}
		var b strings.Builder
		for i, l := range lines {
			sep := "-"
			if i == len(lines)-1 {
				sep = " "
			}
			b.WriteString("250" + sep + l + "\r\n")
		}
		return s.say(b.String())
	case "STARTTLS":
		if !replaced {
			r = "220 go"
		}
		if !s.say(r) || !strings.HasPrefix(r, "220") || !s.startTLS() {
			return !strings.HasPrefix(r, "220")
		}
		s.br = bufio.NewReader(s.nc)
		return true
	case "AUTH":
		if !replaced {
			s.user = args
			r = "235 2.7.0 ok"
		}
		return s.say(r)
	case "MAIL":
		s.mails++
		s.rcpts = 0
		if !replaced {
			if s.from != "" {
				r = "503 5.5.1 nested MAIL"
			} else {
				r = "250 2.1.0 sender ok"
				s.from = line
			}
		}
		return s.say(r)
	case "RCPT":
		s.rcpts++
		if !replaced {
			if s.from == "" {
				r = "503 5.5.1 no MAIL"
			} else {
				r = "250 2.1.5 recipient ok"
			}
		}
		if strings.HasPrefix(r, "25") {
			s.to = append(s.to, line)
		}
		return s.say(r)
	case "RSET":
		s.clear()
		if !replaced {
			r = "250 2.0.0 reset"
		}
		return s.say(r)
	case "QUIT":
		if !replaced {
			r = "221 2.0.0 bye<close>"
		}
		return s.say(r)
	case "DATA":
		if !replaced {
			if len(s.to) == 0 {
				r = "503 5.5.1 no recipients"
			} else {
				r = "354 go ahead"
			}
		}
		if !s.say(r) {
			return false
		}
		if !strings.HasPrefix(r, "354") {
			return true
		}
		return s.data()
	case "BDAT":
		if s.p.noBDAT != "" {
			return s.say(s.p.noBDAT)
		}
		return s.bdat(args, r)
	}
	if !replaced {
		r = "500 5.5.2 what"
	}
	return s.say(r)
}

func (s *serverConn) data() bool {
	r, early := s.override("<body>")
	if early && !s.say(r) {
		return false
	}
	var body strings.Builder
	atStart := true // of a line, which only CRLF ends
	for {
		line, err := s.br.ReadString('\n')
		if err != nil {
			return false
		}
		if atStart && line == ".\r\n" {
			break
		}
		if atStart && line[0] == '.' {
			line = line[1:]
		}
		atStart = strings.HasSuffix(line, "\r\n")
		body.WriteString(line)
	}
	if early { // one reply to one end of data
		s.clear()
		return true
	}
	return s.finish(body.String())
}

func (s *serverConn) bdat(args, replaced string) bool {
	size, last, _ := strings.Cut(args, " ")
	n, err := strconv.Atoi(size)
	if err != nil {
		return s.say("501 5.5.4 size")
	}
	if replaced == "<close>" || replaced == "<reset>" || replaced == "<hang>" {
		return s.say(replaced)
	}
	if replaced == "<taken>" { // and answered
		return true
	}
	r, early := s.override("<body>")
	if early && !s.say(r) {
		return false
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(s.br, b); err != nil {
		return false
	}
	if early {
		return true
	}
	if replaced != "" {
		return s.say(replaced)
	}
	if len(s.to) == 0 {
		return s.say("503 5.5.1 no recipients")
	}
	s.chunk.Write(b)
	if last == "" {
		return s.say(fmt.Sprintf("250 2.0.0 %d octets", n))
	}
	return s.finish(s.chunk.String())
}

// finish keeps the message if, and only if, it answers 250.
func (s *serverConn) finish(body string) bool {
	r, ok := s.override("<end>")
	m := message{user: s.user, from: s.from, to: s.to, body: body}
	s.clear()
	if !ok {
		r = "250 2.0.0 queued as 1"
	}
	if strings.HasPrefix(r, "250") || r == "<kept><close>" {
		s.p.mu.Lock()
		s.p.messages = append(s.p.messages, m)
		s.p.mu.Unlock()
	}
	if r == "<kept><close>" {
		r = "<close>"
	}
	return s.say(r)
}

func (s *serverConn) clear() {
	s.from, s.to = "", nil
	s.chunk.Reset()
}

func (p *provider) got() []message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]message(nil), p.messages...)
}

// holds returns how many of the messages have the body.
func (p *provider) holds(body string) int {
	n := 0
	for _, m := range p.got() {
		if m.body == body {
			n++
		}
	}
	return n
}

func (p *provider) commands() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.lines...)
}

func (p *provider) count(prefix string) int {
	n := 0
	for _, l := range p.commands() {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

func (p *provider) dialed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns
}
