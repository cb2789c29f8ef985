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

package ondemand

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/generation"
)

// Shared is a cache, with what fills it.
type Shared struct {
	Cache *Cache
	// Follow begins to tell the cache of changes, until the context ends. It may be nil.
	Follow func(ctx context.Context, loops *sync.WaitGroup)
	// Reload forgets why the source could not be read; it is tried again. It may be nil.
	Reload func()
	// Close lets go of what the cache is read with.
	Close func()
}

// shared is one of them while configurations use it.
type shared struct {
	Shared
	trust  *x509.CertPool
	users  generation.Stack[*Member]
	cancel context.CancelFunc
	loops  sync.WaitGroup
}

// key says which one: what the configuration says, and which of the trust pools that
// had its text: a file of certificates changes without the configuration.
type key struct {
	id    string
	trust int
}

var (
	states  = caddy.NewUsagePool() // by key
	sharing sync.Mutex             // while one is chosen or made
)

// Destruct implements caddy.Destructor.
func (s *shared) Destruct() error {
	s.Close()
	return nil
}

// Member is the part of a source that has a cache: all configurations that say the
// same of where accounts are share one. The source embeds it.
type Member struct {
	key    key
	shared *shared
}

// Share makes the member one of those whose kind of source, complete configuration and
// trust pool are the same; the first of them opens what they share.
func (m *Member) Share(kind string, config any, trust *x509.CertPool, open func() (Shared, error)) error {
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	sharing.Lock()
	defer sharing.Unlock()
	k := keyOf(kind+" "+string(text), trust)
	v, _, err := states.LoadOrNew(k, func() (caddy.Destructor, error) {
		s, err := open()
		if err != nil {
			return nil, err
		}
		return &shared{Shared: s, trust: trust}, nil
	})
	if err != nil {
		return err
	}
	m.key, m.shared = k, v.(*shared) //nolint:forcetypeassert // the pool holds nothing else
	return nil
}

// keyOf is the key of a state that has the trust pool, or a new one.
func keyOf(id string, trust *x509.CertPool) key {
	k, found := key{id: id}, false
	states.Range(func(other, v any) bool {
		o := other.(key) //nolint:forcetypeassert // as above
		if o.id != id {
			return true
		}
		if found = v.(*shared).trust.Equal(trust); found { //nolint:forcetypeassert // as above
			k = o
			return false
		}
		k.trust = max(k.trust, o.trust)
		return true
	})
	if !found {
		k.trust++
	}
	return k
}

// Cleanup gives back what Share took.
func (m *Member) Cleanup() error {
	if m.shared == nil {
		return nil
	}
	_, err := states.Delete(m.key)
	return err
}

// Index implements accounts.Source: the accounts that are held.
func (m *Member) Index() *accounts.Index { return m.shared.Cache.Index() }

// Start begins to follow changes.
func (m *Member) Start() error {
	s := m.shared
	s.users.Attach(m, func(first bool) {
		if !first {
			return
		}
		var ctx context.Context
		ctx, s.cancel = context.WithCancel(context.Background())
		s.loops.Go(func() { s.Cache.Run(ctx) })
		if s.Follow != nil {
			s.Follow(ctx, &s.loops)
		}
	})
	return nil
}

// Stop ends it when nobody else needs it.
func (m *Member) Stop() {
	s := m.shared
	s.users.Detach(m, func(_ *Member, last bool) {
		if last {
			s.cancel()
			s.loops.Wait()
		}
	})
}

// Problems implements accounts.Source.
func (m *Member) Problems() []accounts.Problem { return m.shared.Cache.Problems() }

// Load implements accounts.Loader.
func (m *Member) Load(ctx context.Context, name string) (*accounts.Account, error) {
	return m.shared.Cache.Load(ctx, name)
}

// Confirm implements accounts.Confirmer.
func (m *Member) Confirm(ctx context.Context, name string) (*accounts.Account, error) {
	return m.shared.Cache.Confirm(ctx, name)
}

// Missed implements accounts.Loader: the cache knows already.
func (*Member) Missed(string) {}

// Gone says of which accounts it is known that they are no more, for accounts.Directory.
func (m *Member) Gone(name string) bool { return m.shared.Cache.Gone(name) }

// Reload implements accounts.Reloader.
func (m *Member) Reload(context.Context) error {
	if m.shared.Reload != nil {
		m.shared.Reload()
	}
	m.shared.Cache.ChangedAll()
	return nil
}

// The defaults of all sources.
const (
	defaultFresh    = time.Minute
	defaultStale    = time.Hour
	defaultNegative = 10 * time.Second
)

// Bounds are the options of a configuration that say what is held, and for how long.
type Bounds struct {
	CacheSize              *int
	Fresh, Stale, Negative *caddy.Duration
	// More are durations that one source has and others have not.
	More []Setting
}

// Setting is a duration of a configuration, and its default.
type Setting struct {
	Name    string
	Value   *caddy.Duration
	Default time.Duration
}

// Complete checks the bounds and fills in the defaults.
func (b Bounds) Complete(cacheSize int) error {
	switch {
	case *b.CacheSize < 0:
		return errors.New("field 'cache_size': must not be negative")
	case *b.CacheSize == 0:
		*b.CacheSize = cacheSize
	}
	for _, s := range append(b.More,
		Setting{"fresh", b.Fresh, defaultFresh}, Setting{"stale", b.Stale, defaultStale}, Setting{"negative", b.Negative, defaultNegative}) {
		switch {
		case *s.Value < 0:
			return fmt.Errorf("field '%s': must not be negative", s.Name)
		case *s.Value == 0:
			*s.Value = caddy.Duration(s.Default)
		}
	}
	if *b.Stale < *b.Fresh {
		return fmt.Errorf("field 'stale': %s is shorter than fresh, %s", time.Duration(*b.Stale), time.Duration(*b.Fresh))
	}
	return nil
}

// Options are those of a cache. The bounds are complete.
func (b Bounds) Options(batch, readers int) Options {
	return Options{
		Size: *b.CacheSize, Fresh: time.Duration(*b.Fresh), Stale: time.Duration(*b.Stale), Negative: time.Duration(*b.Negative),
		Batch: batch, Readers: readers,
	}
}

// Interface guards
var (
	_ caddy.CleanerUpper = (*Member)(nil)
	_ caddy.Destructor   = (*shared)(nil)
	_ accounts.Confirmer = (*Member)(nil)
	_ accounts.Reloader  = (*Member)(nil)
)
