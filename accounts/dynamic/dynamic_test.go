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

package dynamic

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
)

// countingStorage counts reads, and can hold them up or fail.
type countingStorage struct {
	certmagic.FileStorage
	id    string
	loads atomic.Int64
	gate  chan struct{} // List waits for it
	fail  atomic.Bool
}

func (s *countingStorage) String() string { return s.id }

func (s *countingStorage) Load(ctx context.Context, key string) ([]byte, error) {
	s.loads.Add(1)
	if s.fail.Load() {
		return nil, errors.New("storage is down")
	}
	return s.FileStorage.Load(ctx, key)
}

func (s *countingStorage) List(ctx context.Context, prefix string, recursive bool) ([]string, error) {
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.FileStorage.List(ctx, prefix, recursive)
}

var processes atomic.Int64

// newProcess returns a source on a directory that shares nothing but the
// directory with others, as another process would.
func newProcess(t *testing.T, dir string, keys ...string) (*Source, *countingStorage) {
	t.Helper()
	st := &countingStorage{id: fmt.Sprint("process ", processes.Add(1))}
	st.Path = dir
	return provisionDynamic(t, st, keys...), st
}

func provisionDynamic(t *testing.T, st certmagic.Storage, keys ...string) *Source {
	t.Helper()
	s := &Source{EncryptionKeys: keys}
	if err := s.provision(zap.NewNop(), st); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Cleanup() })
	return s
}

func testKey(b byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32)) }

func put(t *testing.T, d *accounts.Directory, r accounts.Record) accounts.Change {
	t.Helper()
	if r.Upstream == "" {
		r.Upstream = "sandbox"
	}
	c, err := d.PutRecord(t.Context(), r, accounts.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDynamicPutPatchDelete(t *testing.T) {
	src, _ := newProcess(t, t.TempDir())
	d := accounts.NewDirectory([]accounts.Source{newFixed(t, "fixed@example.com"), src}, nil)
	ctx := t.Context()

	c, err := d.Put(ctx, "a@example.com", []byte(`{"upstream":"gmail","refresh_token":"seed","labels":{"x":"1","y":"2"}}`), accounts.Condition{Absent: true})
	if err != nil || !c.Created || c.Account.Upstream != "gmail" {
		t.Fatalf("put: %+v, %v", c, err)
	}
	if a, ok := d.Lookup("A@example.com"); !ok || a.RefreshToken != "seed" || a.Mailbox != "a@example.com" {
		t.Fatalf("own change is not seen: %v, %v", a, ok)
	}
	v1 := c.Account.Version()
	if c, err = d.Put(ctx, "a@example.com", []byte(`{"upstream":"gmail","labels":{"x":"1","y":"2"}}`), accounts.Condition{}); err != nil || c.Changed || c.Account.Version() != v1 {
		t.Errorf("the same again: %+v, %v", c, err)
	}
	if _, err = d.Put(ctx, "a@example.com", []byte(`{"upstream":"gmail"}`), accounts.Condition{Absent: true}); !errors.Is(err, accounts.ErrPrecondition) {
		t.Errorf("If-None-Match: %v", err)
	}
	if _, err = d.Patch(ctx, "a@example.com", []byte(`{"paused":true}`), accounts.Condition{Versions: []string{"other"}}); !errors.Is(err, accounts.ErrPrecondition) {
		t.Errorf("If-Match: %v", err)
	}
	c, err = d.Patch(ctx, "a@example.com", []byte(`{"paused":true,"labels":{"x":null,"z":"3"},"limits":{"rate":"30/1m"}}`), accounts.Condition{Versions: []string{v1}})
	if err != nil || !c.Changed {
		t.Fatalf("patch: %+v, %v", c, err)
	}
	a, _ := d.Lookup("a@example.com")
	if !a.Paused || a.RefreshToken != "seed" || fmt.Sprint(a.Labels) != "map[y:2 z:3]" || a.Limits.Rate.Count != 30 || a.Version() == v1 {
		t.Errorf("after the patch: %+v %v", a.Redacted(), a.Limits)
	}
	if _, err = d.Patch(ctx, "a@example.com", []byte(`{"refresh_token":null}`), accounts.Condition{}); err != nil {
		t.Error(err)
	}
	if a, _ = d.Lookup("a@example.com"); a.RefreshToken != "" {
		t.Error("null did not remove the refresh token")
	}
	if c, err = d.SetPaused(ctx, "a@example.com", false); err != nil || c.Account.Paused {
		t.Errorf("resume: %+v, %v", c, err)
	}

	var fe *accounts.FieldError
	for patch, field := range map[string]string{
		`{"nmae":"x"}`:                       "nmae",
		`{"name":"b@example.com"}`:           "name",
		`{"name":null}`:                      "name",
		`{"upstream":""}`:                    "upstream",
		`{"password_hashes":["$2a$secret"]}`: "password_hashes[0]",
		`{"paused":"yes"}`:                   "paused",
		`[]`:                                 "",
		`{`:                                  "",
	} {
		if _, err := d.Patch(ctx, "a@example.com", []byte(patch), accounts.Condition{}); !errors.As(err, &fe) || fe.Field != field || strings.Contains(err.Error(), "secret") {
			t.Errorf("patch %s: %v", patch, err)
		}
	}

	if _, err := d.Patch(ctx, "b@example.com", []byte(`{}`), accounts.Condition{}); !errors.Is(err, accounts.ErrNotFound) {
		t.Errorf("patch of none: %v", err)
	}
	if _, err := d.Patch(ctx, "Fixed@example.com", []byte(`{}`), accounts.Condition{}); !errors.Is(err, accounts.ErrReadOnly) || !strings.Contains(err.Error(), "fixed") {
		t.Errorf("patch of a read-only account: %v", err)
	}
	if err := d.Delete(ctx, "a@EXAMPLE.com", accounts.Condition{}); err != nil {
		t.Error(err)
	}
	if a, ok := d.Lookup("a@example.com"); ok {
		t.Errorf("deleted, and still there: %v", a)
	}
	if err := d.Delete(ctx, "a@example.com", accounts.Condition{}); !errors.Is(err, accounts.ErrNotFound) {
		t.Errorf("second delete: %v", err)
	}
	if _, err := accounts.NewDirectory([]accounts.Source{newFixed(t)}, nil).Put(ctx, "x", []byte(`{"upstream":"u"}`), accounts.Condition{}); !errors.Is(err, accounts.ErrReadOnly) {
		t.Errorf("no dynamic source: %v", err)
	}
}

func TestDynamicOtherProcess(t *testing.T) {
	dir := t.TempDir()
	one, _ := newProcess(t, dir)
	two, _ := newProcess(t, dir)
	d1, d2 := accounts.NewDirectory([]accounts.Source{one}, nil), accounts.NewDirectory([]accounts.Source{two}, nil)
	put(t, d1, accounts.Record{Name: "early@example.com"})
	if err := two.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		put(t, d1, accounts.Record{Name: "a@example.com", Labels: map[string]string{"i": fmt.Sprint(i)}})
	}
	if err := d1.Delete(t.Context(), "early@example.com", accounts.Condition{}); err != nil {
		t.Fatal(err)
	}
	put(t, d2, accounts.Record{Name: "b@example.com"})
	if err := two.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, ok := d2.Lookup("a@example.com"); !ok || a.Labels["i"] != "2" {
		t.Errorf("change of the other process: %v, %v", a, ok)
	}
	if _, ok := d2.Lookup("early@example.com"); ok {
		t.Error("deletion by the other process is not seen")
	}
	// A version read from one process serves for the other.
	a2, _ := d2.Lookup("a@example.com")
	if _, err := d1.Patch(t.Context(), "a@example.com", []byte(`{"paused":true}`), accounts.Condition{Versions: []string{a2.Version()}}); err != nil {
		t.Error(err)
	}
	if _, err := d2.Patch(t.Context(), "a@example.com", []byte(`{"paused":false}`), accounts.Condition{Versions: []string{a2.Version()}}); !errors.Is(err, accounts.ErrPrecondition) {
		t.Errorf("lost update: %v", err)
	}
	// Further behind than the journal reaches.
	var lines strings.Builder
	for i := range journalLen + 10 {
		fmt.Fprintf(&lines, `{"name":"n%d","upstream":"u"}`+"\n", i)
	}
	for r := range d1.Import(t.Context(), strings.NewReader(lines.String())) {
		if r.Result != "created" {
			t.Fatal(r)
		}
	}
	for _, s := range []*Source{one, two} {
		if err := s.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n, m := one.Index().Len(), two.Index().Len(); n != m || n != journalLen+12 {
		t.Errorf("%d and %d accounts", n, m)
	}
}

// While the accounts are loading, each is found all the same, and names that
// do not exist cost the storage one read each.
func TestDynamicLookupWhileLoading(t *testing.T) {
	dir := t.TempDir()
	writer, _ := newProcess(t, dir)
	put(t, accounts.NewDirectory([]accounts.Source{writer}, nil), accounts.Record{Name: "a@example.com", Upstream: "dynamic"})

	src, st := newProcess(t, dir)
	st.gate = make(chan struct{})
	d := accounts.NewDirectory([]accounts.Source{src, newFixed(t, "a@example.com", "b@example.com")}, nil)
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	if a, ok := d.Lookup("A@example.com"); !ok || a.Upstream != "dynamic" {
		t.Errorf("the later source answered: %v, %v", a, ok)
	}
	if a, ok := d.Lookup("b@example.com"); !ok || a.Source != "fixed" {
		t.Errorf("of the later source: %v, %v", a, ok)
	}
	before := st.loads.Load()
	for range 3 {
		for i := range 1000 {
			if _, err := d.Authenticate(t.Context(), fmt.Sprintf("random%d", i), "x"); !errors.Is(err, accounts.ErrBadCredentials) {
				t.Fatal(err)
			}
		}
	}
	if n := st.loads.Load() - before; n > 1000+5 { // and the loop's own
		t.Errorf("1000 unknown names, 3 times each: %d reads", n)
	}
	st.fail.Store(true)
	if _, err := d.Authenticate(t.Context(), "another", "x"); !errors.Is(err, accounts.ErrUnavailable) || !errors.Is(err, accounts.ErrOverloaded) {
		t.Errorf("storage down: %v", err)
	}
	st.fail.Store(false)
	close(st.gate)
	if err := src.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if src.Index().Loading() {
		t.Error("still loading")
	}
	before = st.loads.Load()
	for i := range 10_000 {
		if _, err := d.Authenticate(t.Context(), fmt.Sprintf("more%d", i), "x"); !errors.Is(err, accounts.ErrBadCredentials) {
			t.Fatal(err)
		}
	}
	// The journal may be looked at now and then; the clock decides.
	if n := st.loads.Load() - before; n > 50 {
		t.Errorf("10,000 unknown names: %d reads", n)
	}
	if n := len(src.state.absent); n != 0 {
		t.Errorf("%d unknown names are remembered", n)
	}
}

func TestDynamicSealed(t *testing.T) {
	dir := t.TempDir()
	k1, k2, k3 := testKey(1), testKey(2), testKey(3)
	clear, _ := newProcess(t, dir)
	put(t, accounts.NewDirectory([]accounts.Source{clear}, nil), accounts.Record{Name: "clear@example.com", Secret: "MARKED-clear"})
	old, _ := newProcess(t, dir, k1)
	d := accounts.NewDirectory([]accounts.Source{old}, nil)
	put(t, d, accounts.Record{Name: "a@example.com", RefreshToken: "MARKED-token"})
	if a, ok := d.Lookup("clear@example.com"); !ok || a.Secret != "MARKED-clear" {
		t.Error("a record from before the key is not read")
	}
	put(t, d, accounts.Record{Name: "clear@example.com", Secret: "MARKED-sealed"})
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		blob, err := os.ReadFile(path)
		if bytes.Contains(blob, []byte("MARKED")) || bytes.Contains(blob, []byte("example.com")) {
			t.Errorf("%s holds plaintext", path)
		}
		return err
	})

	rotated, _ := newProcess(t, dir, k2, k1)
	d = accounts.NewDirectory([]accounts.Source{rotated}, nil)
	if a, ok := d.Lookup("a@example.com"); !ok || a.RefreshToken != "MARKED-token" {
		t.Fatal("the second key does not open")
	}
	put(t, d, accounts.Record{Name: "b@example.com", RefreshToken: "other"})

	before := readAll(t, dir)
	wrong, _ := newProcess(t, dir, k3)
	d = accounts.NewDirectory([]accounts.Source{wrong}, nil)
	if _, err := d.Authenticate(t.Context(), "a@example.com", "x"); !errors.Is(err, accounts.ErrUnavailable) {
		t.Errorf("wrong key, before loading: %v", err)
	}
	if err := wrong.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Authenticate(t.Context(), "a@example.com", "x"); !errors.Is(err, accounts.ErrUnavailable) {
		t.Errorf("wrong key, after loading: %v", err)
	}
	if ps := d.Problems(); len(ps) != 3 || !strings.Contains(ps[0].Message, "not configured") {
		t.Errorf("problems: %v", ps)
	}
	if _, err := d.PutRecord(t.Context(), accounts.Record{Name: "a@example.com", Upstream: "u"}, accounts.Condition{}); !errors.Is(err, accounts.ErrSealed) {
		t.Errorf("put over a sealed record: %v", err)
	}
	if err := d.Delete(t.Context(), "a@example.com", accounts.Condition{}); !errors.Is(err, accounts.ErrSealed) {
		t.Errorf("delete of a sealed record: %v", err)
	}
	if after := readAll(t, dir); after != before {
		t.Error("the wrong key changed the storage")
	}
	put(t, d, accounts.Record{Name: "new@example.com"})

	// A record that was moved to another account's place does not open.
	blob, err := os.ReadFile(filepath.Join(dir, storageKey("a@example.com")))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, storageKey("victim@example.com")), blob, 0o600); err != nil {
		t.Fatal(err)
	}
	moved, _ := newProcess(t, dir, k1)
	if a, ok := accounts.NewDirectory([]accounts.Source{moved}, nil).Lookup("victim@example.com"); ok {
		t.Errorf("moved record opened: %v", a)
	}
}

func readAll(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	entries, err := os.ReadDir(filepath.Join(dir, prefix))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		blob, err := os.ReadFile(filepath.Join(dir, prefix, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %s\n", e.Name(), blob)
	}
	return b.String()
}

// A reload keeps what is loaded, and reads nothing again; the old
// configuration's storage is not used any more.
func TestDynamicSurvivesReload(t *testing.T) {
	dir := t.TempDir()
	st := &countingStorage{id: t.Name()}
	st.Path = dir
	first := provisionDynamic(t, st)
	d := accounts.NewDirectory([]accounts.Source{first}, nil)
	put(t, d, accounts.Record{Name: "a@example.com"})
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	if err := first.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := &countingStorage{id: t.Name()}
	second.Path = dir
	next := provisionDynamic(t, second)
	d2 := accounts.NewDirectory([]accounts.Source{next}, nil)
	if err := d2.Start(); err != nil {
		t.Fatal(err)
	}
	d.Stop()
	st.fail.Store(true)
	if a, ok := d2.Lookup("a@example.com"); !ok || a == nil {
		t.Error("account lost at reload")
	}
	if n := second.loads.Load(); n > 1 {
		t.Errorf("%d reads after the reload", n)
	}
	put(t, d2, accounts.Record{Name: "b@example.com"})
	d2.Stop()
}

func TestDynamicBadRecordCanBeRepaired(t *testing.T) {
	dir := t.TempDir()
	src, st := newProcess(t, dir)
	d := accounts.NewDirectory([]accounts.Source{src}, nil)
	key := storageKey("a@example.com")
	err := st.Store(t.Context(), key, []byte(`{"v":1,"rev":"r","record":{"name":"a@example.com","upstream":"u","source_ip":"nonsense"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ps := d.Problems(); len(ps) != 1 || ps[0].Field != "source_ip" || ps[0].Account != "a@example.com" || ps[0].File != key {
		t.Errorf("problems: %v", ps)
	}
	if _, err := d.Patch(t.Context(), "a@example.com", []byte(`{"source_ip":null}`), accounts.Condition{Versions: []string{"r"}}); err != nil {
		t.Error(err)
	}
	if ps := d.Problems(); len(ps) != 0 {
		t.Errorf("problems: %v", ps)
	}
	if src.Index().Loading() {
		t.Error("still loading")
	}
}
