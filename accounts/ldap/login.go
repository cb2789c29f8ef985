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

package ldap

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// A login that is refused is tried again after so long, and after twice as long each
// time: a directory may lock a user out whose password is wrong again and again, and
// with it whoever else needs that user.
const (
	refusedLeast = 10 * time.Second
	refusedMost  = 5 * time.Minute
)

// login is the source's own user, which reads entries.
type login struct {
	dn, secret string
	turn       chan struct{} // one at a time, until it has been let in

	mu      sync.Mutex
	let     bool  // in, the last time
	refused error // the last time
	pause   time.Duration
	next    time.Time // not before
}

func newLogin(dn, secret string) *login {
	return &login{dn: dn, secret: secret, turn: make(chan struct{}, 1)}
}

// enter waits until it may be tried, or says why it was refused a moment ago.
func (l *login) enter(ctx context.Context) (leave func(), err error) {
	leave = func() {}
	if let, err := l.state(); let || err != nil {
		return leave, err
	}
	select {
	case l.turn <- struct{}{}:
		leave = func() { <-l.turn }
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if _, err := l.state(); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

func (l *login) state() (let bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused != nil && time.Now().Before(l.next) {
		return false, l.refused
	}
	return l.let, nil
}

// bind logs in with a new connection.
func (l *login) bind(c *ldap.Conn) error {
	err := c.Bind(l.dn, l.secret)
	switch {
	case err == nil:
		return nil
	case away(err):
		return fmt.Errorf("bind as '%s': %w", l.dn, err)
	}
	return &refusedError{fmt.Errorf("bind as '%s': not let in, tried again at growing intervals of up to %s: %w", l.dn, refusedMost, refusal(err))}
}

// refusedError is a bind that was answered, and refused.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

// isRefused reports whether a directory refused its own user.
func isRefused(err error) bool {
	_, ok := errors.AsType[*refusedError](err)
	return ok
}

// became takes note of how a connection was made, or not, and says so.
func (l *login) became(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.let, l.refused, l.pause = true, nil, 0
		return nil
	}
	if !isRefused(err) {
		return err // no server said anything of it
	}
	l.let = false
	l.pause = min(max(2*l.pause, refusedLeast), refusedMost)
	l.refused, l.next = fmt.Errorf("field 'bind_password': %w", err), time.Now().Add(l.pause)
	return l.refused
}

// forget has it tried again now.
func (l *login) forget() {
	if l == nil {
		return // entries are read anonymously
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused, l.pause = nil, 0
}
