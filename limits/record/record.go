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

// Package record is the form in which the counts of mailboxes are stored. It has no
// locks and imports nothing of ours.
package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// Version is that of the form.
const Version = 2 // 1 counted accounts; package legacy reads it

// File is what a process stores of a shard.
type File struct {
	Version int `json:"version"`
	// Journal and Seq say what of a journal is in here: its records up to Seq.
	Journal   string             `json:"journal,omitempty"`
	Seq       uint64             `json:"seq,omitempty"`
	Mailboxes map[string]*Record `json:"mailboxes"`
}

// Record is what is stored of a mailbox.
type Record struct {
	Counts
	// Reserved is what may have been sent since, or may be sent yet.
	Reserved           int64             `json:"reserved,omitempty"`
	ReservedRecipients int64             `json:"reserved_recipients,omitempty"`
	Accounts           map[string]Counts `json:"accounts,omitempty"`
	// Imported are the accounts whose counts of version 1 are in here.
	Imported []string `json:"imported,omitempty"`
}

// Counts are stamps by period, as time.Duration writes it. Each is a pair of
// milliseconds since 1970 and a number of events.
type Counts struct {
	Messages   map[string][][2]int64 `json:"messages,omitempty"`
	Recipients map[string][][2]int64 `json:"recipients,omitempty"`
}

// Empty reports whether nothing is counted.
func (c *Counts) Empty() bool { return len(c.Messages) == 0 && len(c.Recipients) == 0 }

// Empty reports whether nothing is counted and nothing reserved.
func (r *Record) Empty() bool {
	return r.Counts.Empty() && r.Reserved == 0 && r.ReservedRecipients == 0 && len(r.Accounts) == 0
}

// Decode reads a file.
func Decode(raw []byte) (*File, error) {
	var f File
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, err
	}
	if f.Version != Version {
		return nil, fmt.Errorf("unknown version %d", f.Version)
	}
	for name, r := range f.Mailboxes {
		if r == nil {
			return nil, errors.New("no record of mailbox " + name)
		}
	}
	return &f, nil
}

// Take puts the mailboxes of another file in place of those of the same names.
func (f *File) Take(newer *File) {
	if f.Mailboxes == nil {
		f.Mailboxes = make(map[string]*Record)
	}
	for name, r := range newer.Mailboxes {
		if f.Mailboxes[name] = r; r.Empty() {
			delete(f.Mailboxes, name)
		}
	}
}

// Load reads a file of a storage. One that is not there has nothing, as one that
// is damaged, which the log then names.
func Load(ctx context.Context, st certmagic.Storage, key string, log *zap.Logger) (*File, error) {
	raw, err := st.Load(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return new(File), nil
	}
	if err != nil {
		return nil, err
	}
	f, err := Decode(raw)
	if err != nil {
		log.Error("reading stored limits failed, their counts begin at zero", zap.String("key", key), zap.Error(err))
		return new(File), nil
	}
	return f, nil
}

// Store writes a file, and returns how large it is.
func (f *File) Store(ctx context.Context, st certmagic.Storage, key string) (int, error) {
	f.Version = Version
	raw, err := json.Marshal(f)
	if err != nil {
		return 0, err
	}
	if err := st.Store(ctx, key, raw); err != nil {
		return 0, fmt.Errorf("writing %s: %w", key, err)
	}
	return len(raw), nil
}

// Put writes a file, or removes one that has nothing.
func Put(ctx context.Context, st certmagic.Storage, key string, f *File) error {
	if len(f.Mailboxes) == 0 {
		return Remove(ctx, st, key)
	}
	_, err := f.Store(ctx, st, key)
	return err
}

// Stamped turns what was reserved into something that was sent at a time. Which
// of its accounts sent it is not known: it Counts against each.
func (r *Record) Stamped(now int64) {
	msgs, rcpts := [2]int64{Millis(now), r.Reserved}, [2]int64{Millis(now), r.ReservedRecipients}
	r.Reserved, r.ReservedRecipients = 0, 0
	r.Counts.stampAny(msgs, rcpts)
	for name, c := range r.Accounts {
		c.stampAny(msgs, rcpts)
		r.Accounts[name] = c
	}
}

func (c *Counts) stampAny(msgs, rcpts [2]int64) {
	if msgs[1] > 0 {
		c.Messages = mergeStamps(c.Messages, map[string][][2]int64{AnyPeriod: {msgs}})
	}
	if rcpts[1] > 0 {
		c.Recipients = mergeStamps(c.Recipients, map[string][][2]int64{AnyPeriod: {rcpts}})
	}
}

// Prune forgets stamps that are over.
func (r *Record) Prune(now int64) {
	pruneStamps(r.Messages, now)
	pruneStamps(r.Recipients, now)
	for name, c := range r.Accounts {
		pruneStamps(c.Messages, now)
		pruneStamps(c.Recipients, now)
		if c.Empty() {
			delete(r.Accounts, name)
		}
	}
}

// longestKept is how long a stamp is kept of which the period is not known.
const longestKept = 32 * 24 * time.Hour

func pruneStamps(stored map[string][][2]int64, now int64) {
	for key, list := range stored {
		per, err := time.ParseDuration(key)
		if err != nil {
			per = longestKept
		}
		list = slices.DeleteFunc(list, func(s [2]int64) bool { return s[0]*int64(time.Millisecond)+int64(per) <= now })
		if stored[key] = list; len(list) == 0 {
			delete(stored, key)
		}
	}
}

// AnyPeriod is the key of stamps that count against each limit.
const AnyPeriod = ""

// Millis rounds up: a stamp must not end early for having been stored.
func Millis(at int64) int64 { return (at + int64(time.Millisecond) - 1) / int64(time.Millisecond) }

// Merge adds another process's record.
func (r *Record) Merge(o *Record) {
	r.Counts.Merge(&o.Counts)
	r.Reserved += o.Reserved
	r.ReservedRecipients += o.ReservedRecipients
	r.Accounts = MergeCounts(r.Accounts, o.Accounts)
	r.Imported = append(r.Imported, o.Imported...)
}

// Merge adds another process's counts.
func (c *Counts) Merge(o *Counts) {
	c.Messages = mergeStamps(c.Messages, o.Messages)
	c.Recipients = mergeStamps(c.Recipients, o.Recipients)
}

// MergeCounts adds the counts of accounts.
func MergeCounts(into, from map[string]Counts) map[string]Counts {
	for name, c := range from {
		if into == nil {
			into = make(map[string]Counts)
		}
		have := into[name]
		have.Merge(&c)
		into[name] = have
	}
	return into
}

func mergeStamps(into, from map[string][][2]int64) map[string][][2]int64 {
	for key, list := range from {
		if into == nil {
			into = make(map[string][][2]int64)
		}
		into[key] = append(into[key], list...)
	}
	return into
}
