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

// Package audit keeps who changed what on the console's pages, to be read there: the
// last changes, in Caddy's storage, shared by the gateways that share it.
//
// The log has every change too, and for as long as the operator wants; this is what a
// page can show. Records lie in segments, of which the last is written anew with each
// record and the oldest go: a page reads one or two of them, whatever there is.
package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddymail/mailgateway/internal/storelock"
)

// Entry is one change.
type Entry struct {
	Time time.Time `json:"time"`
	// User is who made it, From the address that they came from.
	User string `json:"user"`
	From string `json:"from"`
	// What was done, to what.
	What    string   `json:"what"`
	Details []Detail `json:"details,omitempty"`
}

// Detail is a field of a change, as the log has it.
type Detail struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

const (
	folder   = "smtp_console/audit"
	lockName = "smtp_console_audit"
	// perSegment and segments bound the changes that are kept: some ten thousand.
	perSegment = 200
	segments   = 50
	// maxValue bounds a detail, in octets.
	maxValue = 1000
	patience = 10 * time.Second
)

// New makes an entry of what a line of the log has.
func New(user, from, what string, fields ...zap.Field) Entry {
	e := Entry{Time: time.Now().UTC().Truncate(time.Millisecond), User: cut(user), From: cut(from), What: cut(what)}
	for _, f := range fields {
		enc := zapcore.NewMapObjectEncoder()
		f.AddTo(enc)
		for name, v := range enc.Fields {
			e.Details = append(e.Details, Detail{name, cut(text(v))})
		}
	}
	return e
}

func text(v any) string {
	list, ok := v.([]any)
	if !ok {
		return fmt.Sprint(v)
	}
	words := make([]string, len(list))
	for i, w := range list {
		words[i] = fmt.Sprint(w)
	}
	return strings.Join(words, "; ")
}

func cut(s string) string {
	if len(s) > maxValue {
		s = s[:maxValue] + "..."
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// Trail is the changes in a storage.
type Trail struct{ Storage certmagic.Storage }

func key(seq int) string { return path.Join(folder, fmt.Sprintf("%08d.json", seq)) }

// sequence is the numbers of the segments, in their order.
func (t Trail) sequence(ctx context.Context) ([]int, error) {
	keys, err := t.Storage.List(ctx, folder, false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []int
	for _, k := range keys {
		if seq, err := strconv.Atoi(strings.TrimSuffix(path.Base(k), ".json")); err == nil && seq >= 0 && key(seq) == k {
			list = append(list, seq)
		}
	}
	slices.Sort(list)
	return list, nil
}

// errDamaged is a segment that cannot be read. It is left as it is.
var errDamaged = errors.New("it is damaged")

func (t Trail) load(ctx context.Context, seq int) ([]Entry, error) {
	b, err := t.Storage.Load(ctx, key(seq))
	if err != nil {
		return nil, err
	}
	var entries []Entry
	if json.Unmarshal(b, &entries) != nil {
		return nil, errDamaged
	}
	return entries, nil
}

// local orders those of this process, which need not poll for the storage's lock.
var local sync.Mutex

// Add keeps a change.
func (t Trail) Add(ctx context.Context, e Entry) error {
	_, err := t.addAll(ctx, []Entry{e})
	return err
}

// addAll keeps changes, and says how many of them, the first ones, are kept.
func (t Trail) addAll(ctx context.Context, changes []Entry) (kept int, err error) {
	local.Lock()
	defer local.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	unlock, err := storelock.Lock(ctx, t.Storage, lockName, patience)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	list, err := t.sequence(ctx)
	if err != nil {
		return 0, err
	}
	seq := 0
	var entries []Entry
	if len(list) > 0 {
		seq = list[len(list)-1]
		entries, err = t.load(ctx, seq)
		if err != nil && !errors.Is(err, errDamaged) {
			return 0, err
		}
		if err != nil || len(entries) >= perSegment {
			seq, entries = seq+1, nil
		}
	}
	err = nil // what is damaged stays as it is
	for kept < len(changes) {
		begun, n := entries == nil, min(perSegment-len(entries), len(changes)-kept)
		b, e := json.Marshal(append(entries, changes[kept:kept+n]...))
		if e == nil {
			e = t.Storage.Store(ctx, key(seq), b)
		}
		if e != nil {
			return kept, errors.Join(err, e)
		}
		kept += n
		if begun { // the oldest go
			for len(list) >= segments {
				err = errors.Join(err, t.Storage.Delete(ctx, key(list[0])))
				list = list[1:]
			}
			list = append(list, seq)
		}
		seq, entries = seq+1, nil
	}
	return kept, err
}

// Page is some changes, the newest first.
type Page struct {
	Entries []Entry
	// Next is the cursor of those before; empty if there are none.
	Next string
	// Damaged counts segments that cannot be read.
	Damaged int
}

// ErrCursor is about a cursor that is none of ours.
var ErrCursor = errors.New("the cursor is none")

// List returns up to limit changes that have the words in any of their parts, before
// the cursor of another page if it is not empty.
func (t Trail) List(ctx context.Context, words, cursor string, limit int) (Page, error) {
	var p Page
	from, index := -1, 0
	if cursor != "" {
		if _, err := fmt.Sscanf(cursor, "%d.%d", &from, &index); err != nil || from < 0 || index < 0 || cursor != at(from, index) {
			return p, ErrCursor
		}
	}
	list, err := t.sequence(ctx)
	if err != nil {
		return p, err
	}
	words = strings.ToLower(strings.TrimSpace(words))
	for _, seq := range slices.Backward(list) {
		if from >= 0 && seq > from {
			continue
		}
		entries, err := t.load(ctx, seq)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it has just gone
			continue
		case errors.Is(err, errDamaged):
			p.Damaged++
			continue
		case err != nil:
			return p, err
		}
		if seq == from {
			entries = entries[:min(index, len(entries))]
		}
		for i, e := range slices.Backward(entries) {
			if words != "" && !e.has(words) {
				continue
			}
			if len(p.Entries) == limit {
				p.Next = at(seq, i+1)
				return p, nil
			}
			p.Entries = append(p.Entries, e)
		}
	}
	return p, nil
}

func at(seq, index int) string { return fmt.Sprintf("%d.%d", seq, index) }

// has reports whether the words are in any part of the entry.
func (e *Entry) has(words string) bool {
	in := func(s string) bool { return strings.Contains(strings.ToLower(s), words) }
	return in(e.User) || in(e.From) || in(e.What) || slices.ContainsFunc(e.Details, func(d Detail) bool { return in(d.Value) })
}
