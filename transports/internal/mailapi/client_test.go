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
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	date := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) string { return date.Add(d).Format(http.TimeFormat) }
	for _, tc := range []struct {
		value, date string
		want        time.Duration
	}{
		{"", "", 0},
		{"30", "", 30 * time.Second},
		{" 7 ", "", 7 * time.Second},
		{"-5", "", 0},
		{"1e3", "", 0},
		{"9999999999", "", 0},
		{"999999", "", maxHold},
		{at(90 * time.Second), at(0), 90 * time.Second},
		{at(-time.Minute), at(0), 0},
		{at(48 * time.Hour), at(0), maxHold},
		{"soon", at(0), 0},
	} {
		h := http.Header{"Retry-After": {tc.value}, "Date": {tc.date}}
		if got := (&Answer{Header: h}).RetryAfter(); got != tc.want {
			t.Errorf("Retry-After %q at %q: %v, want %v", tc.value, tc.date, got, tc.want)
		}
	}
}

// TestBody holds what is known of a body that was read in part, and that it comes
// again from its beginning as long as it is kept.
func TestBody(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789"), maxReplay/8)
	for _, tc := range []struct {
		name string
		body *Body
		read int
		want progress
		kept bool
	}{
		{"whole, nothing", whole(t, long), 0, nothing, true},
		{"whole, a part", whole(t, long), 10, part, true},
		{"whole, its last octet", whole(t, long), len(long), everything, true},
		{"stream, nothing", Stream(bytes.NewReader(long)), 0, nothing, true},
		{"stream, a part", Stream(bytes.NewReader(long)), 10, part, true},
		{"stream, all but its end", Stream(bytes.NewReader(long[:100])), 100, part, true},
		{"stream, its end", Stream(bytes.NewReader(long[:100])), 101, everything, true},
		{"stream, more than is kept", Stream(bytes.NewReader(long)), len(long), part, false},
		{"stream that fails", Stream(io.MultiReader(strings.NewReader("head"), failing{})), 100, part, true},
	} {
		f, ok := tc.body.open(time.Hour, func() {})
		if !ok {
			t.Fatal(tc.name)
		}
		got, _ := io.ReadAll(io.LimitReader(f, int64(tc.read)))
		if p := f.stop(); p != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, p, tc.want)
		}
		if n, err := f.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
			t.Errorf("%s: it was read after its end: %d, %v", tc.name, n, err)
		}
		f, ok = tc.body.open(time.Hour, func() {})
		if ok != tc.kept {
			t.Errorf("%s: it comes again: %t", tc.name, ok)
		}
		if ok {
			again, _ := io.ReadAll(io.LimitReader(f, int64(len(got))))
			if f.stop(); !bytes.Equal(again, got) {
				t.Errorf("%s: it is another one", tc.name)
			}
		}
	}
}

func whole(t *testing.T, b []byte) *Body {
	t.Helper()
	body, err := hold(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("gone") }
