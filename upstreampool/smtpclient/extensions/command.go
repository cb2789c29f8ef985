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
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"
)

// AppendMail appends the MAIL command, with the parameters that the provider
// understands. AUTH= (RFC 4954 section 5) goes to other gateways alone.
func (s *Set) AppendMail(b []byte, from string, opts *smtp.MailOptions) []byte {
	b = append(b, "MAIL FROM:<"...)
	b = append(b, from...)
	b = append(b, '>')
	if opts.Size > 0 && s.Size {
		b = append(b, " SIZE="...)
		b = strconv.AppendInt(b, opts.Size, 10)
	}
	switch opts.Body {
	case smtp.Body8BitMIME:
		if s.EightBit {
			b = append(b, " BODY=8BITMIME"...)
		}
	case smtp.BodyBinaryMIME:
		b = append(b, " BODY=BINARYMIME"...)
	}
	if opts.UTF8 && s.UTF8 {
		b = append(b, " SMTPUTF8"...)
	}
	if opts.Auth != nil {
		b = append(b, " AUTH="...)
		b = appendXtext(b, *opts.Auth)
	}
	if s.DSN {
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

// AppendRcpt appends the RCPT command.
func (s *Set) AppendRcpt(b []byte, to string, opts *smtp.RcptOptions) []byte {
	b = append(b, "RCPT TO:<"...)
	b = append(b, to...)
	b = append(b, '>')
	if s.DSN && opts != nil {
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
			if opts.OriginalRecipientType == smtp.DSNAddressTypeUTF8 && s.UTF8 {
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
