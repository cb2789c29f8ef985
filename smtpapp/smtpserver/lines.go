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

package smtpserver

import (
	"bytes"
	"errors"
)

// lineEnds is how a client ends its lines. The first one decides, and the rest
// of the connection keeps to it: where both CRLF.CRLF and LF.LF could end a
// message, what one server takes for its end another takes for content, and
// commands can be hidden in it (SMTP smuggling).
type lineEnds int

const (
	endsUnknown lineEnds = iota
	// endsCRLF is RFC 5321 section 2.3.8: only CRLF.CRLF ends a message.
	endsCRLF
	// endsLF is a client of a network that is named for it and began with LF:
	// only LF.LF ends a message, and a CR anywhere ends the connection.
	endsLF
	// endsCRCRLF is a client that ends everything as a program in text mode
	// does that writes CRLF, and said so with its first line: the dot too.
	// A dot behind a true CRLF is doubled by whoever passes on a message, so
	// that it ends none that another wrote; all the same, clients that begin
	// with CRLF have CRLF.CRLF alone.
	endsCRCRLF
)

// normalizes reports whether a CR or LF that stands alone becomes CRLF.
func (c *Conn) normalizes() bool {
	switch c.cfg.BareNewline {
	case BareReject:
		return false
	case BareNormalize:
		return true
	}
	// A client that logs in answers for what it sends. One that only sits in
	// a trusted network may relay what others wrote.
	return c.authed || !c.network.Trusted
}

// readLine reads a line that is not of a message, without its end. errBareLF
// says that it does not end as it should.
func (c *Conn) readLine(limit int, interruptible bool) ([]byte, error) {
	line, err := c.w.readLine(limit, interruptible)
	bare := errors.Is(err, errBareLF)
	if err != nil && !bare {
		return line, err
	}
	c.final = false
	if c.lines == endsUnknown {
		c.lines = endsCRLF
		switch {
		case bare && c.network.LFOnly:
			c.lines = endsLF
		case !bare && !c.cfg.Strict && bytes.HasSuffix(line, []byte("\r")):
			c.lines = endsCRCRLF
		}
	}
	switch {
	case c.lines == endsLF && bare:
		return line, nil
	case c.lines == endsLF, bare && !c.normalizes():
		return line, errBareLF
	}
	if !c.cfg.Strict {
		// Two CRs and an LF, of programs that make CRLF of what is CRLF
		// already, are one line end.
		line = bytes.TrimRight(line, "\r")
	}
	return line, nil
}
