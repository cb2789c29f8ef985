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

package message

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
)

// Every message starts with one line that says which it is and what follows:
//
//	X-Bench: RUN SEQ LENGTH CRC
//
// each as eight hexadecimal digits. LENGTH and CRC (Castagnoli) are those of
// everything after that line, so that the sink can tell a lost, a repeated and
// a damaged message apart without keeping any.
const (
	markPrefix = "X-Bench: "
	markLen    = len(markPrefix) + 4*8 + 3 + 2
	seqOffset  = len(markPrefix) + 9
	stuffing   = "\r\n."
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Mark is the parsed first line.
type Mark struct{ Run, Seq, Length, CRC uint32 }

// Template is a message of exactly size bytes whose mark carries run; the
// sequence number is patched in by setSeq.
func Template(run uint32, size int) ([]byte, error) {
	const head = "From: <sender@bench.test>\r\nTo: <rcpt@example.net>\r\nSubject: bench\r\n\r\n.a line that starts with a dot\r\n"
	if size < markLen+len(head)+2 {
		return nil, fmt.Errorf("body of %d bytes is too small", size)
	}
	rest := make([]byte, 0, size-markLen)
	rest = append(rest, head...)
	const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/="
	for i := 0; len(rest) < size-markLen-2; i++ {
		if i%78 == 76 && len(rest)+2 <= size-markLen-2 {
			rest = append(rest, "\r\n"...)
			i++
			continue
		}
		rest = append(rest, alphabet[i*7%len(alphabet)])
	}
	rest = append(rest, "\r\n"...)
	m := fmt.Appendf(make([]byte, 0, size), "%s%08x %08x %08x %08x\r\n", markPrefix, run, 0, len(rest), crc32.Checksum(rest, castagnoli))
	return append(m, rest...), nil
}

// Stuff is the template as DATA carries it, with the final dot (RFC 5321
// section 4.5.2). The template never starts with a dot.
func Stuff(msg []byte) []byte {
	out := bytes.ReplaceAll(msg, []byte(stuffing), []byte(stuffing+"."))
	return append(out, ".\r\n"...)
}

const hexDigits = "0123456789abcdef"

// SetSeq patches the sequence number into a message that starts at msg[0].
func SetSeq(msg []byte, seq uint32) {
	for i := seqOffset + 7; i >= seqOffset; i-- {
		msg[i] = hexDigits[seq&15]
		seq >>= 4
	}
}

// Check parses a received message and verifies it. A relay may have put its
// own header fields before the mark.
func Check(msg []byte) (m Mark, ok bool) {
	if !bytes.HasPrefix(msg, []byte(markPrefix)) {
		i := bytes.Index(msg, []byte("\n"+markPrefix))
		if i < 0 {
			return m, false
		}
		msg = msg[i+1:]
	}
	if len(msg) < markLen {
		return m, false
	}
	var field [4]uint32
	for i := range field {
		var b [4]byte
		at := len(markPrefix) + i*9
		if _, err := hex.Decode(b[:], msg[at:at+8]); err != nil {
			return m, false
		}
		field[i] = binary.BigEndian.Uint32(b[:])
	}
	m = Mark{Run: field[0], Seq: field[1], Length: field[2], CRC: field[3]}
	rest := msg[markLen:]
	return m, uint32(len(rest)) == m.Length && crc32.Checksum(rest, castagnoli) == m.CRC
}

// Unstuff takes the transparency dots out of a DATA body in place. The body
// ends with CRLF; its final dot is already gone.
func Unstuff(b []byte) []byte {
	w := 0
	if len(b) > 0 && b[0] == '.' {
		b = b[1:]
	}
	r := 0
	for {
		i := bytes.Index(b[r:], []byte(stuffing))
		if i < 0 {
			break
		}
		end := r + i + 2
		w += copy(b[w:], b[r:end])
		r = end + 1
	}
	w += copy(b[w:], b[r:])
	return b[:w]
}
