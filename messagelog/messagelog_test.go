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

package messagelog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddymail/mailgateway/internal/filelock"
)

const childVar = "MAILGATEWAY_TEST_MESSAGELOG"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVar); dir != "" {
		writeForever(dir)
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, c *Config) (*Log, *observer.ObservedLogs, func()) {
	t.Helper()
	core, logged := observer.New(zapcore.InfoLevel)
	if err := c.Provision(); err != nil {
		t.Fatal(err)
	}
	l, detach := Attach(c, zap.New(core))
	detach = sync.OnceFunc(detach)
	t.Cleanup(detach)
	return l, logged, detach
}

func entry(n int) *Entry {
	return &Entry{
		Time: time.Now().UTC(), ID: fmt.Sprintf("s-%d.1", n), Server: "submission", Account: "scanner@example.com",
		ClientIP: "192.0.2.7", From: "scanner@example.com", Recipients: []Recipient{{Address: fmt.Sprintf("r%d@Example.org", n)}},
		Size: 1234, Code: 250, Reply: fmt.Sprintf("2.0.0 Ok: queued as Q%d", n), QueueID: fmt.Sprintf("Q%d", n), Upstream: "gmail", Duration: 80,
	}
}

func search(t *testing.T, l *Log, q Query) []string {
	t.Helper()
	var ids []string
	for {
		page, err := l.Search(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Messages {
			ids = append(ids, e.ID)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return ids
		}
	}
}

func TestSearch(t *testing.T) {
	l, _, _ := open(t, &Config{Directory: t.TempDir()})
	for n := range 5 {
		l.Add(entry(n))
	}
	refused := entry(5)
	refused.Code, refused.Reply, refused.QueueID = 550, "5.1.1 No such user\nreally", ""
	l.Add(refused)
	partly := entry(6)
	partly.Recipients = append(partly.Recipients, Recipient{Address: "gone@example.net", Code: 550, Reply: "5.1.1 gone"})
	l.Add(partly)
	kept := entry(7)
	kept.SpoolID, kept.ClientIP, kept.Upstream, kept.Server, kept.Account = "sp1", "2001:db8::1", "m365", "devices", "other@example.com"
	l.Add(kept)
	left := entry(8)
	left.Code, left.Reply, left.QueueID = 0, "", ""
	l.Add(left)

	for _, tc := range []struct {
		name string
		q    Query
		want string
	}{
		{"all, newest first", Query{}, "8 7 6 5 4 3 2 1 0"},
		{"pages", Query{Limit: 2}, "8 7 6 5 4 3 2 1 0"},
		{"recipient", Query{Recipient: "R3@example.ORG"}, "3"},
		{"domain", Query{Recipient: "@example.net"}, "6"},
		{"account", Query{Account: "Other@example.com"}, "7"},
		{"our id", Query{ID: "s-2.1"}, "2"},
		{"session", Query{ID: "s-2"}, "2"},
		{"as replies say it", Query{ID: "[mg-s-2.1]"}, "2"},
		{"the provider's id", Query{ID: "Q4"}, "4"},
		{"the spool's id", Query{ID: "sp1"}, "7"},
		{"client", Query{ClientIP: "2001:db8::1"}, "7"},
		{"upstream", Query{Upstream: "m365"}, "7"},
		{"server", Query{Server: "devices"}, "7"},
		{"text of a reply", Query{Text: "no such USER"}, "5"},
		{"failed", Query{Failed: true}, "8 6 5"},
		{"since", Query{Since: time.Now().Add(time.Hour)}, ""},
		{"until", Query{Until: time.Now().Add(-time.Hour)}, ""},
		{"both", Query{Failed: true, Recipient: "r5"}, "5"},
	} {
		var got []string
		for _, id := range search(t, l, tc.q) {
			got = append(got, strings.TrimSuffix(strings.TrimPrefix(id, "s-"), ".1"))
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %v, want %s", tc.name, got, tc.want)
		}
	}
	page, err := l.Search(t.Context(), Query{Recipient: "r"})
	if err != nil {
		t.Fatal(err)
	}
	var outcomes []Outcome
	for _, e := range page.Messages[:4] {
		outcomes = append(outcomes, e.Outcome)
	}
	if want := []Outcome{Aborted, Spooled, Partly, Refused}; !slices.Equal(outcomes, want) {
		t.Errorf("outcomes %v, want %v", outcomes, want)
	}
	if _, err := l.Search(t.Context(), Query{Cursor: "x"}); !errors.Is(err, ErrCursor) {
		t.Errorf("a foreign cursor: %v", err)
	}
}

// TestBounds holds that neither number, size nor age passes what is configured.
func TestBounds(t *testing.T) {
	t.Run("count", func(t *testing.T) {
		l, _, _ := open(t, &Config{Directory: t.TempDir(), MaxCount: 160})
		for n := range 1000 {
			l.Add(entry(n))
			if n%7 == 0 {
				search(t, l, Query{Limit: 1, ID: "none"}) // in several batches
			}
			if c := l.Status().Count; c > 160 {
				t.Fatalf("%d are kept", c)
			}
		}
		ids := search(t, l, Query{})
		if len(ids) < 140 || len(ids) > 160 || ids[0] != "s-999.1" {
			t.Errorf("%d are found, the first is %s", len(ids), ids[0])
		}
	})
	t.Run("size", func(t *testing.T) {
		dir := t.TempDir()
		l, _, _ := open(t, &Config{Directory: dir, MaxSize: 1 << 20})
		for n := range 4000 {
			e := entry(n)
			e.Reply = strings.Repeat("x", 900)
			l.Add(e)
			if n%100 == 0 {
				search(t, l, Query{Limit: 1, ID: "none"})
				if size := sizeOf(t, dir); size > 1<<20 {
					t.Fatalf("%d octets on disk", size)
				}
			}
		}
		if n := len(search(t, l, Query{})); n < 600 {
			t.Errorf("only %d are kept", n)
		}
	})
	t.Run("age", func(t *testing.T) {
		dir := t.TempDir()
		l, _, detach := open(t, &Config{Directory: dir, Keep: caddy.Duration(24 * time.Hour)})
		for n, age := range []time.Duration{48 * time.Hour, 30 * time.Hour, time.Hour} {
			e := entry(n)
			e.Time = time.Now().Add(-age)
			l.Add(e)
			search(t, l, Query{})
		}
		if ids := search(t, l, Query{}); !slices.Equal(ids, []string{"s-2.1"}) {
			t.Errorf("found %v", ids)
		}
		detach()
		l, _, _ = open(t, &Config{Directory: dir, Keep: caddy.Duration(time.Minute)})
		if ids := search(t, l, Query{}); ids != nil {
			t.Errorf("found %v", ids)
		}
		if n := l.Status().Count; n != 0 {
			t.Errorf("%d old ones are on disk", n)
		}
	})
}

func sizeOf(t *testing.T, dir string) (total int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if st, err := os.Stat(f); err == nil {
			total += st.Size()
		}
	}
	return total
}

// TestReload holds that a second configuration shares the log, that its bounds
// are in force, and that the last one to leave writes what is queued.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	a, _, detachA := open(t, &Config{Directory: dir})
	a.Add(entry(1))
	b, _, detachB := open(t, &Config{Directory: dir, MaxCount: 16})
	if a != b {
		t.Fatal("two logs of one directory")
	}
	detachA()
	for n := range 100 {
		b.Add(entry(n))
	}
	if ids := search(t, b, Query{}); len(ids) > 16 {
		t.Errorf("%d are kept", len(ids))
	}
	b.Add(entry(500))
	detachB()
	b.Add(entry(501))
	if _, err := b.Search(t.Context(), Query{}); !errors.Is(err, ErrNotOpen) {
		t.Errorf("after the end: %v", err)
	}
	c, _, _ := open(t, &Config{Directory: dir})
	if ids := search(t, c, Query{}); len(ids) == 0 || ids[0] != "s-500.1" {
		t.Errorf("after a restart: %v", ids)
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	lock, err := filelock.Directory(dir)
	if err != nil {
		t.Fatal(err)
	}
	l, logged, _ := open(t, &Config{Directory: dir})
	if _, err := l.Search(t.Context(), Query{}); !errors.Is(err, filelock.ErrLocked) {
		t.Errorf("error %v", err)
	}
	l.Add(entry(1))
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	l.kick()
	deadline := time.Now().Add(20 * time.Second)
	for l.Status().Error != "" && time.Now().Before(deadline) {
		l.kick()
	}
	if ids := search(t, l, Query{}); len(ids) != 1 {
		t.Errorf("found %v", ids)
	}
	if logged.FilterMessageSnippet("cannot be written").Len() != 1 || logged.FilterMessageSnippet("written again").Len() != 1 {
		t.Errorf("logged %v", logged.All())
	}
}

// TestDrops holds that a disk that refuses costs entries, counted, and no time.
func TestDrops(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, logged, detach := open(t, &Config{Directory: filepath.Join(file, "dir")})
	for n := range maxQueued + 10 {
		l.Add(entry(n))
	}
	if d := l.dropped.Load(); d != 10 {
		t.Errorf("%d dropped", d)
	}
	l.mu.Lock()
	l.octets = maxQueuedOctets
	l.queue = l.queue[:1]
	l.mu.Unlock()
	l.Add(entry(1))
	if s := l.Status(); s.Dropped != 11 || s.Error == "" {
		t.Errorf("status %+v", s)
	}
	detach()
	if n := logged.FilterMessageSnippet("cannot be written").Len(); n == 0 {
		t.Error("the log does not say so")
	}
}
