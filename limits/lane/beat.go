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

package lane

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
)

// DeadAfter is how long a process waits for another's next sign of life, by its own
// clock, where the storage does not say that a process has ended.
const DeadAfter = 30 * time.Second

const (
	beatEvery = 10 * time.Second
	// trustFor is how long a process trusts its own last sign of life.
	trustFor = 25 * time.Second
	// abandonedAfter is when a lane may be taken by a process that has not seen it
	// die, whatever their clocks say.
	abandonedAfter = time.Hour
)

// beatLanes are for storages that don't notice the end of a process: each shows
// signs of life.
type beatLanes struct {
	st    certmagic.Storage
	dir   string
	id    string
	n     int
	now   func() int64
	until *atomic.Int64

	mu   sync.Mutex
	beat beat
	seen map[int]sighting

	end   chan struct{}
	beats sync.WaitGroup
}

// beat is a sign of life; one without a holder is that of a lane that is free.
type beat struct {
	Holder string `json:"holder,omitempty"`
	Beat   int64  `json:"beat"`
	At     int64  `json:"at"` // seconds since 1970
}

// sighting is when a sign of life was seen first.
type sighting struct {
	beat beat
	at   int64
}

func openBeat(ctx context.Context, st certmagic.Storage, dir string, now func() int64, until *atomic.Int64) (Lanes, int, error) {
	l := &beatLanes{st: st, dir: dir, id: rand.Text(), now: now, until: until, seen: make(map[int]sighting), end: make(chan struct{})}
	n, err := l.claim(ctx)
	if err != nil {
		return nil, 0, err
	}
	l.beats.Go(l.run)
	return l, n, nil
}

func (b *beatLanes) key(n int) string { return path.Join(b.dir, "lanes", strconv.Itoa(n)+".json") }

func (b *beatLanes) load(ctx context.Context, n int) (beat, error) {
	raw, err := b.st.Load(ctx, b.key(n))
	if errors.Is(err, fs.ErrNotExist) {
		return beat{}, nil
	}
	if err != nil {
		return beat{}, err
	}
	var v beat
	if json.Unmarshal(raw, &v) != nil {
		return beat{}, nil // damaged: its holder will notice
	}
	return v, nil
}

func (b *beatLanes) store(ctx context.Context, v beat) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.st.Store(ctx, b.key(b.n), raw)
}

func (b *beatLanes) claim(ctx context.Context) (int, error) {
	name := path.Join(b.dir, "lanes")
	if err := b.st.Lock(ctx, name); err != nil {
		return 0, err
	}
	defer func() { _ = b.st.Unlock(context.WithoutCancel(ctx), name) }()
	for b.n = 0; b.n < most; b.n++ {
		v, err := b.load(ctx, b.n)
		if err != nil {
			return 0, err
		}
		if v.Holder == "" || time.Since(time.Unix(v.At, 0)) > abandonedAfter {
			return b.n, b.show(ctx)
		}
	}
	return 0, fmt.Errorf("%d processes share %s", most, b.dir)
}

// show gives a sign of life.
func (b *beatLanes) show(ctx context.Context) error {
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.beat = beat{Holder: b.id, Beat: b.beat.Beat + 1, At: time.Now().Unix()}
	if err := b.store(ctx, b.beat); err != nil {
		return err
	}
	b.until.Store(now + int64(trustFor))
	return nil
}

func (b *beatLanes) run() {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-b.end:
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), beatEvery)
		v, err := b.load(ctx, b.n)
		switch {
		case err == nil && v.Holder != b.id, b.until.Load() <= b.now():
			// Too late: the next write begins again in another lane.
			b.until.Store(1)
			cancel()
			return
		case err == nil:
			_ = b.show(ctx) // tried again; until says how long that is good for
		}
		cancel()
	}
}

func (b *beatLanes) Lock(ctx context.Context, shard int) (func(), bool, error) {
	name := path.Join(b.dir, strconv.Itoa(shard))
	if err := b.st.Lock(ctx, name); err != nil {
		return nil, false, err
	}
	return func() { _ = b.st.Unlock(context.WithoutCancel(ctx), name) }, false, nil
}

// Part implements Lanes: there are no journals here.
func (b *beatLanes) Part(int) {}

// Older implements Lanes.
func (b *beatLanes) Older() (bool, error) { return false, nil }

// Take implements Lanes: what an ended process left here are whole files.
func (b *beatLanes) Take(int) (func(), error) { return nil, nil }

func (b *beatLanes) Dead(ctx context.Context, n int) (bool, error) {
	v, err := b.load(ctx, n)
	if err != nil || v.Holder == "" {
		return err == nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if s, ok := b.seen[n]; ok && s.beat == v {
		return now-s.at > int64(DeadAfter), nil
	}
	b.seen[n] = sighting{v, now}
	return false, nil
}

func (b *beatLanes) Release() {
	close(b.end)
	b.beats.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), beatEvery)
	defer cancel()
	if v, err := b.load(ctx, b.n); err == nil && v.Holder == b.id {
		_ = b.store(ctx, beat{}) // else it is found dead
	}
}
