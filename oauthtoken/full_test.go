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

package oauthtoken

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
)

// TestDiskFullAtEachWrite has the disk fill up, or fail once, at each write of a few
// refreshes, and the process end then, in order or not. The consent is there still,
// and no spent token was sent again. A write that fails though there was room for it
// costs the consent only where the process is killed before the next.
func TestDiskFullAtEachWrite(t *testing.T) {
	for _, killed := range []bool{false, true} {
		for rounds := 1; rounds <= 3; rounds++ {
			for free := 0; free <= 96<<10; free += 8 << 10 {
				t.Run(fmt.Sprintf("killed=%v/%d rounds/%d free", killed, rounds, free), func(t *testing.T) {
					var mu sync.Mutex
					left, sizes := free, map[string]int{}
					testDiskFull(t, killed, rounds, func(dir string) func(op, key string) error {
						return smallDisk(dir, &left, sizes, &mu)
					})
				})
			}
			for nth := 1; nth <= 8 && !killed; nth++ {
				for _, sticky := range []bool{false, true} {
					t.Run(fmt.Sprintf("%d rounds/write %d fails/sticky=%v", rounds, nth, sticky), func(t *testing.T) {
						var mu sync.Mutex
						n := 0
						testDiskFull(t, false, rounds, func(string) func(op, key string) error {
							return func(op, _ string) error {
								mu.Lock()
								defer mu.Unlock()
								if op != "save" {
									return nil
								}
								if n++; n == nth || sticky && n > nth {
									return syscall.ENOSPC
								}
								return nil
							}
						})
					})
				}
			}
		}
	}
}

func testDiskFull(t *testing.T, killed bool, rounds int, fault func(dir string) func(op, key string) error) {
	t.Helper()
	s := newEndpoint(t)
	dir := t.TempDir()
	a := newApp(t, config(dir, s.URL, nil))
	seed := s.seed("alice")
	mustToken(t, a.App, "p", "alice", seed)
	hooksOf(dir).set(fault(dir))
	for range rounds {
		a.expire("alice")
		a.unblock("alice")
		_, _ = a.Token(context.Background(), ask("p", "alice", "", seed))
	}
	next := dir
	if killed {
		next = t.TempDir()
		if err := os.CopyFS(next, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
	} else {
		hooksOf(dir).set(nil) // room again, for the last writes
		a.stop()
	}
	b := newApp(t, config(next, s.URL, nil))
	b.expire("alice")
	if !s.use(mustToken(t, b.App, "p", "alice", seed)) {
		t.Error("not valid")
	}
	if f := s.family("alice"); f.reused != 0 || f.revoked {
		t.Errorf("%+v", f)
	}
	hooksOf(dir).set(nil)
}
