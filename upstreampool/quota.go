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

package upstreampool

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

const (
	// flushEvery is the pause between two writes of what changed. What a
	// crash can lose is at most this old.
	flushEvery = 30 * time.Second
	// hurryAfter is the pause if an account has used up what was stored ahead.
	hurryAfter   = time.Second
	storeTimeout = 20 * time.Second
	quotaVersion = 1
)

// quotaKeeper stores the counts of long periods behind the messages, in a file
// for each shard of accounts.
//
// While an account sends, its stored count runs ahead of what was sent by a
// hundredth of the limit, at least 10 (its lead), and an account that has used
// up half of that is written again within a second. A process that ends in order
// stores the exact count; after a crash an account that was sending begins with
// its lead counted as sent, so that what the last moments could have lost is on
// the safe side.
type quotaKeeper struct {
	mu      sync.Mutex
	storage certmagic.Storage
	logger  *zap.Logger
	loaded  bool
	waiting map[string]storedAccount // loaded, and no message of theirs since
	running bool
	hurry   chan struct{}
	writing sync.Mutex // one writer at a time
}

// storedShard is the content of a file.
type storedShard struct {
	Version  int                      `json:"version"`
	Saved    int64                    `json:"saved"` // seconds since 1970
	Accounts map[string]storedAccount `json:"accounts"`
}

// storedAccount holds counts by period in seconds.
type storedAccount struct {
	Messages   map[string]storedCount `json:"messages,omitempty"`
	Recipients map[string]storedCount `json:"recipients,omitempty"`
}

type storedCount struct {
	// Stamps are pairs: seconds since 1970, number of events.
	Stamps [][2]int64 `json:"stamps,omitempty"`
	// Lead is what may have been sent since.
	Lead int64 `json:"lead,omitempty"`
}

func (q *quotaKeeper) dir(u *upstream) string {
	return path.Join("smtp", "quota", certmagic.StorageKeys.Safe(u.name))
}

// open reads what earlier processes counted, once in the life of this one.
func (q *quotaKeeper) open(u *upstream, s *settings) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.storage, q.logger = s.storage, s.logger
	if q.loaded || q.storage == nil {
		return
	}
	q.loaded = true
	q.hurry = make(chan struct{}, 1)
	q.waiting = make(map[string]storedAccount)
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	keys, err := q.storage.List(ctx, q.dir(u), false)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			q.logger.Error("listing stored quotas failed, counts begin at zero", zap.String("upstream", u.name), zap.Error(err))
		}
		return
	}
	for _, key := range keys {
		if !strings.HasSuffix(key, ".json") {
			continue
		}
		raw, err := q.storage.Load(ctx, key)
		var shard storedShard
		if err == nil {
			if err = json.Unmarshal(raw, &shard); err == nil && shard.Version != quotaVersion {
				err = errors.New("unknown version " + strconv.Itoa(shard.Version))
			}
		}
		if err != nil {
			q.logger.Error("reading stored quota failed, its counts begin at zero", zap.String("key", key), zap.Error(err))
			continue
		}
		for name, a := range shard.Accounts {
			// From here on a lead is something that was sent.
			for _, counts := range []map[string]storedCount{a.Messages, a.Recipients} {
				for per, c := range counts {
					if c.Lead > 0 {
						c.Stamps = append(c.Stamps, [2]int64{shard.Saved, c.Lead})
						c.Lead = 0
						counts[per] = c
					}
				}
			}
			q.waiting[name] = a
		}
	}
}

// take returns what is stored of an account that is used for the first time.
func (q *quotaKeeper) take(name string) (storedAccount, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	a, ok := q.waiting[name]
	delete(q.waiting, name)
	return a, ok
}

// restore adds stored counts to the windows that they are of. A period that is
// not configured any more is forgotten.
func (l *limits) restore(a storedAccount) {
	for _, k := range []struct {
		windows []*window
		counts  map[string]storedCount
	}{{l.msgs, a.Messages}, {l.rcpts, a.Recipients}} {
		for _, w := range k.windows {
			for _, s := range k.counts[periodKey(w.rate.Per)].Stamps {
				w.add(s[0]*int64(time.Second), s[1])
			}
		}
	}
}

func periodKey(per time.Duration) string { return strconv.FormatInt(int64(per/time.Second), 10) }

// lead is how far what is stored runs ahead of what was sent.
func lead(limit int64) int64 { return max(10, limit/100) }

// used notes events of an account, whose lock is held.
func (q *quotaKeeper) used(ac *account, msgs, rcpts int64, now int64) {
	if q.hurry == nil {
		return
	}
	if ac.touched == 0 {
		ac.touched = now
		ac.fresh = usage{}
		q.start(ac.up)
	}
	ac.fresh.held += msgs
	ac.fresh.rcpts += rcpts
	if !ac.limits.outran(ac.fresh.held, ac.fresh.rcpts) {
		return
	}
	select {
	case q.hurry <- struct{}{}:
	default:
	}
}

// outran tells whether more than half of some lead is used.
func (l *limits) outran(msgs, rcpts int64) bool {
	for _, w := range l.msgs {
		if w.rate.Per >= longPeriod && msgs > lead(w.rate.Count)/2 {
			return true
		}
	}
	for _, w := range l.rcpts {
		if w.rate.Per >= longPeriod && rcpts > lead(w.rate.Count)/2 {
			return true
		}
	}
	return false
}

// start runs the writer until nothing is left to write.
func (q *quotaKeeper) start(u *upstream) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running || q.storage == nil {
		return
	}
	q.running = true
	u.storing.begin()
	go func() {
		defer u.storing.end()
		q.run(u)
	}()
}

func (q *quotaKeeper) run(u *upstream) {
	pause := time.NewTimer(0) // the first message of a quiet time is stored at once
	defer pause.Stop()
	for {
		closed := u.current.Load() == nil
		if !closed {
			select {
			case <-pause.C:
			case <-q.hurry:
				time.Sleep(hurryAfter)
			case <-u.ended():
				closed = true
			}
		}
		dirty := q.flush(u, closed)
		if closed || !dirty {
			q.mu.Lock()
			q.running = false
			q.mu.Unlock()
			// A message may have found the writer running at the last moment.
			if again := !closed && u.touched(); again {
				q.start(u)
			}
			return
		}
		pause.Reset(flushEvery)
	}
}

// flush writes the shards that changed, and tells whether they will again.
func (q *quotaKeeper) flush(u *upstream, final bool) (dirty bool) {
	q.writing.Lock()
	defer q.writing.Unlock()
	for i := range u.shards {
		shard, changed, leads := q.collect(u, &u.shards[i], final)
		if !changed {
			continue
		}
		dirty = dirty || leads
		if err := q.write(u, i, shard); err != nil {
			dirty = true
			q.logger.Error("storing quotas failed", zap.String("upstream", u.name), zap.Error(err))
			u.shards[i].unwritten.Store(true)
		}
	}
	return dirty
}

func (q *quotaKeeper) write(u *upstream, i int, shard storedShard) error {
	key := path.Join(q.dir(u), strconv.Itoa(i)+".json")
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	if len(shard.Accounts) == 0 {
		if err := q.storage.Delete(ctx, key); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	raw, err := json.Marshal(shard)
	if err != nil {
		return err
	}
	return q.storage.Store(ctx, key, raw)
}

// collect takes a picture of a shard. leads tells whether it holds any.
func (q *quotaKeeper) collect(u *upstream, sh *shard, final bool) (out storedShard, changed, leads bool) {
	now := clock()
	out = storedShard{Version: quotaVersion, Saved: now/int64(time.Second) + 1, Accounts: make(map[string]storedAccount)}
	changed = sh.unwritten.Swap(false)
	sh.mu.RLock()
	list := make([]*account, 0, len(sh.accounts))
	for _, ac := range sh.accounts {
		list = append(list, ac)
	}
	sh.mu.RUnlock()
	for _, ac := range list {
		ac.mu.Lock()
		active := ac.touched != 0
		if active || ac.hasLead {
			changed = true
		}
		// What is still under way at the end counts itself when nobody writes.
		ac.hasLead = active && !final || final && ac.limits.heldMsgs > 0
		leads = leads || ac.hasLead
		ac.touched, ac.fresh = 0, usage{}
		if a := ac.limits.stored(now, ac.hasLead); a.Messages != nil || a.Recipients != nil {
			out.Accounts[ac.name] = a
		}
		ac.mu.Unlock()
	}
	if !changed {
		return out, false, false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for name, a := range q.waiting {
		if u.shard(name) == sh {
			out.Accounts[name] = a
		}
	}
	return out, true, leads
}

// stored returns the counts of the long periods.
func (l *limits) stored(now int64, withLead bool) (a storedAccount) {
	a.Messages = storedCounts(l.msgs, now, withLead)
	a.Recipients = storedCounts(l.rcpts, now, withLead)
	return a
}

func storedCounts(windows []*window, now int64, withLead bool) map[string]storedCount {
	var counts map[string]storedCount
	for _, w := range windows {
		if w.rate.Per < longPeriod {
			continue
		}
		w.expire(now)
		var c storedCount
		w.each(func(s stamp) {
			// Rounded up: a stamp must not end early after a restart.
			c.Stamps = append(c.Stamps, [2]int64{(s.at + int64(time.Second) - 1) / int64(time.Second), s.n})
		})
		if withLead {
			c.Lead = min(lead(w.rate.Count), max(0, w.rate.Count-w.sum))
		}
		if len(c.Stamps) == 0 && c.Lead == 0 {
			continue
		}
		if counts == nil {
			counts = make(map[string]storedCount)
		}
		counts[periodKey(w.rate.Per)] = c
	}
	return counts
}
