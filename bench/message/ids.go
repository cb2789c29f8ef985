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
	"encoding/base64"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"sync/atomic"
)

// Bitmap is a set of sequence numbers, safe for concurrent use.
type Bitmap []atomic.Uint64

func NewBitmap(n int) Bitmap { return make(Bitmap, (n+63)/64) }

// Set adds i and reports whether it was new; ok is false beyond the map's end.
func (b Bitmap) Set(i uint32) (fresh, ok bool) {
	w := int(i / 64)
	if w >= len(b) {
		return false, false
	}
	bit := uint64(1) << (i % 64)
	return b[w].Or(bit)&bit == 0, true
}

// Text is the map for JSON: base64 of its words, trailing zero words cut off.
func (b Bitmap) Text() string {
	n := len(b)
	for n > 0 && b[n-1].Load() == 0 {
		n--
	}
	var buf bytes.Buffer
	for i := range n {
		w := b[i].Load()
		for s := 0; s < 64; s += 8 {
			buf.WriteByte(byte(w >> s))
		}
	}
	return base64.StdEncoding.EncodeToString(buf.Bytes())
}

// Difference counts what is only in a and only in b, both as text() gives them.
func Difference(a, b string) (onlyA, onlyB int, err error) {
	x, err := base64.StdEncoding.DecodeString(a)
	if err != nil {
		return 0, 0, err
	}
	y, err := base64.StdEncoding.DecodeString(b)
	if err != nil {
		return 0, 0, err
	}
	for i := range max(len(x), len(y)) {
		var p, q byte
		if i < len(x) {
			p = x[i]
		}
		if i < len(y) {
			q = y[i]
		}
		onlyA += bits.OnesCount8(p &^ q)
		onlyB += bits.OnesCount8(q &^ p)
	}
	return onlyA, onlyB, nil
}

// The accounts of a run are numbered; name, password and refresh token follow
// from the number.
const accountDomain = "@bench.test"

func AccountName(i int) string     { return fmt.Sprintf("acct-%05d%s", i, accountDomain) }
func AccountPassword(i int) string { return fmt.Sprintf("made-up-password-%05d", i) }
func AccountSeed(i int) string     { return fmt.Sprintf("made-up-seed-%05d", i) }

// AccountNumber is the number in a name or a seed, -1 if there is none.
func AccountNumber(s string) int {
	s = strings.TrimSuffix(s, accountDomain)
	i := strings.LastIndexByte(s, '-')
	n, err := strconv.Atoi(s[i+1:])
	if err != nil {
		return -1
	}
	return n
}
