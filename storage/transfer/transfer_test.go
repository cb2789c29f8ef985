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

package transfer

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/internal/pgdb"
	"github.com/caddymail/mailgateway/internal/testpg"
	"github.com/caddymail/mailgateway/storage/postgres"
)

func put(t *testing.T, s certmagic.Storage, key, value string) {
	t.Helper()
	if err := s.Store(context.Background(), key, []byte(value)); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, s certmagic.Storage, key string) string {
	t.Helper()
	value, err := s.Load(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(value)
}

func open(t *testing.T) *postgres.Storage {
	t.Helper()
	s, err := postgres.Open(context.Background(), pgdb.Config{DSN: testpg.Start(t).DSN()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// failing is a storage whose writes fail after some, as those of a database
// that goes away do.
type failing struct {
	certmagic.Storage
	left atomic.Int64
}

func (f *failing) Store(ctx context.Context, key string, value []byte) error {
	if f.left.Add(-1) < 0 {
		return errors.New("it is away")
	}
	return f.Storage.Store(ctx, key, value)
}

// TestThereAndBack copies files into a real database and out of it again.
func TestThereAndBack(t *testing.T) {
	ctx := context.Background()
	files, back, pg := &certmagic.FileStorage{Path: t.TempDir()}, &certmagic.FileStorage{Path: t.TempDir()}, open(t)
	const token = `{"version":1,"seq":41,"refresh_token":"one"}`
	put(t, files, "smtp/tokens/microsoft/aa", token)
	put(t, files, "smtp/tokens-recent/microsoft/aa", `{"seq":42,"follows":41}`)
	put(t, files, "certificates/ca/mail.example.com/mail.example.com.key", "\x00\xff binary \n")
	put(t, files, "smtp/limits/empty", "")
	put(t, files, "locks/something.lock", "of a process")
	for i := range 200 {
		big := make([]byte, i*100)
		_, _ = rand.Read(big)
		put(t, files, fmt.Sprintf("smtp/accounts/%03d", i), string(big))
	}
	const keys = 204

	dry, err := Copy(ctx, files, pg, Options{DryRun: true})
	if err != nil || dry.Copied != keys || dry.Keys != keys {
		t.Fatalf("dry run: %+v, %v", dry, err)
	}
	if there, err := list(ctx, pg); err != nil || len(there) != 0 {
		t.Fatalf("a dry run has written %d values, %v", len(there), err)
	}
	away := &failing{Storage: pg}
	away.left.Store(71) // one is no value
	cut, err := Copy(ctx, files, away, Options{})
	if err == nil || !strings.Contains(err.Error(), "the target: writing smtp/") {
		t.Errorf("a target that goes away: %+v, %v", cut, err)
	}
	rest, err := Copy(ctx, files, pg, Options{})
	if err != nil || rest.Same != 70 || rest.Copied != keys-70 || rest.Digest != dry.Digest {
		t.Errorf("begun again: %+v, %v", rest, err)
	}
	if pg.Exists(ctx, "locks/something.lock") {
		t.Error("a lock was copied")
	}
	// The copied token is the one that the next refresh replaces, once.
	if err := pg.Swap(ctx, "smtp/tokens/microsoft/aa", 41, 42, []byte(`{"version":1,"seq":42,"refresh_token":"two"}`)); err != nil {
		t.Error(err)
	}
	out, err := Copy(ctx, pg, back, Options{})
	if err != nil || out.Copied != keys || len(out.Extra) != 0 {
		t.Errorf("back: %+v, %v", out, err)
	}
	again, err := Copy(ctx, back, pg, Options{})
	if err != nil || again.Same != keys || again.Digest != out.Digest {
		t.Errorf("the way back is not the same: %+v, %v", again, err)
	}
	// The first files are older now: the database keeps what it has.
	old, err := Copy(ctx, files, pg, Options{})
	if err != nil || !slices.Equal(old.Newer, []string{"smtp/tokens/microsoft/aa"}) || old.Same != keys-1 {
		t.Errorf("over what is newer: %+v, %v", old, err)
	}
	if v := get(t, pg, "smtp/tokens/microsoft/aa"); !strings.Contains(v, "two") {
		t.Errorf("the newer token is gone: %s", v)
	}
}

// TestWhichIsNewer holds what decides: a token's number before the time, which
// a restored file system or a wrong clock makes later.
func TestWhichIsNewer(t *testing.T) {
	ctx := context.Background()
	hour := time.Hour
	for name, c := range map[string]struct {
		key, from, to string
		later         time.Duration // of the source
		want          string
	}{
		"number":         {"smtp/tokens/a", `{"seq":9,"x":1}`, `{"seq":10,"x":2}`, hour, `{"seq":10,"x":2}`},
		"number, older":  {"smtp/tokens/a", `{"seq":11,"x":1}`, `{"seq":10,"x":2}`, -hour, `{"seq":11,"x":1}`},
		"sealed, later":  {"smtp/tokens/a", "sealed 1", "sealed 2", hour, "sealed 1"},
		"sealed, before": {"smtp/tokens/a", "sealed 1", "sealed 2", -hour, "sealed 2"},
		"as old":         {"smtp/accounts/a", "1", "2", 0, "2"},
		"no token":       {"smtp/accounts/a", `{"seq":9}`, `{"seq":10}`, hour, `{"seq":9}`},
	} {
		from, to := &certmagic.FileStorage{Path: t.TempDir()}, &certmagic.FileStorage{Path: t.TempDir()}
		put(t, from, c.key, c.from)
		put(t, to, c.key, c.to)
		now := time.Now()
		if err := errors.Join(os.Chtimes(to.Filename(c.key), now, now), os.Chtimes(from.Filename(c.key), now, now.Add(c.later))); err != nil {
			t.Fatal(err)
		}
		r, err := Copy(ctx, from, to, Options{})
		if got := get(t, to, c.key); err != nil || got != c.want || (len(r.Newer) == 1) != (c.want == c.to) {
			t.Errorf("%s: %s, %+v, %v", name, got, r, err)
		}
	}
}

// changing is a source that a gateway still writes to.
type changing struct {
	certmagic.Storage
	loads atomic.Int64
}

func (c *changing) Load(ctx context.Context, key string) ([]byte, error) {
	value, err := c.Storage.Load(ctx, key)
	if c.loads.Add(1) > 1 {
		value = append(bytes.Clone(value), '!')
	}
	return value, err
}

func TestSourceInUse(t *testing.T) {
	files := &certmagic.FileStorage{Path: t.TempDir()}
	put(t, files, "a", "1")
	_, err := Copy(context.Background(), &changing{Storage: files}, &certmagic.FileStorage{Path: t.TempDir()}, Options{})
	if err == nil || !strings.Contains(err.Error(), "a has changed meanwhile") {
		t.Errorf("%v", err)
	}
}

// TestSchemasOfOneDatabase copies from one schema of a database into another, and holds
// that a gateway on either is seen, and what copies is not taken for one.
func TestSchemasOfOneDatabase(t *testing.T) {
	dsn := testpg.Start(t).DSN()
	at := func(schema string) *postgres.Storage {
		t.Helper()
		s, err := postgres.Open(t.Context(), pgdb.Config{DSN: dsn, Schema: schema})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	from, to := at("one"), at("two")
	defer from.Close()
	defer to.Close()
	put(t, from, "smtp/accounts/a", "1")
	put(t, from, "locks/x", "held")
	for _, schema := range []string{"one", "two"} {
		gateway := at(schema)
		if err := Ready(t.Context(), from, to); err == nil || !strings.Contains(err.Error(), "connections of gateways to this database") {
			t.Errorf("a gateway on %s: %v", schema, err)
		}
		gateway.Close()
	}
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); { // the server is slower
		if err = Ready(t.Context(), from, to); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []Report{{Copied: 1}, {Same: 1}} {
		r, err := Copy(t.Context(), from, to, Options{})
		if err != nil || r.Keys != 1 || r.Copied != want.Copied || r.Same != want.Same || len(r.Extra) != 0 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if got := get(t, to, "smtp/accounts/a"); got != "1" || to.Exists(t.Context(), "locks/x") {
		t.Errorf("%q", got)
	}
	if _, err := Copy(t.Context(), from, from, Options{}); err == nil || !strings.Contains(err.Error(), "the same storage") {
		t.Errorf("onto itself: %v", err)
	}
}
