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
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
)

// CheckMail says why the provider can't carry the message, or its sender can't
// stand in a command. nil: it can.
func (c *Conn) CheckMail(e *Envelope) *relay.Reply {
	opts := &e.Opts
	if opts.UTF8 && !c.caps.utf8 && !ascii(e.From) {
		return relay.ReplyNoSMTPUTF8
	}
	if !safePath(e.From, opts.UTF8) {
		return relay.ReplyBadSender
	}
	switch opts.Body {
	case smtp.BodyBinaryMIME:
		// It can't travel as DATA (RFC 3030 section 3).
		if !c.caps.binary || !c.caps.chunking {
			return relay.ReplyNo8BITMIME
		}
	}
	if opts.RequireTLS {
		// Dropping it would break its promise (RFC 8689 section 2).
		return relay.ReplyUnknownParameter
	}
	return nil
}

// CheckRcpt says why a recipient can't be sent. nil: it can.
func (c *Conn) CheckRcpt(e *Envelope, to string) *relay.Reply {
	if to == "" || !safePath(to, e.Opts.UTF8) {
		return relay.ReplyBadRecipient
	}
	if !c.caps.utf8 && !ascii(to) {
		return relay.ReplyNoSMTPUTF8
	}
	return nil
}

// safePath reports whether an address can be written between angle brackets
// without becoming anything else. The grammar has been checked by the front;
// this is the last line of defence against a command in an address.
func safePath(s string, allowUTF8 bool) bool {
	if len(s) > 1000 {
		return false
	}
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f || c == '<' || c == '>':
			return false
		case c >= utf8.RuneSelf:
			if !allowUTF8 {
				return false
			}
		case c == ' ' && !quoted:
			return false
		case c == '\\' && quoted:
			if i++; i == len(s) || s[i] < ' ' || s[i] >= 0x7f || s[i] == '<' || s[i] == '>' {
				return false
			}
		case c == '"':
			quoted = !quoted
		}
	}
	return !quoted && (!allowUTF8 || utf8.ValidString(s))
}

// appendMail appends the MAIL command, with the parameters that the provider
// understands. AUTH= (RFC 4954 section 5) goes to other gateways alone.
func appendMail(b []byte, c *caps, e *Envelope) []byte {
	opts := &e.Opts
	b = append(b, "MAIL FROM:<"...)
	b = append(b, e.From...)
	b = append(b, '>')
	if opts.Size > 0 && c.size {
		b = append(b, " SIZE="...)
		b = strconv.AppendInt(b, opts.Size, 10)
	}
	switch opts.Body {
	case smtp.Body8BitMIME:
		if c.eightBit {
			b = append(b, " BODY=8BITMIME"...)
		}
	case smtp.BodyBinaryMIME:
		b = append(b, " BODY=BINARYMIME"...)
	}
	if opts.UTF8 && c.utf8 {
		b = append(b, " SMTPUTF8"...)
	}
	if opts.Auth != nil {
		b = append(b, " AUTH="...)
		b = appendXtext(b, *opts.Auth)
	}
	if c.dsn {
		if opts.Return == smtp.DSNReturnFull || opts.Return == smtp.DSNReturnHeaders {
			b = append(b, " RET="...)
			b = append(b, opts.Return...)
		}
		if opts.EnvelopeID != "" {
			b = append(b, " ENVID="...)
			b = appendXtext(b, opts.EnvelopeID)
		}
	}
	return append(b, "\r\n"...)
}

// appendRcpt appends the RCPT command.
func appendRcpt(b []byte, c *caps, to string, opts *smtp.RcptOptions) []byte {
	b = append(b, "RCPT TO:<"...)
	b = append(b, to...)
	b = append(b, '>')
	if c.dsn && opts != nil {
		for i, n := range opts.Notify {
			switch n {
			case smtp.DSNNotifyNever, smtp.DSNNotifyDelayed, smtp.DSNNotifyFailure, smtp.DSNNotifySuccess:
			default:
				continue
			}
			if i == 0 {
				b = append(b, " NOTIFY="...)
			} else {
				b = append(b, ',')
			}
			b = append(b, n...)
		}
		if opts.OriginalRecipient != "" {
			b = append(b, " ORCPT="...)
			if opts.OriginalRecipientType == smtp.DSNAddressTypeUTF8 && c.utf8 {
				b = append(b, "utf-8;"...)
				b = appendUTF8Xtext(b, opts.OriginalRecipient)
			} else {
				b = append(b, "rfc822;"...)
				b = appendXtext(b, opts.OriginalRecipient)
			}
		}
	}
	return append(b, "\r\n"...)
}

const hexDigits = "0123456789ABCDEF"

// appendXtext encodes as RFC 3461 section 4 asks.
func appendXtext(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			b = append(b, '+', hexDigits[c>>4], hexDigits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}

// appendUTF8Xtext encodes as utf-8-addr-xtext (RFC 6533 section 3), which any
// server with DSN can carry.
func appendUTF8Xtext(b []byte, s string) []byte {
	for _, r := range s {
		if r < '!' || r > '~' || strings.ContainsRune(`+=\`, r) {
			b = append(b, `\x{`...)
			if r < 0x10 {
				b = append(b, '0')
			}
			b = append(b, strings.ToUpper(strconv.FormatInt(int64(r), 16))...)
			b = append(b, '}')
		} else {
			b = append(b, byte(r))
		}
	}
	return b
}
