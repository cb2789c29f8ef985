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

package extensions

import (
	"unicode/utf8"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
)

// CheckMail says why the provider can't carry the message, or its sender can't
// stand in a command. nil: it can.
func (s *Set) CheckMail(from string, opts *smtp.MailOptions) *relay.Reply {
	if opts.UTF8 && !s.UTF8 && !ASCII(from) {
		return relay.ReplyNoSMTPUTF8
	}
	if !safePath(from, opts.UTF8) {
		return relay.ReplyBadSender
	}
	switch opts.Body {
	case smtp.BodyBinaryMIME:
		// It can't travel as DATA (RFC 3030 section 3).
		if !s.Binary || !s.Chunking {
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
func (s *Set) CheckRcpt(to string, opts *smtp.MailOptions) *relay.Reply {
	if to == "" || !safePath(to, opts.UTF8) {
		return relay.ReplyBadRecipient
	}
	if !s.UTF8 && !ASCII(to) {
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

// ASCII reports whether s needs no SMTPUTF8.
func ASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
