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

package mailapi

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/iotest"
	"time"
)

// sizes are those at which blocks and groups of three octets begin and end.
func sizes() []int {
	ends := []int{0}
	for i := range 5 {
		ends = append(ends, ends[i]+blockSizes[min(i, len(blockSizes)-1)])
	}
	var all []int
	for _, end := range ends {
		for d := -3; d <= 3; d++ {
			if end+d >= 0 {
				all = append(all, end+d)
			}
		}
	}
	return all
}

// TestBase64 holds that a message of each size leaves as base64 of all of it, of the
// length that was said, however its octets come and leave, and the same a second time.
func TestBase64(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	for _, size := range sizes() {
		msg := make([]byte, size)
		for i := range msg {
			msg[i] = byte(rnd.Uint32()) //nolint:gosec // an octet of it
		}
		want := base64.StdEncoding.EncodeToString(msg)
		for name, r := range map[string]io.Reader{
			"whole": bytes.NewReader(msg), "halves": iotest.HalfReader(bytes.NewReader(msg)), "with EOF": iotest.DataErrReader(bytes.NewReader(msg)),
		} {
			b, err := Base64(r)
			if err != nil {
				t.Fatal(err)
			}
			if b.length() != int64(len(want)) {
				t.Errorf("%d octets, %s: a length of %d, want %d", size, name, b.length(), len(want))
			}
			for _, buffer := range []int{1 + rnd.IntN(9), 4 << 10, 32<<10 + 1} {
				f, ok := b.open(time.Hour, func() {})
				if !ok {
					t.Fatal("it does not come again")
				}
				var got bytes.Buffer
				if buffer > 9 || size < 50_000 {
					_, err = io.CopyBuffer(&got, struct{ io.Reader }{f}, make([]byte, buffer))
				} else {
					_, err = io.Copy(&got, f)
				}
				if err != nil || got.String() != want {
					t.Errorf("%d octets, %s, by %d: %d octets, %v", size, name, buffer, got.Len(), err)
				}
				if p := f.stop(); p != everything && size > 0 {
					t.Errorf("%d octets, %s: %v", size, name, p)
				}
			}
			b.close()
		}
	}
}

// TestHeldBreaksOff: of a message that breaks off nothing is held, and the cause is
// told as it is.
func TestHeldBreaksOff(t *testing.T) {
	gone := errors.New("gone")
	for _, size := range sizes() {
		if b, err := Base64(io.MultiReader(bytes.NewReader(make([]byte, size)), iotest.ErrReader(gone))); b != nil || !errors.Is(err, gone) {
			t.Errorf("%d octets: %v", size, err)
		}
	}
}

// TestHeldMemory holds what a held message takes of memory until it has left, of its
// own size: the least of several, since what is left of other tests counts along.
func TestHeldMemory(t *testing.T) {
	const most = 1.15
	for _, size := range []int{64 << 10, 500_000, 3_000_000, 30 << 20} {
		least := math.Inf(1)
		for range 5 {
			runtime.GC()
			runtime.GC() // what the pools have is gone now
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			b, err := Base64(io.LimitReader(zeros{}, int64(size)))
			if err != nil {
				t.Fatal(err)
			}
			f, _ := b.open(time.Hour, func() {})
			n, err := io.Copy(io.Discard, f)
			runtime.ReadMemStats(&after)
			if err != nil || n != b.length() {
				t.Fatal(n, err)
			}
			f.stop()
			b.close()
			least = min(least, float64(after.TotalAlloc-before.TotalAlloc-copyBuffer)/float64(size))
		}
		t.Logf("%d octets: %.2f times as many", size, least)
		// The last block may be unused but for one octet.
		if rest := float64(blockSizes[len(blockSizes)-1]) / float64(size); least > most+rest {
			t.Errorf("a message of %d octets took %.2f times as many of memory", size, least)
		}
	}
}

// copyBuffer is what io.Discard copies with.
const copyBuffer = 8 << 10

// zeros is a reader without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestHeldAnew: what a message leaves behind is another one's, and none sees it.
func TestHeldAnew(t *testing.T) {
	for size := range 300 {
		b, err := Base64(io.LimitReader(zeros{}, int64(size*977)))
		if err != nil {
			t.Fatal(err)
		}
		f, _ := b.open(time.Hour, func() {})
		got, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, f))
		if err != nil || len(got) != size*977 || bytes.Count(got, []byte{0}) != len(got) {
			t.Fatalf("%d octets, %v", len(got), err)
		}
		f.stop()
		if n, err := f.Read(make([]byte, 10)); n != 0 || err == nil {
			t.Fatal("it is read after its end")
		}
		for _, block := range b.held.blocks {
			for i := range block {
				block[i] = 1
			}
		}
		b.close()
	}
}
