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

package ldap

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"sync"
	"time"
)

const (
	// wrongFor is how long a wrong password is not asked for again, while its entry says
	// that the password is the same. Directories lock an entry after a few wrong ones: a
	// device that keeps an old one, and tries it every minute, must not do that to its owner.
	wrongFor = 10 * time.Minute
	// maxWrong are remembered.
	maxWrong = 10_000
)

// wrong remembers passwords that were wrong, as keyed digests.
type wrong struct {
	key [32]byte

	mu    sync.Mutex
	until map[[sha256.Size]byte]time.Time
}

func newWrong() *wrong {
	w := &wrong{until: make(map[[sha256.Size]byte]time.Time)}
	_, _ = rand.Read(w.key[:])
	return w
}

// digest is that of a password, and of which one of whom it was tried for.
func (w *wrong) digest(stamp, password string) (d [sha256.Size]byte) {
	h := hmac.New(sha256.New, w.key[:])
	_, _ = io.WriteString(h, stamp+":"+password) // a stamp has no colon
	h.Sum(d[:0])
	return d
}

func (w *wrong) has(d [sha256.Size]byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	until, ok := w.until[d]
	return ok && time.Now().Before(until)
}

func (w *wrong) add(d [sha256.Size]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := time.Now()
	if len(w.until) >= maxWrong {
		for old, until := range w.until {
			if !at.Before(until) {
				delete(w.until, old)
			}
		}
		for old := range w.until {
			if len(w.until) < maxWrong {
				break
			}
			delete(w.until, old)
		}
	}
	w.until[d] = at.Add(wrongFor)
}
