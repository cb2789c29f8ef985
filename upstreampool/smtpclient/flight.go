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

package smtpclient

import (
	"context"
	"errors"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient/extensions"
)

// Envelope is the sender of one message, with the parameters of MAIL, and what
// became of it.
type Envelope struct {
	From string
	Opts smtp.MailOptions

	// Refused is the provider's refusal of MAIL: the answer to every recipient.
	Refused *relay.Reply
}

// Binary reports whether the message can't leave with DATA (RFC 3030 section 3).
func (e *Envelope) Binary() bool { return e.Opts.Body == smtp.BodyBinaryMIME }

// CheckMail says why the provider can't carry the message, or its sender can't
// stand in a command. nil: it can.
func (c *Conn) CheckMail(e *Envelope) *relay.Reply { return c.caps.CheckMail(e.From, &e.Opts) }

// CheckRcpt says why a recipient can't be sent. nil: it can.
func (c *Conn) CheckRcpt(e *Envelope, to string) *relay.Reply { return c.caps.CheckRcpt(to, &e.Opts) }

// Needs returns what has to be looked for in the message; nil: nothing has.
func (c *Conn) Needs(e *Envelope) *extensions.Needs { return c.caps.Needs(&e.Opts) }

// Carries reports whether the connection can carry what was checked for another.
func (c *Conn) Carries(e *Envelope, other *Conn) bool {
	return c.caps.Carries(e.From, &e.Opts, &other.caps)
}

// ErrPending marks a recipient that has no answer yet.
var ErrPending = errors.New("pending")

// Flight sends MAIL, if it is due, and the pending recipients, and reads the
// replies, which stand in errs. An error means that the connection can't be
// used any more.
func (c *Conn) Flight(ctx context.Context, e *Envelope, rcpts []relay.Recipient, errs []error, mail bool) error {
	c.under = false
	if err := c.armContext(ctx, c.cfg.CommandTimeout); err != nil {
		return &FlightError{Err: err}
	}
	if !c.caps.Pipelining {
		if !c.Silent() {
			return c.goodbye(0)
		}
		return c.stepwise(e, rcpts, errs, mail)
	}
	b := c.wbuf[:0]
	abandoned := mail && c.needReset
	if abandoned {
		b = append(b, reset...)
	}
	if mail {
		b = c.caps.AppendMail(b, e.From, &e.Opts)
	}
	for i := range rcpts {
		if errs[i] == ErrPending { //nolint:errorlint // a mark
			b = c.caps.AppendRcpt(b, rcpts[i].To, &rcpts[i].Opts)
		}
	}
	c.keep(b)
	if silent, _, err := c.say(b); !silent {
		return c.goodbye(0)
	} else if err != nil {
		return &FlightError{Err: err}
	}
	seen := 0
	if abandoned {
		if err := c.expectReset(); err != nil {
			return err
		}
	}
	if mail {
		if err := c.readMail(e); err != nil {
			return err
		}
		seen++
	}
	for i := range rcpts {
		if errs[i] != ErrPending { //nolint:errorlint // a mark
			continue
		}
		if err := c.readRcpt(e, &errs[i], seen); err != nil {
			return err
		}
		seen++
	}
	if c.doubtful() {
		return &FlightError{Err: relay.ErrReply, Replies: seen}
	}
	return nil
}

// stepwise is Flight for a provider without PIPELINING.
func (c *Conn) stepwise(e *Envelope, rcpts []relay.Recipient, errs []error, mail bool) error {
	if mail && c.needReset {
		if err := c.write([]byte(reset)); err != nil {
			return &FlightError{Err: err}
		}
		if err := c.expectReset(); err != nil {
			return err
		}
		if !c.Silent() {
			return c.goodbye(0)
		}
	}
	asked := !mail
	if mail {
		b := c.caps.AppendMail(c.wbuf[:0], e.From, &e.Opts)
		c.keep(b)
		if err := c.write(b); err != nil {
			return &FlightError{Err: err}
		}
		if err := c.readMail(e); err != nil {
			return err
		}
	}
	for i := range rcpts {
		if errs[i] != ErrPending { //nolint:errorlint // a mark
			continue
		}
		if e.Refused != nil {
			errs[i] = e.Refused
			continue
		}
		if !asked && !c.Silent() {
			return c.goodbye(1)
		}
		asked = false
		b := c.caps.AppendRcpt(c.wbuf[:0], rcpts[i].To, &rcpts[i].Opts)
		c.keep(b)
		if err := c.write(b); err != nil {
			return &FlightError{Err: err, Replies: 1}
		}
		if err := c.readRcpt(e, &errs[i], 1); err != nil {
			return err
		}
	}
	return nil
}

func (c *Conn) expectReset() error {
	code, err := c.replies.Read()
	if err != nil {
		return &FlightError{Err: err}
	}
	if code != 250 {
		return &FlightError{Err: errClosing, Code: code}
	}
	c.needReset = false
	return nil
}

// readMail reads the reply to MAIL.
func (c *Conn) readMail(e *Envelope) error {
	code, err := c.replies.Read()
	switch {
	case err != nil:
		return &FlightError{Err: err}
	case code == 421:
		return &FlightError{Err: errClosing, Code: code, Reply: c.Said()}
	case code == 250:
		c.needReset = true
	case code < 400:
		return &FlightError{Err: relay.ErrReply, Replies: 1}
	default:
		r := c.Said()
		if forgotten(r) {
			return forgot(r, 0)
		}
		e.Refused = r
	}
	return nil
}

// readRcpt reads the reply to one RCPT. If MAIL was refused, its refusal is the
// answer, whatever the provider says to a RCPT out of order.
func (c *Conn) readRcpt(e *Envelope, dst *error, seen int) error {
	code, err := c.replies.Read()
	switch {
	case err != nil:
		return &FlightError{Err: err, Replies: seen}
	case code == 421:
		return &FlightError{Err: errClosing, Replies: seen, Code: code, Reply: c.Said()}
	case e.Refused != nil:
		if code < 300 {
			c.needReset = true // it took a recipient after all
		}
		*dst = e.Refused
	case code/10 == 25 && !c.merged():
		*dst = nil
	case code < 400:
		return &FlightError{Err: relay.ErrReply, Replies: seen}
	default:
		r := c.Said()
		if forgotten(r) {
			return forgot(r, seen)
		}
		*dst = r
	}
	return nil
}

func forgot(r *relay.Reply, seen int) error {
	return &FlightError{Err: errForgotten, Replies: seen, Code: r.Code, Reply: forgottenReply(r), Forgot: true}
}
