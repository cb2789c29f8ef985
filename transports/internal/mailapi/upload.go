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
	"time"

	"github.com/caddymail/mailgateway/relay"
)

// upload is what one request carries. It counts until a time.
type upload struct {
	until  time.Time
	octets int64
}

// upload waits, no longer than max_wait, until the mailbox may send so many octets
// more, and counts them: requests that the provider refuses count too. This process
// counts what it sends itself, and no longer than it lives: whatever else sends, the
// provider answers with a time to wait.
func (p *place) upload(ctx context.Context, u *Upstream, octets int64) *relay.Reply {
	if u.Upload <= 0 || octets <= 0 {
		return nil
	}
	deadline := time.Now().Add(relay.MaxWait(ctx, u.MaxWait))
	for {
		now := time.Now()
		free := p.room(now, u, octets)
		if !free.After(now) {
			return nil
		}
		if free.After(deadline) {
			return relay.ReplyQuota("What this mailbox may upload in "+u.UploadPer.String()+" is", free.Sub(now))
		}
		timer := time.NewTimer(free.Sub(now))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return relay.ReplyNoConnection
		}
	}
}

// room is when so many octets more are free, and takes them if that is now. What is
// larger than the limit waits until nothing else counts.
func (p *place) room(now time.Time, u *Upstream, octets int64) time.Time {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	b := p.b
	for len(b.uploads) > 0 && !b.uploads[0].until.After(now) {
		b.uploads = b.uploads[1:]
	}
	left := u.Upload - octets
	for _, up := range b.uploads {
		left -= up.octets
	}
	free := now
	for _, up := range b.uploads {
		if left >= 0 {
			break
		}
		left += up.octets
		free = up.until
	}
	if !free.After(now) {
		b.uploads = append(b.uploads, upload{now.Add(u.UploadPer), octets})
	}
	return free
}
