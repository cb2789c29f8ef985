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

package oauthtoken

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

// roomSlack is how much larger than today's the next record may be: a server
// may issue longer tokens than it did.
const roomSlack = 8 << 10

// hold makes sure that the record of a rotated token can be written before
// the request that rotates it is sent: room of the record's size is held until
// the record is written. On a disk that is full the request is not sent, and the
// access token in use stays in use.
func (r *refresh) hold(ctx context.Context) error {
	if !r.p.Rotates() {
		return nil
	}
	b, err := tokenstore.EncodeRecord(r.p.records.Seal, r.key, r.rec.Clone())
	if err != nil {
		return tokenstore.StoreError("writing", err)
	}
	ctx, cancel := context.WithTimeout(ctx, tokenstore.SaveTimeout)
	defer cancel()
	r.room, err = r.p.records.Rooms.Take(ctx, len(b)+roomSlack)
	if err == nil || !r.rec.Rotates && !noRoom(err) {
		// A server that has never rotated may be asked on a store that
		// fails for other reasons: nothing would be lost.
		return nil
	}
	e := tokenstore.StoreError("making room in", err)
	e.Description += "; the refresh is not sent, since a rotated token could not be stored"
	return e
}

// spend gives up the room that is held for what it is held for. It reports
// whether there was any.
func (r *refresh) spend() bool {
	room := r.room
	r.room = nil
	if room == nil {
		return false
	}
	if err := r.p.records.Rooms.Spend(room); err != nil {
		r.warnRoom(err)
		return false
	}
	return true
}

// giveBack gives back the room that was not needed.
func (r *refresh) giveBack() {
	room := r.room
	r.room = nil
	if room == nil {
		return
	}
	if err := r.p.records.Rooms.Return(room); err != nil {
		r.warnRoom(err)
	}
}

func (r *refresh) warnRoom(err error) {
	r.p.logger.Warn("giving up the room for a token record", zap.Error(tokenstore.StoreError("deleting from", err)))
}

// noRoom reports whether a store cannot be written to, whatever is written.
func noRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)
}
