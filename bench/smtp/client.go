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

package smtp

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/caddymail/mailgateway/bench/message"
)

// Ways of a client.
const (
	ModePipeline = "pipeline" // MAIL, RCPT, DATA in one flight; the body after 354
	ModeSerial   = "serial"   // a command, a reply
	ModeBDAT     = "bdat"     // MAIL, RCPT, BDAT and the body in one flight
)

// replyError is a reply that was not the wanted one.
type replyError struct {
	stage string
	code  int
	text  string
}

func (e *replyError) Error() string { return fmt.Sprintf("%s: %s", e.stage, e.text) }

// Client is one SMTP client; it allocates nothing per message.
type Client struct {
	Conn net.Conn
	buf  []byte
	r, w int

	mode   string
	flight []byte // what is sent first for a message
	body   []byte // what is sent after 354; part of flight with BDAT
	seq    []byte // where the sequence number goes, in flight or body
	cmds   [3][]byte
}

// Dialer says how clients connect and log in.
type Dialer struct {
	Addr    string
	TLSMode string // off, implicit, starttls
	TLS     *tls.Config
	Timeout time.Duration
	NoAuth  bool
}

// Dial connects and logs in.
func (d *Dialer) Dial(account int) (*Client, error) {
	conn, err := (&net.Dialer{Timeout: d.Timeout}).Dial("tcp", d.Addr)
	if err != nil {
		return nil, err
	}
	c := &Client{Conn: conn, buf: make([]byte, 4<<10)}
	if err := c.login(d, account); err != nil {
		_ = c.Conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) login(d *Dialer, account int) error {
	c.Deadline(d.Timeout)
	if d.TLSMode == "implicit" {
		c.Conn = tls.Client(c.Conn, d.TLS)
	}
	if err := c.expect("greeting", 220); err != nil {
		return err
	}
	if err := c.command("EHLO load.bench.test\r\n", "EHLO", 250); err != nil {
		return err
	}
	if d.TLSMode == "starttls" {
		if err := c.command("STARTTLS\r\n", "STARTTLS", 220); err != nil {
			return err
		}
		c.Conn, c.r, c.w = tls.Client(c.Conn, d.TLS), 0, 0
		if err := c.command("EHLO load.bench.test\r\n", "EHLO", 250); err != nil {
			return err
		}
	}
	if d.NoAuth {
		return nil
	}
	blob := base64.StdEncoding.EncodeToString([]byte("\x00" + message.AccountName(account) + "\x00" + message.AccountPassword(account)))
	return c.command("AUTH PLAIN "+blob+"\r\n", "AUTH", 235)
}

// Prepare makes the buffers for messages of one account. msg is the template.
func (c *Client) Prepare(mode string, account int, msg, stuffed []byte) {
	c.mode = mode
	c.cmds = [3][]byte{
		fmt.Appendf(nil, "MAIL FROM:<%s>\r\n", message.AccountName(account)),
		[]byte("RCPT TO:<rcpt@example.net>\r\n"),
		[]byte("DATA\r\n"),
	}
	switch mode {
	case ModeBDAT:
		c.cmds[2] = fmt.Appendf(nil, "BDAT %d LAST\r\n", len(msg))
		c.flight = bytes.Join(c.cmds[:], nil)
		at := len(c.flight)
		c.flight = append(c.flight, msg...)
		c.seq = c.flight[at:]
	default:
		c.flight = bytes.Join(c.cmds[:], nil)
		c.body = bytes.Clone(stuffed)
		c.seq = c.body
	}
}

// UnknownError wraps an error after which nobody can say whether the message
// was taken.
type UnknownError struct{ error }

func (e UnknownError) Unwrap() error { return e.error }

// Send sends one message and returns nil after the final 250. A *replyError
// leaves the connection usable if RSET works; any other error does not.
func (c *Client) Send(seq uint32) error {
	message.SetSeq(c.seq, seq)
	switch c.mode {
	case ModeBDAT:
		if err := c.write(c.flight); err != nil {
			return err
		}
		var first error
		for i, stage := range [...]string{"MAIL", "RCPT", "BDAT"} {
			if err := c.expect(stage, 250); err != nil && first == nil {
				if first = err; !IsReply(err) {
					if i == 2 {
						return UnknownError{err}
					}
					return err
				}
			}
		}
		return first
	case ModeSerial:
		for i, stage := range [...]string{"MAIL", "RCPT", "DATA"} {
			want := 250
			if i == 2 {
				want = 354
			}
			if err := c.write(c.cmds[i]); err != nil {
				return err
			}
			if err := c.expect(stage, want); err != nil {
				return err
			}
		}
	default:
		if err := c.write(c.flight); err != nil {
			return err
		}
		var first error
		for _, stage := range [...]string{"MAIL", "RCPT"} {
			if err := c.expect(stage, 250); err != nil && first == nil {
				if first = err; !IsReply(err) {
					return err
				}
			}
		}
		err := c.expect("DATA", 354)
		if first != nil {
			if err == nil { // 354 without a recipient: an empty body is refused
				if c.write([]byte(".\r\n")) == nil {
					_ = c.expect("DATA", 0)
				}
			}
			return first
		}
		if err != nil {
			return err
		}
	}
	if err := c.write(c.body); err != nil {
		return err // the end was not sent, so nothing was taken
	}
	if err := c.expect("end of data", 250); err != nil {
		if IsReply(err) {
			return err
		}
		return UnknownError{err}
	}
	return nil
}

func IsReply(err error) bool {
	var re *replyError
	return errors.As(err, &re)
}

func (c *Client) Deadline(d time.Duration) { _ = c.Conn.SetDeadline(time.Now().Add(d)) }

func (c *Client) write(b []byte) error {
	_, err := c.Conn.Write(b)
	return err
}

func (c *Client) command(cmd, stage string, want int) error {
	if err := c.write([]byte(cmd)); err != nil {
		return err
	}
	return c.expect(stage, want)
}

// expect reads one reply; want 0 takes any.
func (c *Client) expect(stage string, want int) error {
	for {
		i := bytes.IndexByte(c.buf[c.r:c.w], '\n')
		if i < 0 {
			if c.r > 0 {
				c.w = copy(c.buf, c.buf[c.r:c.w])
				c.r = 0
			}
			if c.w == len(c.buf) {
				return fmt.Errorf("%s: reply too long", stage)
			}
			n, err := c.Conn.Read(c.buf[c.w:])
			c.w += n
			if n == 0 && err != nil {
				return fmt.Errorf("%s: %w", stage, err)
			}
			continue
		}
		l := c.buf[c.r : c.r+i]
		c.r += i + 1
		if len(l) < 4 {
			return fmt.Errorf("%s: malformed reply %q", stage, l)
		}
		if l[3] == '-' {
			continue
		}
		if want != 0 && (l[0] != byte('0'+want/100) || l[1] != byte('0'+want/10%10) || l[2] != byte('0'+want%10)) {
			code, _ := strconv.Atoi(string(l[:3]))
			return &replyError{stage: stage, code: code, text: string(bytes.TrimSpace(l))}
		}
		return nil
	}
}

// Quit leaves politely and waits for the other side to close, so that the
// server has counted everything when the run ends.
func (c *Client) Quit() {
	c.Deadline(5 * time.Second)
	if c.write([]byte("QUIT\r\n")) == nil && c.expect("QUIT", 221) == nil {
		_, _ = io.Copy(io.Discard, c.Conn)
	}
	_ = c.Conn.Close()
}
