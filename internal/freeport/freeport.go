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

// Package freeport finds ports for what a test or a benchmark starts.
package freeport

import (
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/caddymail/mailgateway/internal/filelock"
)

// The ports are below those that systems give to outgoing connections (Linux
// from 32768, others from 49152): one of these could take a port between the
// moment it was found free and the moment a program listens on it.
const first, last = 10_000, 32_767

var (
	mu    sync.Mutex
	taken = make(map[int]bool)
)

// between has a byte for each port, which the process that was given the port
// holds until it ends: the tests of several packages run at once, and what one
// found free the other would find free too until a program listens there. It is
// nil where bytes cannot be locked.
var between = sync.OnceValue(func() *filelock.Bytes {
	b, err := filelock.OpenBytes(filepath.Join(os.TempDir(), "mailgateway-ports.lock"))
	if err != nil {
		return nil
	}
	return b
})

// Loopback returns an address on 127.0.0.1 that nothing listens on, and never
// the same one twice, nor one that another process was given and may still use.
func Loopback() (string, error) { return loopback(first, last) }

func loopback(first, last int) (string, error) {
	mu.Lock()
	defer mu.Unlock()
	for range 1000 {
		port := first + rand.IntN(last-first+1) //nolint:gosec // no secret
		if taken[port] {
			continue
		}
		if b := between(); b != nil {
			if ours, err := b.Try(int64(port), false); err == nil && !ours {
				continue
			}
		}
		taken[port] = true // free or not: the byte stays held
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		return addr, ln.Close()
	}
	return "", errors.New("no free port on 127.0.0.1")
}
