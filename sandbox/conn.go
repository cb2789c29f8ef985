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

package sandbox

import (
	"bufio"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddymail/mailgateway/sandbox/record"
)

// conn is one SMTP connection. Its own goroutine owns all of it but raw, which
// others may close.
type conn struct {
	s        *Sandbox
	st       *settings
	id       uint64
	raw      net.Conn
	base     net.Conn // raw, at its pretended distance
	nc       net.Conn // base, or TLS over it
	br       *bufio.Reader
	long     []byte // a line longer than br's buffer
	out      []byte
	implicit bool

	farewell atomic.Pointer[string] // set by others, who then end the read

	secure   bool
	greeted  bool
	box      *record.Box
	messages int

	tx transaction
}

// transaction is the state that RSET clears.
type transaction struct {
	open    bool
	from    string
	params  string
	rcpts   []string
	rparams []string
	refused []string
	tooBig  bool // a recipient `maxsize-`

	bdat     bool // a BDAT command has been accepted
	bdatBad  bool // and one refused: RFC 3030 section 4.2 wants RSET
	chunks   int
	body     body
	declared int64
}

const (
	readBuffer  = 8 << 10
	maxLine     = 16 << 10 // room for RFC 4954's 12,288 octets
	maxCommand  = 2048
	maxAuthLine = 512 // RFC 4954 section 4: with an initial response, as any command
	maxRcpts    = 1000
)

var (
	errGone     = errors.New("connection over")
	errTooLong  = errors.New("line too long")
	errNotCRLF  = errors.New("line does not end with CRLF")
	errGraceful = errors.New("connection over after the last reply")
)

func newConn(s *Sandbox, raw net.Conn, implicit bool) *conn {
	c := &conn{s: s, st: s.settings.Load(), id: s.nextConn.Add(1), raw: raw, base: raw, implicit: implicit}
	if c.st.rtt > 0 {
		c.base = newDelayConn(raw, c.st.rtt, &s.wg)
	}
	c.nc = c.base
	c.br = bufio.NewReaderSize(input{c}, readBuffer)
	return c
}

// kill ends the connection from outside.
func (c *conn) kill(reset bool) {
	if tc, ok := c.raw.(*net.TCPConn); ok && reset {
		_ = tc.SetLinger(0)
	}
	_ = c.raw.Close()
}

func (c *conn) serve() {
	defer c.s.forget(c)
	err := c.run()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if bye := c.farewell.Load(); bye != nil {
			c.reply(*bye)
		} else {
			c.reply("421 4.4.2 " + c.st.profile.hostname + " Timeout - closing connection")
		}
		err = errGraceful
	}
	if c.box != nil {
		c.box.Leave()
	}
	if errors.Is(err, errGraceful) {
		c.linger()
	}
	if c.nc != c.base {
		// No close_notify and no blocking: the peer has what it gets.
		_ = c.base.Close()
	} else {
		_ = c.nc.Close()
	}
}

func (c *conn) run() error {
	if _, err := c.fault("connect", 0); err != nil {
		return err
	}
	if c.implicit {
		if err := c.handshake(); err != nil {
			return err
		}
	}
	if code, err := c.fault("banner", 0); err != nil {
		return err
	} else if code == 0 {
		c.reply(c.st.profile.banner)
	}
	for {
		line, err := c.readLine()
		switch {
		case errors.Is(err, errTooLong):
			c.reply(c.st.profile.tooLong)
			continue
		case errors.Is(err, errNotCRLF):
			c.reply("500 5.5.2 Line must end with CRLF")
			continue
		case err != nil:
			return err
		}
		v, arg := parseVerb(line)
		c.s.rec.Command(int(v))
		if v == verbAUTH {
			if len(line)+2 > maxAuthLine {
				c.s.rec.Auth(nil, "too_long")
				c.reply(c.st.profile.tooLong)
				continue
			}
		} else if len(line)+2 > maxCommand {
			c.reply(c.st.profile.tooLong)
			continue
		}
		if err := c.command(v, arg); err != nil {
			return err
		}
	}
}

func (c *conn) command(v verb, arg []byte) error {
	if c.tx.bdat && v != verbBDAT && v != verbRSET && v != verbQUIT && v != verbNOOP {
		// RFC 3030 section 2: nothing but BDAT and RSET between chunks.
		c.reply("503 5.5.1 BDAT chunk expected")
		return nil
	}
	switch v {
	case verbEHLO, verbHELO:
		return c.hello(v, arg)
	case verbSTARTTLS:
		return c.starttls(arg)
	case verbAUTH:
		return c.auth(arg)
	case verbMAIL:
		return c.mail(arg)
	case verbRCPT:
		return c.rcpt(arg)
	case verbDATA:
		return c.data(arg)
	case verbBDAT:
		return c.bdat(arg)
	case verbRSET:
		return c.simple("rset", "250 2.0.0 Ok", c.reset)
	case verbNOOP:
		return c.simple("noop", "250 2.0.0 Ok", nil)
	case verbQUIT:
		if err := c.simple("quit", c.st.profile.quit, nil); err != nil {
			return err
		}
		return errGraceful
	case verbVRFY:
		c.reply("252 2.1.5 Send some mail, I'll try my best")
	case verbHELP:
		c.reply("214 2.0.0 See the documentation of the sandbox")
	default:
		c.reply("500 5.5.1 Unrecognized command")
	}
	return nil
}

func (c *conn) simple(stage, reply string, do func()) error {
	code, err := c.fault(stage, 0)
	if err != nil || code != 0 {
		return err
	}
	if do != nil {
		do()
	}
	c.reply(reply)
	return nil
}

func (c *conn) reset() {
	b := c.tx.body
	c.tx = transaction{}
	c.tx.body.h = b.h
}

func (c *conn) hello(v verb, arg []byte) error {
	if len(arg) == 0 || !isPrintable(arg) {
		c.reply("501 5.5.4 Domain name required")
		return nil
	}
	code, err := c.fault("ehlo", 0)
	if err != nil || (code != 0 && code != 250) {
		return err
	}
	c.reset()
	c.greeted = true
	switch {
	case code != 0:
	case v == verbHELO:
		c.reply("250 " + c.st.profile.helo)
	case c.secure:
		c.out = append(c.out, c.st.ehloTLS...)
	default:
		c.out = append(c.out, c.st.ehloPlain...)
	}
	return nil
}

func isPrintable(b []byte) bool {
	for _, x := range b {
		if x < 0x20 || x == 0x7f {
			return false
		}
	}
	return true
}

func (c *conn) starttls(arg []byte) error {
	switch {
	case len(arg) > 0:
		c.reply("501 5.5.4 No parameters allowed")
		return nil
	case c.secure:
		c.reply("503 5.5.1 TLS is on already")
		return nil
	}
	code, err := c.fault("starttls", 0)
	if err != nil || (code != 0 && code != 220) {
		return err
	}
	if code == 0 {
		c.reply("220 2.0.0 Ready to start TLS")
	}
	if n := c.br.Buffered(); n > 0 {
		// RFC 3207 section 4.2: what came in plaintext is not part of the
		// session. A gateway that forwards such is noticed here.
		c.s.rec.Injected()
		_, _ = c.br.Discard(n)
	}
	if err := c.flush(); err != nil {
		return err
	}
	if err := c.handshake(); err != nil {
		return err
	}
	c.greeted = false
	c.box = c.leave()
	c.reset()
	return nil
}

func (c *conn) handshake() error {
	cfg := c.s.certs.Good
	if f, ok := c.s.faults.Take("tls", c.event(0)); ok {
		if f.Action == "wrong_certificate" {
			cfg = c.s.certs.Wrong
		} else if code, err := c.act(f, "tls"); err != nil {
			return err
		} else if code != 0 {
			return errGraceful // words in place of a handshake
		}
	}
	tc := tls.Server(c.base, cfg)
	_ = tc.SetDeadline(time.Now().Add(time.Minute))
	if err := tc.Handshake(); err != nil {
		c.s.rec.Handshake(false, false)
		return err
	}
	_ = tc.SetDeadline(time.Time{})
	c.s.rec.Handshake(true, tc.ConnectionState().DidResume)
	c.nc = tc
	c.secure = true
	c.br.Reset(input{c})
	return nil
}

func (c *conn) mail(arg []byte) error {
	code, err := c.fault("mail", 0)
	if err != nil || (code != 0 && code != 250) {
		return err
	}
	said := len(c.out)
	switch {
	case !c.greeted:
		c.reply("503 5.5.1 EHLO first")
	case c.box == nil:
		c.reply(c.st.profile.authRequired)
	case c.tx.open:
		c.reply("503 5.5.1 Sender already specified")
	}
	if len(c.out) > said {
		return nil
	}
	path, params, ok := parsePath(arg, "FROM:")
	if !ok {
		c.reply(replyBadSender)
		return nil
	}
	mp, bad := c.st.parseMailParams(params)
	switch {
	case bad != "":
		c.reply(bad)
		return nil
	case !mp.utf8 && !isASCII(path):
		c.reply(replyNeedUTF8)
		return nil
	case hasPrefixFold(path, "REJECT-"):
		c.reply(c.st.profile.sendAs)
		return nil
	}
	c.reset()
	c.st = c.s.settings.Load() // limits are those of now, the announcements those of EHLO
	c.tx.open = true
	c.tx.from, c.tx.params, c.tx.declared = string(path), string(params), mp.size
	if code == 0 {
		c.reply(c.st.profile.mail)
	}
	return nil
}

func (c *conn) rcpt(arg []byte) error {
	code, err := c.fault("rcpt", len(c.tx.rcpts)+len(c.tx.refused)+1)
	if err != nil {
		return err
	}
	path, params, ok := parsePath(arg, "TO:")
	if code != 0 && code != 250 {
		c.tx.refused = append(c.tx.refused, string(path))
		return nil
	}
	var bad string
	switch {
	case c.box == nil:
		bad = c.st.profile.authRequired
	case !c.tx.open:
		bad = "503 5.5.1 MAIL first"
	case !ok || len(path) == 0:
		bad = replyBadPath
	case len(c.tx.rcpts) >= maxRcpts:
		bad = "452 4.5.3 Too many recipients"
	case !isASCII(path) && !strings.Contains(strings.ToUpper(c.tx.params), "SMTPUTF8"):
		bad = replyNeedUTF8
	default:
		bad = c.st.parseRcptParams(params)
	}
	if bad != "" {
		c.reply(bad)
		return nil
	}
	to := string(path)
	switch {
	case hasPrefixFold(path, "REJECT-"):
		bad = "550 5.1.1 The email account that you tried to reach does not exist"
	case hasPrefixFold(path, "TEMPFAIL-"):
		bad = "451 4.2.0 Mailbox has a temporary problem"
	case hasPrefixFold(path, "MAXSIZE-"):
		c.tx.tooBig = true
	}
	if bad != "" {
		c.tx.refused = append(c.tx.refused, to)
		c.reply(bad)
		return nil
	}
	if len(params) > 0 || c.tx.rparams != nil {
		for len(c.tx.rparams) < len(c.tx.rcpts) {
			c.tx.rparams = append(c.tx.rparams, "")
		}
		c.tx.rparams = append(c.tx.rparams, string(params))
	}
	c.tx.rcpts = append(c.tx.rcpts, to)
	if code == 0 {
		c.reply(c.st.profile.rcpt)
	}
	return nil
}

// leave takes the connection out of its mailbox's count.
func (c *conn) leave() *record.Box {
	if c.box != nil {
		c.box.Leave()
	}
	return nil
}
