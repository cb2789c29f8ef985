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

package limits

import (
	"fmt"
	"testing"
	"time"
	"unsafe"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/limits/internal/window"
)

// BenchmarkReserve is a message's share of the limiter. With very many mailboxes it
// waits for memory: BenchmarkMemory is the same lines with nothing to compute, and
// with no lock, so that the processor fetches several at a time.
func BenchmarkReserve(b *testing.B) {
	for _, mailboxes := range []int{10, 1000, 100_000} {
		b.Run(fmt.Sprint(mailboxes), func(b *testing.B) {
			l := process(nil, accounts.Limits{Messages: accounts.Rate{Count: 1 << 40, Per: day}, Rate: accounts.Rate{Count: 1 << 40, Per: time.Minute}})
			list := make([]Account, mailboxes)
			for i := range list {
				list[i] = l.Account(fmt.Sprint("m", i), "a", nil)
				s, err := list[i].Reserve(b.Context(), impatient)
				if err != nil {
					b.Fatal(err)
				}
				list[i].Commit(s, 1)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				a := list[i*7919%mailboxes]
				s, err := a.Reserve(b.Context(), impatient)
				if err != nil {
					b.Fatal(err)
				}
				a.Commit(s, 1)
			}
			b.StopTimer()
			for _, a := range list {
				a.Close()
			}
			stop(l)
		})
	}
}

// BenchmarkMemory reads and writes the lines of memory that BenchmarkReserve does, of
// as many mailboxes, and computes nothing.
func BenchmarkMemory(b *testing.B) {
	const (
		line  = 64
		hot   = unsafe.Offsetof(mailbox{}.firstOne) + unsafe.Offsetof(account{}.name)
		whole = unsafe.Sizeof(mailbox{})
	)
	type windows [unsafe.Sizeof(window.Room{})]byte
	type box struct {
		windows *windows
		own     [whole - 8]byte
	}
	for _, mailboxes := range []int{10, 1000, 100_000} {
		b.Run(fmt.Sprint(mailboxes), func(b *testing.B) {
			list := make([]any, mailboxes) // two words each, as an Account is
			for i := range list {
				list[i] = &box{windows: new(windows)}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				m := list[i*7919%mailboxes].(*box)
				for at := 0; at < int(hot); at += line {
					m.own[at]++
				}
				w := m.windows
				for at := 0; at < len(w); at += line {
					w[at]++
				}
			}
		})
	}
}
