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

package messagelog

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
)

func TestQueueID(t *testing.T) {
	for reply, want := range map[string]string{
		"2.0.0 Ok: queued as 4XyZ1k2Jz9":                                                                    "4XyZ1k2Jz9",
		"2.0.0 OK  1732565839 a640c23a62f3a-aa5b2f3sm123456b.12 - gsmtp":                                    "a640c23a62f3a-aa5b2f3sm123456b.12",
		"2.6.0 <abc@example.com> [InternalId=123, Hostname=X.prod] 9 bytes in 0.1 Queued mail for delivery": "abc@example.com",
		"OK id=1tFhXa-000000001Yz-0abc":                                                                     "1tFhXa-000000001Yz-0abc",
		"2.0.0 4APHxyz012345 Message accepted for delivery":                                                 "4APHxyz012345",
		"Ok 0100019361b2c3d4-5e6f7a8b-1234-4321-9999-aabbccddeeff-000000":                                   "0100019361b2c3d4-5e6f7a8b-1234-4321-9999-aabbccddeeff-000000",
		"2.0.0 Message accepted":                                                                            "",
		"OK dirdel":                                                                                         "",
		"":                                                                                                  "",
	} {
		if got := queueID([]string{reply}); got != want {
			t.Errorf("%q: %q, want %q", reply, got, want)
		}
	}
}

// FuzzSegment holds that no content of a file makes a reader fail, and that what
// is read of it are whole records.
func FuzzSegment(f *testing.F) {
	line, err := appendRecord(nil, entry(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(header + string(line)))
	f.Add([]byte(header + string(line) + string(line[:30])))
	f.Add([]byte(header[:7]))
	f.Add([]byte(header + "00000000 {}\n"))
	f.Add([]byte("\n\n\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), segmentName(1))
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, v, err := openSegment(path, 1)
		if err != nil {
			return
		}
		if s.size+v.torn != int64(len(content)) && s.size != 0 {
			t.Fatalf("%d and %d of %d octets", s.size, v.torn, len(content))
		}
		m := newMatcher(Query{}, nil)
		found := 0
		for _, line := range newestFirst(content[:min(s.size, int64(len(content)))]) {
			if m.match(line) != nil {
				found++
			}
		}
		if found > s.count {
			t.Fatalf("%d found of %d", found, s.count)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	c := &Config{Directory: b.TempDir()}
	if err := c.Provision(); err != nil {
		b.Fatal(err)
	}
	l, detach := Attach(c, zap.NewNop())
	defer detach()
	for b.Loop() {
		l.Add(entry(1))
	}
	b.ReportMetric(float64(l.dropped.Load())/float64(b.N), "dropped/op")
}

func BenchmarkSearch(b *testing.B) {
	c := &Config{Directory: b.TempDir()}
	if err := c.Provision(); err != nil {
		b.Fatal(err)
	}
	l, detach := Attach(c, zap.NewNop())
	defer detach()
	for n := range 100_000 {
		l.Add(entry(n))
		if n%1000 == 0 {
			if _, _, err := l.flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	for b.Loop() {
		if page, err := l.Search(b.Context(), Query{Recipient: "r1@example.org"}); err != nil || len(page.Messages) == 0 {
			b.Fatal(page, err)
		}
	}
	b.ReportMetric(float64(l.Status().Octets), "octets")
}
