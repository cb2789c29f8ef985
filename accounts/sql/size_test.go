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

package sql

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/accounts/password"
)

// TestManyAccounts starts on a table of many rows and holds that neither the
// start nor the memory depends on their number. MAILGATEWAY_ACCOUNTS is the number
// of rows; the log has the figures of docs/benchmarks.md:
//
//	MAILGATEWAY_ACCOUNTS=1000000 go test -count=1 -v -run TestManyAccounts ./accounts/sql
func TestManyAccounts(t *testing.T) {
	rows, held := 20_000, 5_000
	if v := os.Getenv("MAILGATEWAY_ACCOUNTS"); v != "" {
		var err error
		if rows, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
		held = min(50_000, rows/4)
	}
	db := newDatabase(t, people, fmt.Sprintf(`INSERT INTO people (email, pw, via) SELECT 'user' || i || '@example.com', '%s', 'up' FROM generate_series(1, %d) i`,
		password.HashGenerated("secret"), rows), `CREATE INDEX ON people (changed)`, `ANALYZE people`, trigger)

	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	began := time.Now()
	s := db.start(&Source{Table: "people", Columns: wholeMap(), Notify: "people", Upstream: "up", CacheSize: held, Fresh: hour, Stale: 2 * hour})
	d := directory(s)
	wantLogin(t, d, fmt.Sprintf("user%d@example.com", rows), "secret", nil)
	t.Logf("start to the first login: %s", time.Since(began))
	until(t, "the sample", func() bool { return s.Index().Len() >= sampleRows })
	if n := s.Index().Len(); n > sampleRows+1 {
		t.Errorf("%d accounts are held at the start", n)
	}

	// Ten thousand first logins, one after the other, and all that fit.
	first := make([]time.Duration, 0, 2000)
	for range cap(first) {
		name := fmt.Sprintf("user%d@example.com", rand.IntN(rows)+1) //nolint:gosec // no secret
		began := time.Now()
		if err := login(t, d, name, "secret"); err != nil {
			t.Fatal(err)
		}
		first = append(first, time.Since(began))
	}
	slices.Sort(first)
	t.Logf("a first login: median %s, p99 %s", first[len(first)/2], first[len(first)*99/100])
	for i := range held + 1000 {
		if _, err := d.Get(context.Background(), fmt.Sprintf("user%d@example.com", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Index().Len(); n != held {
		t.Errorf("%d accounts are held, want %d", n, held)
	}
	if after := heap(); after > before {
		t.Logf("memory of %d held accounts of %d: %d MiB, %d octets each", held, rows, (after-before)>>20, (after-before)/uint64(held)) //nolint:gosec // positive
	}
	again := fmt.Sprintf("user%d@example.com", held)
	began = time.Now()
	for range 10_000 {
		if _, ok := d.Lookup(again); !ok {
			t.Fatal("a held account is not found")
		}
	}
	t.Logf("a lookup of a held account: %s", time.Since(began)/10_000)

	// A change, by notification.
	var changes []time.Duration
	for i := range 20 {
		box := fmt.Sprint("box", i)
		began := time.Now()
		db.exec(`UPDATE people SET box = '` + box + `' WHERE email = '` + again + `'`)
		until(t, box, func() bool { return mailbox(d, again) == box })
		changes = append(changes, time.Since(began))
	}
	slices.Sort(changes)
	t.Logf("a change, from before its statement to the account: median %s, most %s", changes[len(changes)/2], changes[len(changes)-1])
}

// sampleRows is what the cache reads at the start.
const sampleRows = 64
