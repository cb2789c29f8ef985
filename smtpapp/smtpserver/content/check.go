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

package content

import "bytes"

// maxLine is the longest line of a message. RFC 5321 says 998, but real mail does
// not keep to it, and signatures cover the lines as they are.
const maxLine = 1 << 20

// Flaw is what no message may hold.
type Flaw int

// The flaws.
const (
	None    Flaw = iota
	Newline      // a CR or LF that stands alone
	NUL
	Line // one without end
)

// Checker looks at a message as it comes, in pieces: either with Scan and End, or
// with Whole, Clean and Normalize, whichever gets on, in order. Its zero value is at
// the beginning of a message.
type Checker struct {
	NoCR bool // for Normalize: a CR is a flaw

	line int  // length of the current line so far
	cr   bool // the octet before was a CR
	run  int  // for Normalize: how many there were
}

// Held returns how many CRs at the end of what came were not passed on yet.
func (c *Checker) Held() int { return c.run }

// Scan looks at what comes next, of a message that is passed on as it is or not at all.
func (c *Checker) Scan(p []byte) Flaw {
	if bytes.IndexByte(p, 0) >= 0 {
		return NUL
	}
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			if c.cr {
				return Newline
			}
			if j := bytes.IndexByte(p, '\r'); j >= 0 && j < len(p)-1 {
				return Newline
			}
			c.cr = p[len(p)-1] == '\r'
			c.line += len(p)
			if c.line > maxLine {
				return Line
			}
			return None
		}
		if i == 0 {
			if !c.cr {
				return Newline
			}
		} else if c.cr || p[i-1] != '\r' || bytes.IndexByte(p[:i-1], '\r') >= 0 {
			return Newline
		}
		if c.line+i > maxLine {
			return Line
		}
		c.cr = false
		c.line = 0
		p = p[i+1:]
	}
	return None
}

// End is Scan at the end.
func (c *Checker) End() Flaw {
	if c.cr {
		return Newline
	}
	return None
}

// MaxRun is the longest run of CRs that is looked at as one.
const MaxRun = 16

var cr = []byte{'\r'}

// Clean reports whether p is to be passed on as it is, and takes note of its
// lines: nearly all mail is so. It leaves a CR at the end for what follows it: n
// octets are not held back. What began with a CR held back goes on with an LF.
func (c *Checker) Clean(p []byte) (n int, ok bool) {
	if c.NoCR || c.run > 1 || len(p) == 0 || bytes.IndexByte(p, 0) >= 0 {
		return 0, false
	}
	rest, line := p, c.line
	if c.run == 1 {
		if p[0] != '\n' {
			return 0, false
		}
		rest, line = p[1:], 0
	}
	held := 0
	if len(rest) > 0 && rest[len(rest)-1] == '\r' {
		held = 1
		rest = rest[:len(rest)-1]
	}
	// Each CR must be one of those that stand in front of an LF.
	crs := bytes.Count(rest, cr)
	for {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			break
		}
		if i == 0 || rest[i-1] != '\r' || line+i-1 > maxLine {
			return 0, false
		}
		crs--
		rest, line = rest[i+1:], 0
	}
	if line += len(rest); crs != 0 || line > maxLine {
		return 0, false
	}
	c.run, c.line = held, line
	return len(p) - held, true
}

// Whole returns how many octets of p are to be passed on as they are, and takes note of
// their lines: up to a line that begins with a dot, or a CR at the end, of which is
// not known what follows; 0 if anything among them stands alone. ended reports
// whether the last of them ends a line. No CR is held back.
func (c *Checker) Whole(p []byte) (n int, ended bool) {
	if c.NoCR {
		return 0, false
	}
	line, lines := c.line, 0
	for !ended || n == len(p) || p[n] != '.' {
		i := bytes.IndexByte(p[n:], '\n')
		if i < 0 {
			if k := len(bytes.TrimSuffix(p[n:], cr)); k > 0 {
				n, line, ended = n+k, line+k, false
			}
			break
		}
		if i == 0 || p[n+i-1] != '\r' || line+i-1 > maxLine {
			return 0, false
		}
		n, line, ended = n+i+1, 0, true
		lines++
	}
	// Each CR must be one of those that stand in front of an LF.
	if line > maxLine || bytes.Count(p[:n], cr) != lines || bytes.IndexByte(p[:n], 0) >= 0 {
		return 0, false
	}
	c.line = line
	return n, ended
}

// Normalize appends p to dst with CRLF for every CR or LF that stands alone. A
// run of CRs with an LF behind it is one line end: text that was made CRLF twice
// has two CRs and an LF, where each line must not become two.
func (c *Checker) Normalize(dst, p []byte, end bool) ([]byte, Flaw) {
	for _, o := range p {
		if c.run > 0 && o != '\r' {
			if o == '\n' {
				c.run = 1
			}
			dst = c.BreakLines(dst)
			if o == '\n' {
				continue
			}
		}
		switch o {
		case 0:
			return dst, NUL
		case '\r':
			if c.run++; c.NoCR || c.run > MaxRun {
				return dst, Newline
			}
		case '\n':
			c.run = 1
			dst = c.BreakLines(dst)
		default:
			dst = append(dst, o)
			if c.line++; c.line > maxLine {
				return dst, Line
			}
		}
	}
	if end {
		dst = c.BreakLines(dst)
	}
	return dst, None
}

// BreakLines writes the line ends that were held back.
func (c *Checker) BreakLines(dst []byte) []byte {
	for ; c.run > 0; c.run-- {
		dst = append(dst, '\r', '\n')
		c.line = 0
	}
	return dst
}
