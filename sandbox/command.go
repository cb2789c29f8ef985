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
	"bytes"
	"slices"
	"strconv"
)

// The command parser is the sandbox's own and strict: one that is shared with
// the gateway, or lenient, would hide the gateway's mistakes.

type verb uint8

const (
	verbUnknown verb = iota
	verbEHLO
	verbHELO
	verbSTARTTLS
	verbAUTH
	verbMAIL
	verbRCPT
	verbDATA
	verbBDAT
	verbRSET
	verbNOOP
	verbQUIT
	verbVRFY
	verbHELP
	numVerbs
)

var verbNames = [numVerbs]string{
	"unknown", "EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "VRFY", "HELP",
}

// parseVerb splits a line, without its CRLF, into the command and what
// follows its space (RFC 5321 section 4.1.1).
func parseVerb(line []byte) (verb, []byte) {
	word, arg, _ := bytes.Cut(line, []byte(" "))
	if len(word) < 4 || len(word) > 8 {
		return verbUnknown, arg
	}
	var up [8]byte
	for i, b := range word {
		if 'a' <= b && b <= 'z' {
			b -= 'a' - 'A'
		}
		up[i] = b
	}
	switch string(up[:len(word)]) {
	case "EHLO":
		return verbEHLO, arg
	case "HELO":
		return verbHELO, arg
	case "STARTTLS":
		return verbSTARTTLS, arg
	case "AUTH":
		return verbAUTH, arg
	case "MAIL":
		return verbMAIL, arg
	case "RCPT":
		return verbRCPT, arg
	case "DATA":
		return verbDATA, arg
	case "BDAT":
		return verbBDAT, arg
	case "RSET":
		return verbRSET, arg
	case "NOOP":
		return verbNOOP, arg
	case "QUIT":
		return verbQUIT, arg
	case "VRFY":
		return verbVRFY, arg
	case "HELP":
		return verbHELP, arg
	}
	return verbUnknown, arg
}

// hasPrefixFold is bytes.HasPrefix without regard to ASCII case.
func hasPrefixFold(b []byte, upper string) bool {
	return len(b) >= len(upper) && bytes.EqualFold(b[:len(upper)], []byte(upper))
}

// parsePath takes "FROM:<path> params" or "TO:<path> params" apart
// (RFC 5321 section 4.1.2). Source routes and spaces are refused.
func parsePath(arg []byte, keyword string) (path, params []byte, ok bool) {
	if !hasPrefixFold(arg, keyword) {
		return nil, nil, false
	}
	arg = arg[len(keyword):]
	if len(arg) < 2 || arg[0] != '<' {
		return nil, nil, false
	}
	quoted, escaped, end := false, false, -1
scan:
	for i, b := range arg[1:] {
		switch {
		case b < 0x20 || b == 0x7f:
			return nil, nil, false
		case escaped:
			escaped = false
		case b == '\\' && quoted:
			escaped = true
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '>':
			end = i + 1
			break scan
		case b == ' ' || b == '<' || b == '\\':
			return nil, nil, false
		}
	}
	if end < 0 {
		return nil, nil, false
	}
	path, params = arg[1:end], arg[end+1:]
	if len(params) > 0 {
		if params[0] != ' ' || len(params) == 1 {
			return nil, nil, false
		}
		params = params[1:]
	}
	if len(path) > 254 || (len(path) > 0 && path[0] == '@') {
		return nil, nil, false
	}
	if len(path) > 0 {
		at := bytes.LastIndexByte(path, '@')
		if at == 0 || at == len(path)-1 {
			return nil, nil, false
		}
		if at < 0 && (keyword != "TO:" || !bytes.EqualFold(path, []byte("postmaster"))) {
			return nil, nil, false
		}
	}
	return path, params, true
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// mailParams are what MAIL says beside the path.
type mailParams struct {
	size int64
	utf8 bool
	body string
}

// Replies to parameters.
const (
	replyBadParam  = "501 5.5.4 Invalid parameter value"
	replyUnknown   = "555 5.5.4 Parameter not recognized or not announced"
	replyTwice     = "501 5.5.4 Parameter given twice"
	replyTooBig    = "552 5.3.4 Message size exceeds fixed maximum message size"
	replyBadPath   = "501 5.1.3 Bad address syntax"
	replyBadSender = "501 5.1.7 Bad sender address syntax"
	replyNeedUTF8  = "553 5.6.7 Address is not ASCII and SMTPUTF8 was not given"
)

// eachParam calls f for each esmtp-param (RFC 5321 section 4.1.2) and stops at
// the first error reply.
func eachParam(params []byte, f func(name string, value []byte, hasValue bool) string) string {
	var seen [8]string
	n := 0
	for len(params) > 0 {
		var p []byte
		p, params, _ = bytes.Cut(params, []byte(" "))
		name, value, hasValue := bytes.Cut(p, []byte("="))
		if len(name) == 0 || len(name) > 10 || (hasValue && len(value) == 0) {
			return replyBadParam
		}
		for _, b := range value {
			if b <= 0x20 || b == 0x7f || b == '=' {
				return replyBadParam
			}
		}
		up := canonicalParam(name)
		if up == "" {
			return replyUnknown
		}
		if slices.Contains(seen[:n], up) {
			return replyTwice
		}
		seen[n] = up
		n++
		if reply := f(up, value, hasValue); reply != "" {
			return reply
		}
	}
	return ""
}

func canonicalParam(name []byte) string {
	for _, s := range [...]string{"SIZE", "BODY", "SMTPUTF8", "AUTH", "RET", "ENVID", "NOTIFY", "ORCPT"} {
		if len(s) == len(name) && hasPrefixFold(name, s) {
			return s
		}
	}
	return ""
}

// parseMailParams checks MAIL's parameters against what was announced.
func (st *settings) parseMailParams(params []byte) (mp mailParams, reply string) {
	reply = eachParam(params, func(name string, value []byte, hasValue bool) string {
		switch name {
		case "SIZE": // RFC 1870 section 4
			n, err := strconv.ParseInt(string(value), 10, 64)
			if err != nil || n < 0 || value[0] == '+' || len(value) > 20 {
				return replyBadParam
			}
			mp.size = n
			if n > st.maxSize {
				return replyTooBig
			}
		case "BODY": // RFC 6152 section 2
			switch {
			case bytes.EqualFold(value, []byte("7BIT")):
				mp.body = "7BIT"
			case bytes.EqualFold(value, []byte("8BITMIME")):
				mp.body = "8BITMIME"
			default:
				return replyBadParam
			}
			if st.app.No8BITMIME {
				return replyUnknown
			}
		case "SMTPUTF8": // RFC 6531 section 3.4
			if hasValue {
				return replyBadParam
			}
			if st.app.NoSMTPUTF8 {
				return replyUnknown
			}
			mp.utf8 = true
		case "AUTH": // RFC 4954 section 5
			if !hasValue {
				return replyBadParam
			}
		case "RET": // RFC 3461 section 4.3
			if !st.profile.dsn {
				return replyUnknown
			}
			if !bytes.EqualFold(value, []byte("FULL")) && !bytes.EqualFold(value, []byte("HDRS")) {
				return replyBadParam
			}
		case "ENVID": // RFC 3461 section 4.4
			if !st.profile.dsn {
				return replyUnknown
			}
			if !hasValue || len(value) > 100 {
				return replyBadParam
			}
		default:
			return replyUnknown
		}
		return ""
	})
	return mp, reply
}

// parseRcptParams checks RCPT's parameters.
func (st *settings) parseRcptParams(params []byte) string {
	return eachParam(params, func(name string, value []byte, hasValue bool) string {
		switch name {
		case "NOTIFY": // RFC 3461 section 4.1
			if !st.profile.dsn {
				return replyUnknown
			}
			words := bytes.Split(value, []byte(","))
			for _, w := range words {
				switch {
				case bytes.EqualFold(w, []byte("NEVER")):
					if len(words) > 1 {
						return replyBadParam
					}
				case bytes.EqualFold(w, []byte("SUCCESS")), bytes.EqualFold(w, []byte("FAILURE")),
					bytes.EqualFold(w, []byte("DELAY")):
				default:
					return replyBadParam
				}
			}
		case "ORCPT": // RFC 3461 section 4.2
			if !st.profile.dsn {
				return replyUnknown
			}
			if !hasValue || !bytes.Contains(value, []byte(";")) || len(value) > 500 {
				return replyBadParam
			}
		default:
			return replyUnknown
		}
		return ""
	})
}

// parseBDAT reads "n" or "n LAST" (RFC 3030 section 2).
func parseBDAT(arg []byte) (n int64, last, ok bool) {
	num, rest, more := bytes.Cut(arg, []byte(" "))
	if more {
		if !bytes.EqualFold(rest, []byte("LAST")) {
			return 0, false, false
		}
		last = true
	}
	if len(num) == 0 || len(num) > 18 {
		return 0, false, false
	}
	for _, b := range num {
		if b < '0' || b > '9' {
			return 0, false, false
		}
		n = n*10 + int64(b-'0')
	}
	return n, last, true
}
