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
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

func newTrail(t *testing.T) Trail {
	t.Helper()
	return Trail{&certmagic.FileStorage{Path: t.TempDir()}}
}

func (tr Trail) add(t *testing.T, what string, fields ...zap.Field) {
	t.Helper()
	if err := tr.Add(t.Context(), New("op@example.com", "192.0.2.1", what, fields...)); err != nil {
		t.Fatal(err)
	}
}

// all goes through the pages.
func (tr Trail) all(t *testing.T, words string, limit int) (list []Entry, damaged int) {
	t.Helper()
	for cursor := ""; ; {
		p, err := tr.List(t.Context(), words, cursor, limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Entries) > limit || p.Next != "" && len(p.Entries) < limit {
			t.Fatalf("%d entries on a page of %d", len(p.Entries), limit)
		}
		list = append(list, p.Entries...)
		damaged = max(damaged, p.Damaged)
		if cursor = p.Next; cursor == "" {
			return list, damaged
		}
	}
}

func TestTrail(t *testing.T) {
	tr := newTrail(t)
	if list, _ := tr.all(t, "", 10); list != nil {
		t.Errorf("an empty trail has %v", list)
	}
	const n = perSegment + 7
	const there = perSegment - 5
	var old []Entry
	for i := range there {
		old = append(old, New("op@example.com", "192.0.2.1", fmt.Sprintf("change %d", i), zap.String("account", fmt.Sprintf("old%d@example.com", i))))
	}
	b, err := json.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Storage.Store(t.Context(), key(0), b); err != nil {
		t.Fatal(err)
	}
	for i := there; i < n; i++ {
		tr.add(t, fmt.Sprintf("change %d", i), zap.String("account", fmt.Sprintf("a%d@example.com", i)), zap.Strings("changes", []string{"rate: 1", "to: <b>"}), zap.Bool("all", true))
	}
	for _, limit := range []int{1, 50, perSegment, 1000} {
		list, _ := tr.all(t, "", limit)
		if len(list) != n {
			t.Fatalf("by %d: %d entries, want %d", limit, len(list), n)
		}
		for i, e := range list {
			if want := fmt.Sprintf("change %d", n-1-i); e.What != want {
				t.Fatalf("by %d: entry %d is %q, want %q", limit, i, e.What, want)
			}
		}
	}
	e, _ := tr.all(t, fmt.Sprintf("A%d@", n-1), 10)
	if len(e) != 1 || e[0].User != "op@example.com" || e[0].From != "192.0.2.1" || fmt.Sprint(e[0].Details) != fmt.Sprintf("[{account a%d@example.com} {changes rate: 1; to: <b>} {all true}]", n-1) {
		t.Errorf("found %+v", e)
	}
	for _, cursor := range []string{"x", "1", "-1.2", "1.-2", "1.2.3", "01.2", " 1.2"} {
		if _, err := tr.List(t.Context(), "", cursor, 10); err == nil {
			t.Errorf("cursor %q is taken", cursor)
		}
	}
}

func TestTrailIsBounded(t *testing.T) {
	tr := newTrail(t)
	full := make([]string, perSegment)
	for i := range full {
		full[i] = `{"what":"old"}`
	}
	for seq := range segments {
		if err := tr.Storage.Store(t.Context(), key(seq), []byte("["+strings.Join(full, ",")+"]")); err != nil {
			t.Fatal(err)
		}
	}
	tr.add(t, "new", zap.String("long", strings.Repeat("x", 10*maxValue)))
	list, _ := tr.all(t, "", 1000)
	if len(list) != (segments-1)*perSegment+1 || list[0].What != "new" || len(list[0].Details[0].Value) > maxValue+3 {
		t.Errorf("%d entries, the first %.100v", len(list), list[0])
	}
}

// TestDamagedSegment is neither lost nor in the way.
func TestDamagedSegment(t *testing.T) {
	tr := newTrail(t)
	tr.add(t, "before")
	if err := tr.Storage.Store(t.Context(), key(1), []byte(`[{"what":"cut`)); err != nil {
		t.Fatal(err)
	}
	if err := tr.Storage.Store(t.Context(), folder+"/foreign.json", []byte(`[]`)); err != nil {
		t.Fatal(err)
	}
	tr.add(t, "after")
	list, damaged := tr.all(t, "", 10)
	if len(list) != 2 || list[0].What != "after" || list[1].What != "before" || damaged != 1 {
		t.Errorf("%+v, %d damaged", list, damaged)
	}
	if b, err := tr.Storage.Load(t.Context(), key(1)); err != nil || string(b) != `[{"what":"cut` {
		t.Errorf("the damaged segment is %s, %v", b, err)
	}
}

// TestManyAtOnce loses none, and a browser that has left is no reason to.
func TestManyAtOnce(t *testing.T) {
	tr := newTrail(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := tr.Add(gone, New("op", "", fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if list, _ := tr.all(t, "", 100); len(list) != 20 {
		t.Errorf("%d of 20", len(list))
	}
}
