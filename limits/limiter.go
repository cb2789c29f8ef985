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
	"errors"
	"strconv"
	"time"

	"github.com/caddymail/mailgateway/accounts"
)

// Limiter lends slots of the limits of one upstream's mailboxes.
type Limiter interface {
	// Account returns a handle on an account of a mailbox, both names
	// folded, with its own limits (nil: none). The caller closes it.
	Account(mailbox, name string, own *accounts.Limits) Account
	// Configure puts another configuration in force at once, and opens a
	// limiter that was closed.
	Configure(c Config)
	// Shut ends the lending; who waits is refused. It returns when what is
	// counted is stored, or when that takes too long.
	Shut()
	// Wait returns when what is counted at the end is stored, however long
	// that takes.
	Wait()
}

// Account is one account of a mailbox.
type Account interface {
	// Narrow puts other limits of the account's own in force.
	Narrow(own *accounts.Limits)

	// Reserve takes a slot of every limit for one message. Messages of an
	// account are served in order of arrival, and those of a mailbox too but
	// for accounts whose own limits are used up. A wait that is certain to be
	// in vain is refused at once. The slot ends with Commit or Cancel.
	Reserve(ctx context.Context, q Request) (Slot, error)
	// Recipients takes the slots of n recipients of the message. It waits
	// for the store at most, never for time to pass.
	Recipients(ctx context.Context, s *Slot, n int64) error
	// Lends reports whether the slot may still be used: the right to lend may have
	// ended meanwhile. It is asked right before MAIL leaves.
	Lends(s *Slot) bool
	// Commit ends a message whose MAIL was sent, with the recipients that
	// count.
	Commit(s Slot, recipients int64)
	// Cancel gives the slots of a message back that was never sent.
	Cancel(s Slot)

	// Holder returns a user of the mailbox's connections. The caller closes it
	// when it has given all of them back, and before the account.
	Holder() Holder
	// MaxConns returns the number of connections that the mailbox may have.
	MaxConns() int

	// Status returns the limits that a message of the account meets: the
	// mailbox's and its own.
	Status(ctx context.Context) Status
	// Close gives the handle back. What is counted stays for as long as it
	// counts.
	Close()
}

// Holder is one user of a mailbox's connections: a pool of them, or an API's
// requests, which are counted as connections. All holders of a mailbox share them.
// One that has none gets one of another's.
type Holder interface {
	// Take takes one of the mailbox's connections. If none is free, wake is
	// called when one may be, on a goroutine of its own. It is called too when
	// there is something to Yield.
	Take(wake func()) bool
	// Dials reports whether a connection that was taken may still be opened:
	// the right to it may have ended meanwhile. It is asked right before the
	// connection is dialed, and again before it logs in.
	Dials() bool
	// Free gives a connection back that is closed.
	Free()
	// Yield says what others want of what is held.
	Yield() Debt
	// Wanted reports whether others wait for a connection and have none.
	Wanted() bool
	// OnRecall has f called, on a goroutine of its own, when other nodes need
	// connections: idle ones are to be closed until no more than keep are
	// open. A negative number takes that back.
	OnRecall(f func(keep int))
	// OnEnd has f called, on a goroutine of its own, when other nodes may use
	// all of the mailbox's connections: those that carry a message have to be
	// closed as well.
	OnEnd(f func())
	// Close gives the handle back.
	Close()
}

// Debt is what a holder owes to others, here or in other processes.
type Debt int

const (
	NoDebt Debt = iota
	// OwesIdle is a connection that is idle, if there is one: others could use
	// more than they have.
	OwesIdle
	// OwesOne is an idle connection, or else the next that comes back: others
	// have none.
	OwesOne
)

// Request is what a message asks for.
type Request struct {
	// MaxWait is how long it may wait for its turn. Zero: not at all, but for what
	// is stored ahead, or asked of other nodes, where the limits have room.
	MaxWait time.Duration
	// MaxWaiting is the number of messages of the mailbox that may wait.
	MaxWaiting int
}

// Slot is what one message holds. It is used by one goroutine at a time.
type Slot struct {
	// Waited is how long it took to get.
	Waited time.Duration
	// Limited reports whether a limit was why.
	Limited bool

	rcpts int64
	held  bool
	epoch uint64
}

// Status is what is used of limits.
type Status struct {
	// MaxConns is the number of connections of the mailbox.
	MaxConns int
	// Waiting is the number of the mailbox's messages that wait for their
	// turn.
	Waiting int
	// Messages and Recipients are those of the account that are under way.
	Messages, Recipients int64
	Limits               []LimitStatus
}

// LimitStatus is what is used of one limit.
type LimitStatus struct {
	Counts          string // messages or recipients
	Limit           accounts.Rate
	Used, Remaining int64
	Next            int64 // when a slot is free, on the scale of Now; 0: now
}

// QuotaError says that a limit is used up, and until when.
type QuotaError struct {
	// What is the limit: `Message rate`, `Message quota` or `Recipient quota`.
	What string
	// Wait is how long the next slot takes.
	Wait time.Duration
}

func (e *QuotaError) Error() string {
	return e.What + " used up, next slot in " + strconv.FormatInt(int64(e.Wait/time.Second), 10) + " s"
}

var (
	// ErrBusy says that the message's turn did not come in time.
	ErrBusy = errors.New("the account's other messages took too long")
	// ErrQueueFull says that too many messages wait already.
	ErrQueueFull = errors.New("too many messages wait")
	// ErrNotStored says that slots could not be stored ahead, or that what is
	// stored is not known yet: none is lent.
	ErrNotStored = errors.New("limits cannot be stored")
	// ErrNoShare says that other nodes hold what is left of a limit.
	ErrNoShare = errors.New("other nodes hold what is left of the limit")
	// ErrClosed says that the limiter's last user is gone.
	ErrClosed = errors.New("the limiter is closed")
)
