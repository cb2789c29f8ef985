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

package audit

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

// later are changes that wait to be written: a script that adds thousands of accounts
// waits for no lock, and fills no trail. They are written before the trail is read, and
// a moment later in any case; a process that ends in that moment loses them, and the
// log has them.
var later struct {
	mu      sync.Mutex
	pending []pending
	timer   *time.Timer
}

type pending struct {
	storage certmagic.Storage
	Entry
}

const (
	// writeWithin is how long a change waits when nothing else asks for it.
	writeWithin = 2 * time.Second
	// shownAlike is from how many changes of a kind in a row on they are one.
	shownAlike = 10
	// maxPending bounds what waits for a storage that is away.
	maxPending = 10_000
)

// Later has a change written soon. current is asked for the storage that is in use by
// then: of another one nothing is written any more.
func (t Trail) Later(e Entry, current func() certmagic.Storage) {
	later.mu.Lock()
	defer later.mu.Unlock()
	if len(later.pending) >= maxPending {
		later.pending = later.pending[1:]
	}
	later.pending = append(later.pending, pending{t.Storage, e})
	if later.timer == nil {
		later.timer = time.AfterFunc(writeWithin, func() {
			if s := current(); s != nil {
				_ = Trail{s}.Flush(context.Background()) // what it could not write waits on
			}
		})
	}
}

// Flush writes what waits for the storage.
func (t Trail) Flush(ctx context.Context) error {
	later.mu.Lock()
	var mine, others []pending
	for _, p := range later.pending {
		if sameStorage(p.storage, t.Storage) {
			mine = append(mine, p)
		} else {
			others = append(others, p)
		}
	}
	later.pending = others
	if later.timer != nil {
		later.timer.Stop()
		later.timer = nil
	}
	later.mu.Unlock()
	var changes []Entry
	for len(mine) > 0 {
		n := 1
		for n < len(mine) && alike(&mine[0], &mine[n]) {
			n++
		}
		if n > shownAlike {
			changes = append(changes, together(mine[:n]))
		} else {
			for _, p := range mine[:n] {
				changes = append(changes, p.Entry)
			}
		}
		mine = mine[n:]
	}
	if len(changes) == 0 {
		return nil
	}
	kept, err := t.addAll(ctx, changes)
	if kept < len(changes) {
		// The rest waits for the next time.
		var rest []pending
		for _, e := range changes[kept:] {
			rest = append(rest, pending{t.Storage, e})
		}
		later.mu.Lock()
		later.pending = append(rest, later.pending...)
		later.mu.Unlock()
	}
	return err
}

// sameStorage reports whether two are one, through a reload too, which makes another
// value for the same place.
func sameStorage(a, b certmagic.Storage) bool {
	if a == b {
		return true
	}
	x, ok := a.(fmt.Stringer)
	y, ok2 := b.(fmt.Stringer)
	return ok && ok2 && x.String() == y.String()
}

func alike(a, b *pending) bool { return a.User == b.User && a.From == b.From && a.What == b.What }

// together is one entry for many of a kind, with the first names.
func together(group []pending) Entry {
	e := group[0].Entry
	var names []string
	for _, g := range group[:shownAlike] {
		for _, d := range g.Details {
			if d.Name == "account" || d.Name == "id" {
				names = append(names, d.Value)
			}
		}
	}
	e.Details = []Detail{{Name: "times", Value: fmt.Sprint(len(group))}}
	if len(names) > 0 {
		e.Details = append(e.Details, Detail{Name: "the first", Value: cut(strings.Join(names, "; "))})
	}
	return e
}
