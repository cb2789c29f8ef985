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

package connect

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
)

// counting counts the keys that a storage is asked for.
type counting struct {
	certmagic.Storage
	listed, loaded atomic.Int64
}

func (c *counting) List(ctx context.Context, dir string, recursive bool) ([]string, error) {
	keys, err := c.Storage.List(ctx, dir, recursive)
	c.listed.Add(int64(len(keys)))
	return keys, err
}

func (c *counting) Load(ctx context.Context, key string) ([]byte, error) {
	c.loaded.Add(1)
	return c.Storage.Load(ctx, key)
}

// invitationsOf is how many a test makes: 10,000 with MAILGATEWAY_INVITATIONS=10000.
func invitationsOf(t testing.TB, short int) int {
	t.Helper()
	text := os.Getenv("MAILGATEWAY_INVITATIONS")
	if text == "" {
		return short
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func fill(t testing.TB, s Invitations, n int) {
	t.Helper()
	for i := range n {
		if _, _, err := s.Add(t.Context(), Invitation{Account: fmt.Sprintf("user%d@example.com", i), Mailbox: fmt.Sprintf("user%d@example.com", i), Expires: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPages goes through a list that is long by its pages: each invitation once, and no
// page looks at more than its share.
func TestPages(t *testing.T) {
	n := invitationsOf(t, 3000)
	c := &counting{Storage: &certmagic.FileStorage{Path: t.TempDir()}}
	s := Invitations{c}
	fill(t, s, n)
	const page = 50
	seen, after := make(map[string]bool), ""
	for {
		c.listed.Store(0)
		c.loaded.Store(0)
		list, next, err := s.List(t.Context(), Filter{}, after, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range list {
			if seen[i.ID] {
				t.Fatalf("%s is on two pages", i.ID)
			}
			seen[i.ID] = true
		}
		// The shelves' names, and the shelves that the page reaches into.
		if most := int64(256 + page + 4*(n/256+20)); c.listed.Load() > most || c.loaded.Load() > 2*page {
			t.Fatalf("a page of %d looked at %d keys and %d records, of %d", page, c.listed.Load(), c.loaded.Load(), n)
		}
		if after = next; next == "" {
			break
		}
	}
	if len(seen) != n {
		t.Errorf("%d of %d invitations are on the pages", len(seen), n)
	}
}

// TestShelvesAndBefore is about invitations that were made before there were shelves.
func TestShelvesAndBefore(t *testing.T) {
	s := Invitations{&certmagic.FileStorage{Path: t.TempDir()}}
	fill(t, s, 20)
	var old []Invitation
	for range 20 {
		token, i, err := s.Add(t.Context(), Invitation{Account: "old@example.com", Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(i)
		if err == nil {
			err = s.remove(t.Context(), i.ID)
		}
		if err == nil {
			err = s.Storage.Store(t.Context(), flatKey(i.ID), text)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.ByToken(t.Context(), token); err != nil || got.ID != i.ID {
			t.Errorf("an old link: %v", err)
		}
		old = append(old, i)
	}
	all := func(f Filter) (n int) {
		after := ""
		for {
			list, next, err := s.List(t.Context(), f, after, 7)
			if err != nil {
				t.Fatal(err)
			}
			n += len(list)
			if after = next; next == "" {
				return n
			}
		}
	}
	if n := all(Filter{}); n != 40 {
		t.Errorf("%d of 40", n)
	}
	if err := s.Use(t.Context(), old[0].ID, time.Now(), func(*Invitation) (string, error) { return "x", nil }); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), old[0].ID); err != nil || got.State(time.Now()) != StateUsed {
		t.Errorf("an old one that was used: %+v %v", got, err)
	}
	if err := s.Revoke(t.Context(), old[0].ID); err != nil {
		t.Fatal(err)
	}
	if err := s.Revoke(t.Context(), old[1].ID); err != nil {
		t.Fatal(err)
	}
	if n := all(Filter{Account: "OLD@example.com"}); n != 18 {
		t.Errorf("%d of 18 old ones are left", n)
	}
	if s.Storage.Exists(t.Context(), path.Join(folder, "invitations", old[0].ID+".json")) {
		t.Error("the old record is still there")
	}
}

// BenchmarkInvitations makes, lists and uses up as many as an hour brings a large
// organization, in a directory.
func BenchmarkInvitations(b *testing.B) {
	n := invitationsOf(b, 10_000)
	var most uint64
	for b.Loop() {
		s := Invitations{&certmagic.FileStorage{Path: b.TempDir()}}
		fill(b, s, n)
		after := ""
		for {
			list, next, err := s.List(b.Context(), Filter{}, after, 50)
			if err != nil {
				b.Fatal(err)
			}
			for _, i := range list {
				if err := s.Use(b.Context(), i.ID, time.Now(), func(*Invitation) (string, error) { return i.Mailbox, nil }); err != nil {
					b.Fatal(err)
				}
			}
			if after = next; next == "" {
				break
			}
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapAlloc)
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "invitations/s")
	b.ReportMetric(float64(most)/(1<<20), "MiB-heap")
}
