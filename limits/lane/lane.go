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
	"errors"
	"math"
	"sync/atomic"

	"github.com/caddyserver/certmagic"
)

// Lanes are the processes that share a storage.
type Lanes interface {
	// Lock makes processes take turns at a shard. Modern says that every process
	// that can read the shard knows journals; it stays so until Part.
	Lock(ctx context.Context, shard int) (unlock func(), modern bool, err error)
	// Part lets processes of earlier versions, which know no journals, have the
	// shard. The caller has just written its file.
	Part(shard int)
	// Older reports whether such a process lives while this one has shards to part
	// with.
	Older() (bool, error)
	// Dead reports whether the process of another lane has ended. The caller
	// holds a shard's lock: a process that takes the lane in this moment has
	// not read the shard yet.
	Dead(ctx context.Context, lane int) (bool, error)
	// Take takes the lane of a process that has ended until it is given back; it
	// returns nil if that process lives.
	Take(lane int) (giveBack func(), err error)
	// Release gives the lane back.
	Release()
}

// most is the number of processes that may share a storage.
const most = 1000

// Open takes the lowest lane that is free. until is kept at the time, on the scale
// of now, up to which the others believe that this process lives.
func Open(ctx context.Context, st certmagic.Storage, dir string, now func() int64, until *atomic.Int64) (Lanes, int, error) {
	if f, ok := st.(*certmagic.FileStorage); ok {
		l, n, err := openFlock(f.Filename(dir))
		if err == nil {
			until.Store(math.MaxInt64)
			return l, n, nil
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			return nil, 0, err
		}
	}
	return openBeat(ctx, st, dir, now, until)
}
