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

// records follows what comes through a TLS connection far enough to know whether
// a record has come in part (RFC 8446 section 5.1): a type, a version and a
// length, and so many octets. TLS gives nothing of a record before its end, and
// the socket nothing of what TLS has read.
type records struct {
	head [5]byte
	n    int // octets of the head that have come
	left int // octets of the record that are yet to come

	whole uint64 // records that have come to their end
}

// follow is told what has come.
func (r *records) follow(b []byte) {
	for len(b) > 0 {
		if r.left > 0 {
			k := min(r.left, len(b))
			r.left -= k
			b = b[k:]
			if r.left == 0 {
				r.whole++
			}
			continue
		}
		k := copy(r.head[r.n:], b)
		b = b[k:]
		if r.n += k; r.n == len(r.head) {
			r.n, r.left = 0, int(r.head[3])<<8|int(r.head[4])
			if r.left == 0 {
				r.whole++
			}
		}
	}
}

// amid reports whether a part of a record has come.
func (r *records) amid() bool { return r.n > 0 || r.left > 0 }

// due is how many octets may be read without going beyond a record's end.
func (r *records) due() int {
	if r.left > 0 {
		return r.left
	}
	return len(r.head) - r.n
}
