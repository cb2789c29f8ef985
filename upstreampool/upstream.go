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
	"cmp"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/generation"
	"github.com/caddymail/mailgateway/internal/tally"
	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/dialer"
	"github.com/caddymail/mailgateway/upstreampool/meter"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

const (
	shardCount  = 64
	quitTimeout = 3 * time.Second // for the answer to QUIT, at the end
	slowQuit    = 15 * time.Second
	maxQuits    = 64 // connections being closed politely at a time
)

// upstreams are the live upstreams of the process by name. They survive
// reloads: connections, limiters and quota belong to them and not to a
// configuration.
var (
	upstreamsMu sync.Mutex
	upstreams   = make(map[string]*upstream)
)

// upstream is everything about one upstream that outlives a configuration. What
// a configuration says of it is a generation of settings; the newest attached
// one is in force, so that a configuration that fails to load after it attached
// leaves the one before in force again.
type upstream struct {
	name string

	current atomic.Pointer[settings] // nil: closed, nothing is lent
	gens    generation.Stack[*settings]
	end     atomic.Pointer[chan struct{}] // closed with the last generation

	shards [shardCount]shard

	conns   atomic.Int64 // open and opening connections of all accounts
	drained atomic.Int64 // connections opened until then are not lent again
	dialer  *dialer.Dialer

	starvedMu sync.Mutex
	starved   []*pool // mailboxes that wait for a connection of the upstream's total
	nStarved  atomic.Int32

	quits   chan struct{} // semaphore
	closing tally.Count   // connections

	metrics *meter.Upstream
	limits  limits.Limiter // since the first generation

	// connect opens a connection: dial, but for tests.
	connect func(context.Context, *settings, *account, dialer.Credentials) (*conn, *smtpclient.Error)
}

// shard holds a part of the mailboxes' pools. Its lock covers the map alone.
type shard struct {
	mu    sync.RWMutex
	pools map[string]*pool
}

// attach makes s the generation in force of its upstream.
func attach(s *settings) *upstream {
	upstreamsMu.Lock()
	defer upstreamsMu.Unlock()
	u, ok := upstreams[s.name]
	if !ok {
		u = newUpstream(s.name)
		upstreams[s.name] = u
	}
	u.attach(s)
	return u
}

func newUpstream(name string) *upstream {
	u := &upstream{
		name:    name,
		quits:   make(chan struct{}, maxQuits),
		metrics: meter.New(name),
	}
	u.dialer = dialer.New(name, u.metrics)
	for i := range u.shards {
		u.shards[i].pools = make(map[string]*pool)
	}
	u.connect = u.dial
	return u
}

func (u *upstream) attach(s *settings) {
	u.gens.Attach(s, func(first bool) {
		if prev := u.current.Load(); prev != nil && prev.identity == s.identity && prev.TLS != nil {
			s.TLS.ClientSessionCache = prev.TLS.ClientSessionCache
		}
		if first {
			end := make(chan struct{})
			u.end.Store(&end)
		}
		u.enforce(s)
	})
}

// detach takes s back. The last generation's end closes the upstream; what was
// counted stays, should it be configured again.
func (u *upstream) detach(s *settings) {
	gone := false
	u.gens.Detach(s, func(now *settings, last bool) {
		if !last {
			u.enforce(now)
			return
		}
		gone = true
		u.current.Store(nil)
		close(*u.end.Load())
	})
	if gone {
		u.close(s)
	}
}

// quitWithin is how long the answer to QUIT may take. Until it has come the
// provider counts the connection, so the mailbox's place is not given to another;
// the end of the process does not wait as long.
func (u *upstream) quitWithin() time.Duration {
	if u.current.Load() == nil {
		return quitTimeout
	}
	return slowQuit
}

// ended returns a channel that is closed when the upstream is.
func (u *upstream) ended() <-chan struct{} { return *u.end.Load() }

// enforce puts s in force: idle connections of another identity are closed,
// waiting messages see the new limits at once. Everything else notices when it
// is used next.
func (u *upstream) enforce(s *settings) {
	if u.current.Load() == s {
		return
	}
	c := s.limits()
	if u.limits == nil {
		u.limits = limits.NewLocal(u.name, c)
	} else {
		u.limits.Configure(c)
	}
	u.current.Store(s)
	u.eachPool(func(p *pool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.dead {
			p.configure(s)
			p.dispatch(clock())
		}
	})
}

// close ends the upstream: nothing is lent any more, idle connections are
// closed with QUIT, waiting messages are refused. A transaction that is under
// way finishes; its connection closes after it.
func (u *upstream) close(last *settings) {
	u.eachPool(func(p *pool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.failWaiters(p.nWait, relay.ReplyShuttingDown)
		p.dropIdle(func(*conn) bool { return true })
		p.stopTimer()
	})
	u.limits.Shut()
	// A reload must not wait for a provider; the end of the process may.
	if !caddy.Exiting() {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		u.closing.Wait()
	}()
	t := time.NewTimer(2 * quitTimeout)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		last.Logger.Warn("connections not closed in time", zap.String("upstream", u.name), zap.Int64("connections", u.conns.Load()))
	}
}

func (u *upstream) eachPool(f func(*pool)) {
	var list []*pool
	for i := range u.shards {
		sh := &u.shards[i]
		sh.mu.RLock()
		list = list[:0]
		for _, p := range sh.pools {
			list = append(list, p)
		}
		sh.mu.RUnlock()
		for _, p := range list {
			f(p)
		}
	}
}

// shard returns the part of the mailboxes that the name belongs to.
func (u *upstream) shard(name string) *shard { return &u.shards[shardOf(name)] }

// shardOf is FNV-1a: short names, chosen by the operator.
func shardOf(name string) int {
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return int((h ^ h>>16) % shardCount)
}

// account returns the state of a's account, made on first use. It is kept until
// done.
func (u *upstream) account(a *accounts.Account, s *settings) *account {
	key, name := poolKey(a), accounts.FoldName(a.Name)
	for {
		if ac := u.pool(key).use(a, name, s); ac != nil {
			return ac
		}
	}
}

// pool returns a mailbox's pool. It may have been dropped in the meantime.
func (u *upstream) pool(key string) *pool {
	sh := u.shard(key)
	sh.mu.RLock()
	p := sh.pools[key]
	sh.mu.RUnlock()
	if p != nil {
		return p
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if p = sh.pools[key]; p == nil {
		p = newPool(u, key)
		sh.pools[key] = p
	}
	return p
}

// use returns an account of the pool, pinned; nil if the pool is dead.
func (p *pool) use(a *accounts.Account, name string, s *settings) *account {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return nil
	}
	p.pins++
	ac := p.find(name)
	if ac == nil {
		ac = &account{pool: p, name: name, lim: p.up.limits.Account(p.key, name, a.Limits)}
		p.keep(ac)
	}
	// A message may come with the settings of before a reload.
	if s = cmp.Or(p.up.current.Load(), s); p.cfg != s {
		p.configure(s)
	}
	if ac.rec != a {
		ac.refresh(a)
	}
	ac.gone = false
	return ac
}

// forget drops the pool if nothing would be lost with it.
func (u *upstream) forget(p *pool) {
	sh := u.shard(p.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch now := clock(); {
	case p.dead:
	case p.empty(now):
		p.dead = true
		delete(sh.pools, p.key)
		p.close()
	case p.unused():
		p.wakeAt(now+int64(time.Minute), now) // and look again
	}
}

// reserve takes one connection of the upstream's total for p. If there is
// none left, p is told when there is.
func (u *upstream) reserve(p *pool, limit int64) bool {
	for {
		n := u.conns.Load()
		if n >= limit {
			break
		}
		if u.conns.CompareAndSwap(n, n+1) {
			return true
		}
	}
	if !p.starving {
		p.starving = true
		u.starvedMu.Lock()
		u.starved = append(u.starved, p)
		u.nStarved.Store(int32(len(u.starved))) //nolint:gosec // bounded by the number of accounts
		u.starvedMu.Unlock()
		// An idle connection of another account is worth less than this message.
		go u.evict(p)
	}
	return false
}

// unreserve gives a connection of the total back and serves who waits for one.
func (u *upstream) unreserve() {
	u.conns.Add(-1)
	if u.nStarved.Load() == 0 {
		return
	}
	u.starvedMu.Lock()
	var p *pool
	if len(u.starved) > 0 {
		p = u.starved[0]
		u.starved = append(u.starved[:0:0], u.starved[1:]...)
		u.nStarved.Store(int32(len(u.starved))) //nolint:gosec // bounded by the number of accounts
	}
	u.starvedMu.Unlock()
	if p == nil {
		return
	}
	// The caller may hold another account's lock.
	go func() {
		p.mu.Lock()
		p.starving = false
		waiting := p.nWait > 0
		if !p.dead {
			p.dispatch(clock())
		}
		p.mu.Unlock()
		if !waiting && u.nStarved.Load() > 0 {
			u.conns.Add(1)
			u.unreserve()
		}
	}()
}

// evict closes one idle connection of an account other than p.
func (u *upstream) evict(p *pool) {
	start := shardOf(p.key)
	for i := range shardCount {
		sh := &u.shards[(start+1+i)%shardCount]
		sh.mu.RLock()
		var list []*pool
		for _, other := range sh.pools {
			if other != p {
				list = append(list, other)
			}
		}
		sh.mu.RUnlock()
		for _, other := range list {
			other.mu.Lock()
			c := other.idleTail
			if c != nil {
				other.unlink(c)
				other.retire(c)
			}
			other.mu.Unlock()
			if c != nil {
				return
			}
		}
	}
}

// clock returns nanoseconds since 1970 on a scale that never jumps.
func clock() int64 { return limits.Now() }
