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

package password

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// The bounds of password checks.
const (
	// A slow check takes up to 256 MiB for its time: not one per core on
	// every machine.
	maxSlots = 16
	// maxQueued are the slow checks waiting for a core.
	maxQueued = 256
	// accountShare are the slow checks of one name at a time, running and
	// waiting; identical ones count once.
	accountShare = 4
	// clientShare are those of one client (WithClient).
	clientShare = 64
)

// Verifier checks passwords. There is one in the process, so that its bounds
// and its cache hold across reloads.
type Verifier struct {
	key   [32]byte // of the success cache, and of the fakes' choice
	cache successCache
	slots chan struct{}
	ops   [Kinds]atomic.Int64 // hash computations

	mu      sync.Mutex
	flights map[cacheKey]*flight
	outside int // flights that other programs answer
	shares  map[string]int
}

// flight is one slow check with all who wait for it.
type flight struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiters int
	match   int // which hash, or -1
	err     error
}

// Process is the verifier of the process.
var Process = sync.OnceValue(func() *Verifier {
	return NewVerifier(min(runtime.GOMAXPROCS(0), maxSlots))
})

// NewVerifier returns a verifier with so many slow checks at a time.
func NewVerifier(slots int) *Verifier {
	v := &Verifier{
		slots:   make(chan struct{}, slots),
		flights: make(map[cacheKey]*flight),
		shares:  make(map[string]int),
	}
	_, _ = rand.Read(v.key[:])
	v.cache.init(maxCached, cacheTTL, time.Now)
	return v
}

// ErrOverloaded means that the password was not checked, and may be checked
// later.
var ErrOverloaded = errors.New("password not checked")

type clientKey struct{}

// WithClient tells Verify whose check it is, usually the client's
// address, so that one client cannot fill the queue of slow checks.
func WithClient(ctx context.Context, client string) context.Context {
	return context.WithValue(ctx, clientKey{}, client)
}

// ClientOf is the client that WithClient named, or "": of the one who asked first, where
// several wait for the same check.
func ClientOf(ctx context.Context) string {
	client, _ := ctx.Value(clientKey{}).(string)
	return client
}

// Verify checks a password against hashes and returns which one it matches, or
// -1. For the fakes of an unknown name it
// does the very same things; only a success of theirs could be told apart, and
// fakes have none.
func (v *Verifier) Verify(ctx context.Context, account string, hashes []*Hash, password string) (int, error) {
	return v.verify(ctx, account, hashes, password, false)
}

// VerifyWhole is Verify for an account that is refused whatever the password: a right one
// costs what a wrong one costs, at the first time and at each other.
func (v *Verifier) VerifyWhole(ctx context.Context, account string, hashes []*Hash, password string) (int, error) {
	return v.verify(ctx, account, hashes, password, true)
}

func (v *Verifier) verify(ctx context.Context, account string, hashes []*Hash, password string, whole bool) (int, error) {
	fast, match := 0, -1
	for len(hashes) > 0 && hashes[0].kind == SHA256 {
		if v.matches(hashes[0], password, whole) && match < 0 {
			if !whole {
				return fast, nil
			}
			match = fast
		}
		hashes = hashes[1:]
		fast++
	}
	if len(hashes) == 0 {
		return match, nil
	}

	key := v.cacheKey(account, hashes, password)
	if whole {
		key[0]++ // another check, which leaves nothing behind
	} else if i := v.cache.hit(key); i >= 0 {
		return fast + i, nil
	}
	f, err := v.join(ctx, key, account, hashes, password, whole)
	if err != nil {
		return -1, err
	}
	select {
	case <-f.done:
		if f.err != nil {
			return -1, f.err
		}
		if match < 0 && f.match >= 0 {
			match = fast + f.match
		}
		return match, nil
	case <-ctx.Done():
		v.leave(f)
		return -1, fmt.Errorf("%w: %w", ErrOverloaded, context.Cause(ctx))
	}
}

// cacheKey binds account, hashes and password: when one of them changes, a
// past success is forgotten. The key of the process keeps a memory dump from
// being a list of fast hashes.
func (v *Verifier) cacheKey(account string, hashes []*Hash, password string) (key cacheKey) {
	mac := hmac.New(sha256.New, v.key[:])
	part := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		mac.Write(n[:])
		mac.Write([]byte(s))
	}
	part(account)
	for _, h := range hashes {
		part(h.text)
	}
	part(password)
	mac.Sum(key[:0])
	return key
}

// MAC returns a keyed digest of the parts. The key is the process's own: what
// it is made of cannot be tried out by who sees the digest.
func (v *Verifier) MAC(parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, v.key[:])
	for _, p := range parts {
		mac.Write(p)
	}
	return mac.Sum(nil)
}

// Computations returns the number of hashes computed so far, by kind.
func (v *Verifier) Computations() [Kinds]int64 {
	var n [Kinds]int64
	for i := range n {
		n[i] = v.ops[i].Load()
	}
	return n
}

// join finds the flight that does this check, or starts one.
func (v *Verifier) join(ctx context.Context, key cacheKey, account string, hashes []*Hash, password string, whole bool) (*flight, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %w", ErrOverloaded, context.Cause(ctx))
	}
	client := ClientOf(ctx)
	share := "a" + account
	if client != "" {
		client = "c" + client
	}

	outside := hashes[0].kind == External

	v.mu.Lock()
	defer v.mu.Unlock()
	if f := v.flights[key]; f != nil {
		f.waiters++
		return f, nil
	}
	switch {
	case outside && v.outside >= maxOutside:
		return nil, fmt.Errorf("%w: %d password checks wait for other programs", ErrOverloaded, maxOutside)
	case !outside && len(v.flights)-v.outside >= cap(v.slots)+maxQueued:
		return nil, fmt.Errorf("%w: %d password checks are waiting", ErrOverloaded, maxQueued)
	case v.shares[share] >= accountShare:
		return nil, fmt.Errorf("%w: %d password checks of this account at a time", ErrOverloaded, accountShare)
	case client != "" && v.shares[client] >= clientShare:
		return nil, fmt.Errorf("%w: %d password checks of this client at a time", ErrOverloaded, clientShare)
	}
	// The flight belongs to all who wait for it, so it outlives the first
	// one's context, and ends in the queue when the last one leaves.
	fctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight{done: make(chan struct{}), cancel: cancel, waiters: 1}
	v.flights[key] = f
	if outside {
		v.outside++
	}
	v.shares[share]++
	if client != "" {
		v.shares[client]++
	}
	go func() {
		f.match, f.err = v.run(fctx, key, account, hashes, password, whole)
		cancel()
		v.mu.Lock()
		delete(v.flights, key)
		if outside {
			v.outside--
		}
		v.release(share)
		if client != "" {
			v.release(client)
		}
		v.mu.Unlock()
		close(f.done)
	}()
	return f, nil
}

func (v *Verifier) release(share string) {
	if v.shares[share]--; v.shares[share] <= 0 {
		delete(v.shares, share)
	}
}

func (v *Verifier) leave(f *flight) {
	v.mu.Lock()
	if f.waiters--; f.waiters == 0 {
		f.cancel()
	}
	v.mu.Unlock()
}

func (v *Verifier) run(ctx context.Context, key cacheKey, account string, hashes []*Hash, password string, whole bool) (int, error) {
	if hashes[0].kind == External {
		return v.ask(ctx, key, account, hashes[0], password, whole)
	}
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
	case <-ctx.Done():
		return -1, fmt.Errorf("%w: %w", ErrOverloaded, ctx.Err())
	}
	match := -1
	for i, h := range hashes {
		if ctx.Err() != nil { // nobody waits any more
			return -1, fmt.Errorf("%w: %w", ErrOverloaded, ctx.Err())
		}
		switch {
		case !v.matches(h, password, whole) || match >= 0:
		case whole:
			match = i
		default:
			v.cache.add(key, i)
			return i, nil
		}
	}
	return match, nil
}

// matches tries a password in each of its forms; in all of them, whichever it is, if
// whole.
func (v *Verifier) matches(h *Hash, password string, whole bool) bool {
	match := false
	for _, form := range forms(password) {
		v.ops[h.kind].Add(1)
		match = h.matches(form) || match
		if match && !whole {
			break
		}
	}
	return match
}
