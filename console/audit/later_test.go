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
	"errors"
	"fmt"
	"testing"

	"github.com/caddyserver/certmagic"
)

// counted counts the writes of a storage, and refuses those from one on.
type counted struct {
	certmagic.Storage
	stores, locks, most int
}

var errAway = errors.New("the storage is away")

func (c *counted) Store(ctx context.Context, key string, value []byte) error {
	if c.stores == c.most {
		return errAway
	}
	c.stores++
	return c.Storage.Store(ctx, key, value)
}

func (c *counted) Lock(ctx context.Context, name string) error {
	c.locks++
	return c.Storage.Lock(ctx, name)
}

// TestFlushAtOnce: changes that waited are written with one lock and one write a
// segment; what a storage does not take waits on, and comes once.
func TestFlushAtOnce(t *testing.T) {
	const n = 2*perSegment + 50
	c := &counted{Storage: newTrail(t).Storage, most: 2}
	tr := Trail{c}
	tr.add(t, "before") // the first of a segment
	c.stores, c.locks = 0, 0
	for i := range n {
		tr.Later(New("op", "", fmt.Sprint(i)), func() certmagic.Storage { return nil })
	}
	if err := tr.Flush(t.Context()); !errors.Is(err, errAway) {
		t.Fatalf("a storage that is away: %v", err)
	}
	c.most = 100
	if err := tr.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := tr.Flush(t.Context()); err != nil { // nothing waits
		t.Fatal(err)
	}
	if c.stores != 3 || c.locks != 2 {
		t.Errorf("%d writes, %d locks", c.stores, c.locks)
	}
	list, _ := tr.all(t, "", 100)
	if len(list) != n+1 || list[n].What != "before" {
		t.Fatalf("%d changes", len(list))
	}
	for i, e := range list[:n] {
		if want := fmt.Sprint(n - 1 - i); e.What != want {
			t.Fatalf("change %s in the place of %s", e.What, want)
		}
	}
}
