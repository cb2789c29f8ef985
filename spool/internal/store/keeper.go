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

package store

import (
	"errors"
	"io"
	"sync"

	"github.com/caddymail/mailgateway/spool/internal/record"
)

// KeepInMemory is how much of a body is kept in memory before a file is written:
// most messages cost no file while the provider answers.
const KeepInMemory = 256 << 10

var chunks = sync.Pool{New: func() any { b := make([]byte, 0, record.ChunkSize); return &b }}

// Keeper reads a body for the provider and keeps what it has read. Nothing of it
// is synced until commit.
type Keeper struct {
	store *Store
	Env   *record.Envelope
	src   io.Reader

	mem     []*[]byte
	Size    int64
	rec     *record.File // once it is written to a file
	over    bool         // the body was read to its end
	ReadErr error        // of the client's body
	err     error        // of keeping it: the message goes on without
}

func NewKeeper(s *Store, env *record.Envelope, src io.Reader) *Keeper {
	return &Keeper{store: s, Env: env, src: src}
}

// Read implements io.Reader.
func (k *Keeper) Read(p []byte) (int, error) {
	n, err := k.src.Read(p)
	if n > 0 {
		k.Size += int64(n)
		k.keep(p[:n])
	}
	switch {
	case errors.Is(err, io.EOF):
		k.over = true
	case err != nil:
		k.ReadErr = err
	}
	return n, err
}

// Rest reads what nobody has read yet. The error is the client's.
func (k *Keeper) Rest() error {
	if k.over || k.ReadErr != nil {
		return k.ReadErr
	}
	buf := chunks.Get().(*[]byte) //nolint:forcetypeassert // what the pool makes
	defer chunks.Put(buf)
	for !k.over && k.ReadErr == nil {
		_, _ = k.Read((*buf)[:record.ChunkSize])
	}
	return k.ReadErr
}

func (k *Keeper) keep(p []byte) {
	for len(p) > 0 && k.err == nil {
		last := len(k.mem) - 1
		if last < 0 || len(*k.mem[last]) == record.ChunkSize {
			if len(k.mem) == KeepInMemory/record.ChunkSize {
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
func (k *Keeper) spill() error {
	// Asked for each part: many bodies that come at once fill a disk too.
	if err := k.store.mayKeep(k.Env); err != nil {
		return err
	}
	if k.rec == nil {
		rec, err := k.store.create(k.Env)
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

func (k *Keeper) freeMemory() {
	for _, c := range k.mem {
		chunks.Put(c)
	}
	k.mem = k.mem[:0]
}

// Commit makes the message durable. The body must have been read to its end.
func (k *Keeper) Commit() error {
	if k.err == nil {
		k.err = k.spill()
	}
	if k.err == nil {
		k.err = k.store.commit(k.rec, k.Env, k.Size)
		k.rec = nil
	}
	return k.err
}

// Drop forgets what was kept.
func (k *Keeper) Drop() {
	k.freeMemory()
	if k.rec != nil {
		k.store.discard(k.rec)
		k.rec = nil
	}
}
