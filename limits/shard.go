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

package limits

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddymail/mailgateway/limits/journal"
	"github.com/caddymail/mailgateway/limits/record"
)

// shard is a part of the mailboxes, with one file in each lane.
type shard struct {
	i int

	mu        sync.RWMutex
	mailboxes map[string]*mailbox
	loaded    bool
	keep      bool                      // what is counted stays counted at the next load
	cold      map[string]*record.Record // stored, and of no mailbox in memory
	theirs    map[string]*record.Record // of other living processes, as last read

	kickMu  sync.Mutex
	running bool
	again   bool
	timer   *time.Timer // looks for reservations that are not used any more

	writing   sync.Mutex // one writer at a time
	unwritten bool       // the last write failed
}

// mailbox returns the mailbox of that name. It is made on first use.
func (sh *shard) mailbox(l *Local, name string) *mailbox {
	sh.mu.RLock()
	m := sh.mailboxes[name]
	sh.mu.RUnlock()
	if m != nil {
		return m
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if m = sh.mailboxes[name]; m == nil {
		m = &mailbox{local: l, sh: sh, name: name, loaded: sh.loaded, foreign: sh.theirs[name]}
		m.refresh()
		m.restore(sh.cold[name], Now())
		delete(sh.cold, name)
		sh.mailboxes[name] = m
	}
	return m
}

// forget drops the mailbox if nothing would be lost with it.
func (sh *shard) forget(m *mailbox) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	now := Now()
	switch {
	case m.dead || m.refs > 0:
	case m.empty(now):
		m.dead = true
		m.stopTimer()
		// From here on the byte is the next one's of this name.
		m.conns.wantUntil = 0
		m.unwant(m.local.sharing.file.Load())
		delete(sh.mailboxes, m.name)
		if m.set.Lender != nil {
			m.set.Lender.Dropped(m.name)
		}
		if len(m.rest) > 0 && sh.cold != nil {
			sh.cold[m.name] = &record.Record{Accounts: m.rest}
		}
	case !m.local.closed.Load():
		m.wakeAt(now+int64(m.lasts(now)), now) // and look again
	}
}

func (sh *shard) list() []*mailbox {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	list := make([]*mailbox, 0, len(sh.mailboxes))
	for _, m := range sh.mailboxes {
		list = append(list, m)
	}
	return list
}

func (sh *shard) isLoaded() bool {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.loaded
}

// unload has the shard read again before anything is lent.
func (sh *shard) unload(keep bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.loaded, sh.keep, sh.cold, sh.theirs = false, keep, nil, nil
	for _, m := range sh.mailboxes {
		m.mu.Lock()
		m.loaded, m.foreign = false, nil
		m.ahead.left, m.ahead.rcpts = 0, 0
		m.mu.Unlock()
	}
}

// kick has the shard written soon. It may be called under a mailbox's lock.
func (sh *shard) kick(l *Local) {
	sh.kickMu.Lock()
	defer sh.kickMu.Unlock()
	if sh.running || l.closed.Load() {
		sh.again = true
		return
	}
	sh.running = true
	l.writers.Go(func() {
		sh.run(l)
	})
}

// run writes until nothing is asked for. Whoever asks during a write is served
// by the next one: so many messages share one.
func (sh *shard) run(l *Local) {
	for {
		began := time.Now()
		more, err := sh.flush(l, usual)
		if err != nil {
			l.complain(err)
			sh.refuse(ErrNotStored)
			more = true
			time.Sleep(retryAfter)
		} else if took := time.Since(began); took > 50*time.Millisecond {
			// A storage that is slow, or a large shard, is not to be kept
			// busy by it alone.
			time.Sleep(took / 2)
		}
		sh.kickMu.Lock()
		if !sh.again || l.closed.Load() {
			sh.running = false
			if more && !l.closed.Load() {
				sh.lookAgain(l)
			}
			sh.kickMu.Unlock()
			return
		}
		sh.again = false
		sh.kickMu.Unlock()
	}
}

// lookAgain has the reservations given back that are not used. kickMu is held.
func (sh *shard) lookAgain(l *Local) {
	if sh.timer == nil {
		sh.timer = time.AfterFunc(idleAfter, func() { sh.kick(l) })
		return
	}
	sh.timer.Reset(idleAfter)
}

func (sh *shard) stop() {
	sh.kickMu.Lock()
	defer sh.kickMu.Unlock()
	if sh.timer != nil {
		sh.timer.Stop()
	}
}

func (sh *shard) refuse(err error) {
	now := Now()
	for _, m := range sh.list() {
		m.mu.Lock()
		m.refuse(err, now)
		m.mu.Unlock()
	}
}

// manner is what a flush writes.
type manner int

const (
	usual   manner = iota // what changed
	whole                 // the file, so that the journal may forget its lines
	parting               // the file, for processes that know no journal
	final                 // the file, with nothing reserved
)

// flush reads what other processes have stored of the shard and writes what this
// one counts, with as much reserved as is asked for and as the limits leave.
// more reports whether something is reserved.
func (sh *shard) flush(l *Local, how manner) (more bool, err error) {
	sh.writing.Lock()
	defer sh.writing.Unlock()
	if l.current().Storage == nil || how != usual && !sh.isLoaded() || how != final && l.closed.Load() {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	h, err := l.claim(ctx)
	if err != nil {
		return false, err
	}
	unlock, modern, err := h.lanes.Lock(ctx, sh.i)
	if err != nil {
		return false, err
	}
	defer unlock()
	if how == parting && !modern {
		return false, nil
	}
	left, err := sh.read(ctx, l, h)
	if err != nil {
		return false, err
	}
	// A line of the journal is enough.
	line := modern && h.files != nil && how == usual && len(left) == 0 && !sh.unwritten
	out, grown, changed, more := sh.collect(how == final, line)
	if changed || len(left) > 0 || sh.unwritten || how != usual {
		sh.unwritten = true
		switch {
		case line:
			err = h.files.append(sh.i, out)
		case h.files != nil:
			err = h.files.Write(ctx, sh.i, out)
		default:
			err = record.Put(ctx, l.current().Storage, record.Key(l.dir(), sh.i, h.lane), out)
		}
		if err != nil {
			return false, err
		}
		sh.unwritten = false
	}
	for _, key := range left {
		// It is counted here. Should this fail, it counts twice.
		if err := l.current().Storage.Delete(ctx, key); err != nil {
			return false, err
		}
	}
	if how == parting {
		h.lanes.Part(sh.i)
	}
	now := Now()
	for _, g := range grown {
		g.m.mu.Lock()
		g.m.grewBy(g.msgs, g.rcpts, now)
		g.m.mu.Unlock()
	}
	return more, nil
}

// read takes over what is stored of the shard: what this process's lane held
// when it began, what ended processes left, and what living ones count. left are
// the files of ended processes.
func (sh *shard) read(ctx context.Context, l *Local, h hold) (left []string, err error) {
	// The files are read after the journals: lines that have gone are in them.
	lines, err := h.files.lines(ctx, sh.i)
	if err != nil {
		return nil, err
	}
	set := l.current()
	keys, err := record.List(ctx, set.Storage, record.Shard(l.dir(), sh.i))
	if err != nil {
		return nil, err
	}
	for n := range lines {
		if key := record.Key(l.dir(), sh.i, n); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	loaded := sh.isLoaded()
	ended, living := make(map[string]*record.Record), make(map[string]*record.Record)
	for _, key := range keys {
		n := record.LaneOf(key)
		if n < 0 || n == h.lane && loaded {
			continue
		}
		theirs, into := lines[n], ended
		if theirs != nil {
			into = living
		} else if n != h.lane {
			dead, err := h.lanes.Dead(ctx, n)
			if err != nil {
				return nil, err
			}
			if dead {
				left = append(left, key)
			} else {
				into = living
			}
		}
		f, err := record.Load(ctx, set.Storage, key, set.Logger)
		if err != nil {
			return nil, err
		}
		if err := journal.Apply(f, theirs); err != nil {
			return nil, fmt.Errorf("the journal of lane %d: %w", n, err)
		}
		for name, r := range f.Mailboxes {
			if n == h.lane && (r.Reserved > 0 || r.ReservedRecipients > 0) {
				sh.unwritten = true // from now on it counts as sent, at this time
			}
			if have := into[name]; have != nil {
				have.Merge(r)
			} else {
				into[name] = r
			}
		}
	}
	if loaded && len(ended) == 0 && len(living) == 0 && !sh.saw() {
		return left, nil
	}
	sh.apply(ended, living)
	return left, nil
}

// saw reports whether other processes had something stored.
func (sh *shard) saw() bool {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return len(sh.theirs) > 0
}

// apply counts what was read.
func (sh *shard) apply(ended, living map[string]*record.Record) {
	now := Now()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	first := !sh.loaded
	if sh.cold == nil {
		sh.cold = make(map[string]*record.Record)
	}
	for name, r := range ended {
		r.Stamped(now)
		if have := sh.cold[name]; have != nil {
			have.Merge(r)
		} else {
			sh.cold[name] = r
		}
	}
	sh.theirs = living
	for name, m := range sh.mailboxes {
		m.mu.Lock()
		m.foreign = living[name]
		if first && !sh.keep {
			m.forgetCounts()
		}
		m.loaded = true
		m.restore(sh.cold[name], now)
		delete(sh.cold, name)
		for _, a := range m.list {
			m.restoreAccount(a, now)
		}
		m.seeOthers(now)
		m.mu.Unlock()
	}
	sh.loaded, sh.keep = true, false
}

// growth is what a write reserves for a mailbox.
type growth struct {
	m           *mailbox
	msgs, rcpts int64
}

// collect takes a picture of the shard.
func (sh *shard) collect(last, line bool) (out *record.File, grown []growth, changed, more bool) {
	now := Now()
	out = &record.File{Version: record.Version, Mailboxes: make(map[string]*record.Record)}
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	for name, m := range sh.mailboxes {
		m.mu.Lock()
		g, touched := growth{m: m}, last
		switch {
		case last:
			m.ahead.left, m.ahead.rcpts = 0, 0
		case m.ahead.asked || len(m.ahead.next) > 0:
			g.msgs, g.rcpts = m.grow(now)
			grown = append(grown, g)
			touched = g.msgs > 0 || g.rcpts > 0
		case now-m.ahead.used >= int64(idleAfter) && m.ahead.stored:
			touched = true
			m.ahead.left, m.ahead.rcpts = 0, 0
		}
		changed = changed || touched
		if line && !touched {
			// What was written of it stands.
			more = more || m.ahead.stored
			m.mu.Unlock()
			continue
		}
		r := m.snapshot(now, g.msgs, g.rcpts)
		reserves := r.Reserved > 0 || r.ReservedRecipients > 0
		more = more || reserves
		m.ahead.stored = reserves
		m.mu.Unlock()
		if line || !r.Empty() {
			out.Mailboxes[name] = r
		}
	}
	if line {
		return out, grown, changed, more
	}
	for name, r := range sh.cold {
		r.Prune(now)
		if !r.Empty() {
			out.Mailboxes[name] = r
		}
	}
	return out, grown, changed, more
}
