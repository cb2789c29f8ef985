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

package spool

import (
	"errors"
	"io"
	"sync"

	"github.com/caddymail/mailgateway/spool/internal/record"
)

// keepInMemory is how much of a body is kept in memory before a file is written:
// most messages cost no file while the provider answers.
const keepInMemory = 256 << 10

var chunks = sync.Pool{New: func() any { b := make([]byte, 0, record.ChunkSize); return &b }}

// keeper reads a body for the provider and keeps what it has read. Nothing of it
// is synced until commit.
type keeper struct {
	store *store
	env   *record.Envelope
	src   io.Reader

	mem     []*[]byte
	size    int64
	rec     *record.File // once it is written to a file
	over    bool         // the body was read to its end
	readErr error        // of the client's body
	err     error        // of keeping it: the message goes on without
}

func newKeeper(s *store, env *record.Envelope, src io.Reader) *keeper {
	return &keeper{store: s, env: env, src: src}
}

// Read implements io.Reader.
func (k *keeper) Read(p []byte) (int, error) {
	n, err := k.src.Read(p)
	if n > 0 {
		k.size += int64(n)
		k.keep(p[:n])
	}
	switch {
	case errors.Is(err, io.EOF):
		k.over = true
	case err != nil:
		k.readErr = err
	}
	return n, err
}

// rest reads what nobody has read yet. The error is the client's.
func (k *keeper) rest() error {
	if k.over || k.readErr != nil {
		return k.readErr
	}
	buf := chunks.Get().(*[]byte) //nolint:forcetypeassert // what the pool makes
	defer chunks.Put(buf)
	for !k.over && k.readErr == nil {
		_, _ = k.Read((*buf)[:record.ChunkSize])
	}
	return k.readErr
}

func (k *keeper) keep(p []byte) {
	for len(p) > 0 && k.err == nil {
		last := len(k.mem) - 1
		if last < 0 || len(*k.mem[last]) == record.ChunkSize {
			if len(k.mem) == keepInMemory/record.ChunkSize {
				k.err = k.spill()
				continue
			}
			c := chunks.Get().(*[]byte) //nolint:forcetypeassert // what the pool makes
			*c = (*c)[:0]
			k.mem = append(k.mem, c)
			continue
		}
		c := k.mem[last]
		n := copy((*c)[len(*c):record.ChunkSize], p)
		*c = (*c)[:len(*c)+n]
		p = p[n:]
	}
}

// spill writes what is in memory to the file, which it makes.
func (k *keeper) spill() error {
	// Asked for each part: many bodies that come at once fill a disk too.
	if err := k.store.mayKeep(k.env); err != nil {
		return err
	}
	if k.rec == nil {
		rec, err := k.store.create(k.env)
		if err != nil {
			return err
		}
		k.rec = rec
	}
	for _, c := range k.mem {
		if err := k.rec.WriteBody(*c); err != nil {
			return err
		}
	}
	k.freeMemory()
	return nil
}

func (k *keeper) freeMemory() {
	for _, c := range k.mem {
		chunks.Put(c)
	}
	k.mem = k.mem[:0]
}

// commit makes the message durable. The body must have been read to its end.
func (k *keeper) commit() error {
	if k.err == nil {
		k.err = k.spill()
	}
	if k.err == nil {
		k.err = k.store.commit(k.rec, k.env, k.size)
		k.rec = nil
	}
	return k.err
}

// drop forgets what was kept.
func (k *keeper) drop() {
	k.freeMemory()
	if k.rec != nil {
		k.store.discard(k.rec)
		k.rec = nil
	}
}
