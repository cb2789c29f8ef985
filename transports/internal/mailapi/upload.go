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

package mailapi

import (
	"context"
	"errors"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/relay"
)

// What a mailbox uploads is counted as recipients are, by a limiter of its own,
// each octet as one: stored ahead, and with other processes' and nodes' uploads.

// uploadsName is what the limiter of an upstream's uploads is called beside the one
// of its messages.
func uploadsName(upstream string) string { return upstream + "@uploads" }

// uploadsRetry is how long to wait where other nodes have what is left.
const uploadsRetry = time.Second

// uploadLimits is what the limiter of uploads needs to know.
func (u *Upstream) uploadLimits() limits.Config {
	return limits.Config{
		Limits:  accounts.Limits{Recipients: accounts.Rate{Count: u.Upload, Per: u.UploadPer}},
		Storage: u.Storage, Lender: u.uploadLender, Logger: u.Logger,
	}
}

// Uploads returns what counts the octets that mailboxes upload; nil if nothing does.
func (u *Upstream) Uploads() limits.Limiter { return ledgerOf(u.name).uploadsOf(u) }

// uploadsOf returns what counts the uploads of u: the limiter of the upstream whose
// ledger it shares, if that has one, or its own; nil if nothing does.
func (l *ledger) uploadsOf(u *Upstream) limits.Limiter {
	if u.Upload <= 0 {
		return nil
	}
	// The provider counts them together where it counts the messages together.
	if o, ok := u.shared.(interface{ Uploads() limits.Limiter }); ok {
		if lim := o.Uploads(); lim != nil {
			return lim
		}
	}
	return l.uploadLimiter(u)
}

// uploadLimiter returns the ledger's own limiter of uploads.
func (l *ledger) uploadLimiter(u *Upstream) *limits.Local {
	l.ownMu.Lock()
	defer l.ownMu.Unlock()
	if l.uploads == nil {
		l.uploads = limits.NewLocal(uploadsName(u.name), u.uploadLimits())
	}
	return l.uploads
}

// load is what one request carries, as it counts.
type load struct {
	acct   limits.Account
	slot   limits.Slot
	octets int64
}

// upload waits, no longer than max_wait, until the mailbox may send so many octets
// more, and takes them. What is larger than the limit waits until nothing else counts.
func (l *ledger) upload(ctx context.Context, u *Upstream, a *accounts.Account, octets int64) (*load, *relay.Reply) {
	lim := l.uploadsOf(u)
	if lim == nil || octets <= 0 {
		return nil, nil
	}
	maxWait := relay.MaxWait(ctx, u.MaxWait)
	deadline := time.Now().Add(maxWait)
	ld := &load{acct: lim.Account(boxKey(a), boxKey(a), nil), octets: min(octets, u.Upload)}
	var err error
	if ld.slot, err = ld.acct.Reserve(ctx, limits.Request{MaxWait: maxWait, MaxWaiting: maxWaiting}); err == nil {
		err = ld.take(ctx, deadline)
	}
	if err == nil {
		return ld, nil
	}
	ld.end(false)
	if e, ok := errors.AsType[*limits.QuotaError](err); ok {
		return nil, relay.ReplyQuota("What this mailbox may upload in "+u.UploadPer.String()+" is", e.Wait)
	}
	return nil, limitReply(err)
}

// take waits until the octets are free, and takes them.
func (ld *load) take(ctx context.Context, deadline time.Time) error {
	for {
		err := ld.acct.Recipients(ctx, &ld.slot, ld.octets)
		wait := uploadsRetry
		if e, ok := errors.AsType[*limits.QuotaError](err); ok {
			wait = e.Wait
		} else if !errors.Is(err, limits.ErrNoShare) {
			return err
		}
		if time.Now().Add(wait).After(deadline) {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return limits.ErrBusy
		}
	}
}

// lends reports whether the request may be sent yet.
func (ld *load) lends() bool { return ld == nil || ld.acct.Lends(&ld.slot) }

// end gives back what was taken. A request that left counts, whatever its answer:
// the provider counts those that it refuses too.
func (ld *load) end(left bool) {
	if ld == nil {
		return
	}
	if left {
		ld.acct.Commit(ld.slot, ld.octets)
	} else {
		ld.acct.Cancel(ld.slot)
	}
	ld.acct.Close()
}
