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

package accounts

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts/password"
)

// Directory answers who may send. It asks its sources in their order: the
// first that knows a name wins.
type Directory struct {
	sources  []Source
	indexes  []*Index
	logger   *zap.Logger
	verifier *password.Verifier
	warned   atomic.Int64 // when, in nanoseconds
	check    func(Record) error
}

// lookupTimeout bounds how long Lookup waits for a source that is still
// loading its accounts.
const lookupTimeout = 5 * time.Second

// NewDirectory makes a directory of sources. It can be asked at once; Start
// makes it follow changes.
func NewDirectory(sources []Source, logger *zap.Logger) *Directory {
	if logger == nil {
		logger = zap.NewNop()
	}
	d := &Directory{sources: sources, logger: logger, verifier: password.Process()}
	for _, s := range sources {
		d.indexes = append(d.indexes, s.Index())
	}
	return d
}

// CheckEdits has a function look at each record that an edit or an import makes
// or moves to another upstream, before it is stored. It is called before Start.
// Records that are there already, and those of files, are not looked at: their
// upstream may come and go without them.
func (d *Directory) CheckEdits(check func(Record) error) { d.check = check }

// Start starts the sources. When one fails, none is left running.
func (d *Directory) Start() error {
	for i, s := range d.sources {
		if err := s.Start(); err != nil {
			stopAll(d.sources[:i])
			return fmt.Errorf("starting account source %s: %w", s.Name(), err)
		}
	}
	return nil
}

// Stop stops the sources, the last first.
func (d *Directory) Stop() { stopAll(d.sources) }

func stopAll(sources []Source) {
	for _, s := range slices.Backward(sources) {
		s.Stop()
	}
}

// Reload makes every source look for changes now.
func (d *Directory) Reload(ctx context.Context) error {
	var errs []error
	for _, s := range d.sources {
		if r, ok := s.(Reloader); ok {
			if err := r.Reload(ctx); err != nil {
				errs = append(errs, fmt.Errorf("account source %s: %w", s.Name(), err))
			}
		}
	}
	return errors.Join(errs...)
}

// SourceInfo is what is known of a source.
type SourceInfo struct {
	// Name is what Account.Source says.
	Name string `json:"name"`
	// Accounts is the number of accounts in use.
	Accounts int `json:"accounts"`
	// Problems is the number of records that are not.
	Problems int `json:"problems"`
	// Editable reports whether accounts can be added and changed.
	Editable bool `json:"editable"`
	// Loading tells that the number of accounts is not final yet.
	Loading bool `json:"loading,omitempty"`
}

// Sources describes the sources in their order.
func (d *Directory) Sources() []SourceInfo {
	list := make([]SourceInfo, len(d.sources))
	for i, s := range d.sources {
		_, editable := s.(Editor)
		list[i] = SourceInfo{
			Name: s.Name(), Accounts: d.indexes[i].Len(), Problems: len(s.Problems()),
			Editable: editable, Loading: d.indexes[i].loading.Load(),
		}
	}
	return list
}

// Upstreams returns the names of the upstreams that accounts have, once for each
// source.
func (d *Directory) Upstreams() (names []string) {
	for _, x := range d.indexes {
		names = append(names, x.Upstreams()...)
	}
	return names
}

// Len returns the number of accounts of all sources, those included that an
// earlier source hides.
func (d *Directory) Len() (n int) {
	for _, x := range d.indexes {
		n += x.Len()
	}
	return n
}

// Lookup finds an account by its name, paused ones too. It takes no lock and
// allocates nothing; only while a source is still loading does a name that is
// missing cost a look at that source.
func (d *Directory) Lookup(name string) (*Account, bool) {
	a, _, loading := d.get(name)
	if a != nil {
		return a, true
	}
	if !loading {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	f, _ := d.load(ctx, name)
	return f.Account, f.Account != nil
}

// Get is Lookup with the caller's context, and tells a source that could not
// be read (ErrUnavailable) from a name that nobody knows (ErrNotFound).
func (d *Directory) Get(ctx context.Context, name string) (*Account, error) {
	f, err := d.find(ctx, name)
	if err == nil && f.Account == nil {
		err = ErrNotFound
	}
	return f.Account, err
}

// found is what there is of a name: the account, if there is one, of which source, and
// whether that one had to be asked for it. Those before it have been, if they have to be.
type found struct {
	*Account
	at     int
	loaded bool
}

// find is Get; a name that nobody knows is no error.
func (d *Directory) find(ctx context.Context, name string) (found, error) {
	a, at, loading := d.get(name)
	if a == nil && loading {
		return d.load(ctx, name)
	}
	return found{Account: a, at: at}, nil
}

// get asks the indexes, and says which one has it. It stops at the first that is still
// loading, since a later source must not answer for it.
func (d *Directory) get(name string) (a *Account, at int, loading bool) {
	if len(name) > maxNameLen {
		return nil, 0, false
	}
	// The folded name lives on the stack: this function must not let it
	// escape, so it calls no interface.
	var buf [maxNameLen]byte
	folded := buf[:len(name)]
	for i := range len(name) {
		folded[i] = lowerASCII(name[i])
	}
	hash := maphash.Bytes(indexSeed, folded)
	for i, x := range d.indexes {
		if a := x.get(folded, hash); a != nil {
			return a, i, false
		}
		if x.loading.Load() {
			return nil, 0, true
		}
	}
	return nil, 0, false
}

// Known is Lookup without asking a source: certain is false where only that could say
// whether there is such an account. A source that does not hold all of them may know
// which it has no longer.
func (d *Directory) Known(name string) (a *Account, certain bool) {
	for i, x := range d.indexes {
		if a, ok := x.Get(name); ok {
			return a, true
		}
		if s, ok := d.sources[i].(interface{ Gone(name string) bool }); x.Loading() && !(ok && s.Gone(name)) {
			return nil, false
		}
	}
	return nil, true
}

// load is get for names that may still be on their way.
func (d *Directory) load(ctx context.Context, name string) (found, error) {
	if len(name) > maxNameLen {
		return found{}, nil
	}
	for i, x := range d.indexes {
		if a, ok := x.Get(name); ok {
			return found{Account: a, at: i}, nil
		}
		l, ok := d.sources[i].(Loader)
		if !ok || !x.loading.Load() {
			continue
		}
		a, err := l.Load(ctx, name)
		if err != nil {
			return found{}, d.unavailable(i, err)
		}
		if a != nil {
			return found{Account: a, at: i, loaded: true}, nil
		}
	}
	return found{}, nil
}

// unavailable is the error of a source that could not be read.
func (d *Directory) unavailable(source int, err error) error {
	err = fmt.Errorf("%w: %s: %w", ErrUnavailable, d.sources[source].Name(), err)
	d.warn(err)
	return err
}

// warn logs a source's failure, however many ask for it, every now and then.
func (d *Directory) warn(err error) {
	const every = 10 * time.Second
	last, now := d.warned.Load(), time.Now().UnixNano()
	if now-last >= int64(every) && d.warned.CompareAndSwap(last, now) {
		d.logger.Warn("account cannot be looked up", zap.Error(err))
	}
}
