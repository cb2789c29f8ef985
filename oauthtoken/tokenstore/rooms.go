// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//	http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.
package tokenstore

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Rooms are places on the disk that are held for records to come. One is a file,
// written and synced, that is deleted when the disk has no other room for the
// record. Most are not: they are given back, and serve the next refresh.
type Rooms struct {
	store Store

	mu     sync.Mutex
	idle   []*Room // the latest given back last
	closed bool
	timer  *time.Timer // runs while some are idle
}

// Room is room for one record.
type Room struct {
	key  string
	size int
	born time.Time
	last time.Time // when it was given back
}

const (
	// roomStep is what the size of a room is a multiple of, so that one fits
	// most grants.
	roomStep = 16 << 10
	// roomIdle is how long a room is kept that no refresh needs.
	roomIdle = time.Minute
	// roomLife is how long a room serves. Its name says how old it is, so that
	// what a process left which was killed is told from what others hold.
	roomLife = 30 * time.Minute
	// roomLeft is from when on a room is taken for what a killed process left.
	roomLeft = 2 * time.Hour
)

const roomPrefix = Prefix + "-room"

// NewRooms returns rooms in a store.
func NewRooms(s Store) *Rooms { return &Rooms{store: s} }

// Take holds room for a record of so many octets.
func (r *Rooms) Take(ctx context.Context, size int) (*Room, error) {
	size = (size + roomStep - 1) / roomStep * roomStep
	if k := r.pick(size); k != nil {
		return k, nil
	}
	var id [8]byte
	_, _ = rand.Read(id[:])
	k := &Room{size: size, born: time.Now()}
	k.key = fmt.Sprintf("%s/%d-%s", roomPrefix, k.born.Unix(), hex.EncodeToString(id[:]))
	// Random octets, which no file system stores in less.
	raw := make([]byte, base64.StdEncoding.DecodedLen(size))
	_, _ = rand.Read(raw)
	text := make([]byte, base64.StdEncoding.EncodedLen(len(raw)))
	base64.StdEncoding.Encode(text, raw)
	if err := r.store.Save(ctx, k.key, text); err != nil {
		return nil, err
	}
	return k, nil
}

// pick returns an idle room that is large enough.
func (r *Rooms) pick(size int) *Room {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, k := range slices.Backward(r.idle) {
		if k.size >= size && time.Since(k.born) < roomLife {
			r.idle = slices.Delete(r.idle, i, i+1)
			return k
		}
	}
	return nil
}

// Return gives back a room that was not needed.
func (r *Rooms) Return(k *Room) error {
	if time.Since(k.born) >= roomLife || !r.keep(k) {
		return r.Spend(k)
	}
	return nil
}

func (r *Rooms) keep(k *Room) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	k.last = time.Now()
	r.idle = append(r.idle, k)
	if r.timer == nil {
		r.timer = time.AfterFunc(roomIdle, r.trim)
	}
	return true
}

// Spend deletes a room, so that there is room for something else.
func (r *Rooms) Spend(k *Room) error {
	ctx, cancel := context.WithTimeout(context.Background(), SaveTimeout)
	defer cancel()
	return r.store.Delete(ctx, k.key)
}

// trim deletes the rooms that no refresh has needed for a while.
func (r *Rooms) trim() {
	r.mu.Lock()
	now := time.Now()
	n := 0
	for n < len(r.idle) && now.Sub(r.idle[n].last) >= roomIdle {
		n++
	}
	gone := slices.Clone(r.idle[:n])
	r.idle = slices.Delete(r.idle, 0, n)
	switch {
	case r.closed:
	case len(r.idle) == 0:
		r.timer = nil
	default:
		r.timer.Reset(roomIdle)
	}
	r.mu.Unlock()
	r.drop(gone)
}

// Close deletes what is idle, and from then on what is given back.
func (r *Rooms) Close() {
	r.mu.Lock()
	gone := r.idle
	r.idle, r.closed = nil, true
	if r.timer != nil {
		r.timer.Stop()
	}
	r.mu.Unlock()
	r.drop(gone)
}

func (r *Rooms) drop(gone []*Room) {
	for _, k := range gone {
		_ = r.Spend(k) // it is looked for at the next start
	}
}

// Sweep deletes the rooms that processes left which were killed.
func (r *Rooms) Sweep(ctx context.Context) {
	keys, err := r.store.List(ctx, roomPrefix)
	if err != nil {
		return
	}
	for _, key := range keys {
		at, id, ok := strings.Cut(path.Base(key), "-")
		sec, err := strconv.ParseInt(at, 10, 64)
		switch {
		case err == nil && !ok:
			continue // a file that is being written, before it has its name
		case err == nil && len(id) == 16 && time.Since(time.Unix(sec, 0)) < roomLeft:
			continue
		}
		// A name without a time is of a version that made one for each grant.
		_ = r.store.Delete(ctx, key)
	}
}
