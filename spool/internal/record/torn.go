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

package record

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// judge says what the octets are that stand where a line should, with no whole line
// behind them, up to the last one that is not zero. What a crash leaves of a line has
// no end, and was never believed. A line that has its end and cannot be read was
// written as a whole, and what it said may have been believed: it counts as lost, and
// the next line goes behind it.
func (r *File) judge(end int64) error {
	n := end - r.at.off
	if n == 0 {
		return nil
	}
	whole := n > frameHead+maxFrame
	if !whole {
		b := make([]byte, n)
		if got, err := r.f.ReadAt(b, r.at.off); int64(got) < n && !errors.Is(err, io.EOF) {
			return err
		}
		whole = !torn(b)
	}
	if !whole {
		r.remains = n
		return nil
	}
	r.lost += n
	r.at = place{end, r.at.index + 1}
	return nil
}

// torn reports whether a line lacks its end. The last octet of a line is never zero,
// see write, and what follows it is.
func torn(b []byte) bool {
	if len(b) <= frameHead {
		return true
	}
	length := int(binary.BigEndian.Uint32(b))
	switch {
	case length > maxFrame:
		return false // no line says so of itself, not a part of one either
	case crc32.Update(crc32.Checksum(b[4:5], castagnoli), castagnoli, b[frameHead:]) == binary.BigEndian.Uint32(b[5:]):
		return false // all of it is there, and its length is wrong
	case length == 0:
		// Earlier versions wrote four zeros over what was torn, and left the rest.
		return b[4] != 0
	}
	return len(b) < frameHead+length
}
