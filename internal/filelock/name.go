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

package filelock

import (
	"context"
	"hash/fnv"
	"os"
	"path/filepath"
	"time"
)

// OpenBytesIn opens a file of a directory as OpenBytes does. The directory is made too if
// it is not there.
func OpenBytesIn(dir, name string) (*Bytes, error) {
	f, err := OpenBytes(filepath.Join(dir, name))
	if os.IsNotExist(err) {
		if err = os.MkdirAll(dir, 0o700); err == nil {
			f, err = OpenBytes(filepath.Join(dir, name))
		}
	}
	return f, err
}

// Place is the byte that stands for a name. Two names at one place, which is one
// chance in 10^18 a pair, only wait for each other.
func Place(name string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return int64(h.Sum64() >> 2) //nolint:gosec // 62 bits
}

// A lock that is held is looked at again soon at first, then as often as a file
// storage would.
const (
	lookSoon = 2 * time.Millisecond
	lookLate = 250 * time.Millisecond
)

// Wait tries until it works, or ctx is over: the system tells nobody that a lock has
// become free.
func Wait(ctx context.Context, try func() (bool, error)) error {
	for wait := lookSoon; ; wait = min(2*wait, lookLate) {
		if ok, err := try(); ok || err != nil {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}
