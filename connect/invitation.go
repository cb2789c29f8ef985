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

package connect

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/internal/storelock"
)

const (
	// DefaultExpiry is how long an invitation is good for.
	DefaultExpiry = 7 * 24 * time.Hour
	// MaxExpiry bounds it: a link lies in mailboxes that others may read later.
	MaxExpiry = 90 * 24 * time.Hour

	tokenSize = 32
	// keptFor is how long ended invitations can still be looked up.
	keptFor = 30 * 24 * time.Hour
	folder  = "smtp_connect"
	// lockPatience bounds the return of an invitation's lock.
	lockPatience = 10 * time.Second
)

// Reasons for which an invitation is of no use.
var (
	ErrUnknown = errors.New("no such invitation")
	ErrExpired = errors.New("the invitation has expired")
	ErrUsed    = errors.New("the invitation has been used")
)

// States of an invitation.
const (
	StateOpen    = "open"
	StateUsed    = "used"
	StateExpired = "expired"
)

// Invitation asks the owner of a mailbox to consent.
type Invitation struct {
	// ID names the invitation. The link does not follow from it.
	ID string `json:"id"`
	// Account and Mailbox are whose consent it asks for. If the account has
	// another mailbox later on, the invitation is void.
	Account string `json:"account"`
	Mailbox string `json:"mailbox"`
	// Delegate is who is to consent in place of the mailbox itself, which is
	// how shared mailboxes are opened.
	Delegate string `json:"delegate,omitempty"`
	// InvitedBy is shown to the owner.
	InvitedBy string `json:"invited_by,omitempty"`

	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	// Used is when the consent was stored, UsedBy whose it was.
	Used   time.Time `json:"used,omitzero"`
	UsedBy string    `json:"used_by,omitempty"`

	// ends are what became of the last flows, by their state: another node may be asked
	// for one that this one has ended. They are stored, and shown to nobody.
	ends []flowEnd
}

// record is what is stored of an invitation.
type record struct {
	*Invitation
	Ends []flowEnd `json:"ends,omitempty"`
}

// flowEnd is what became of a flow.
type flowEnd struct {
	State   string  `json:"s"`
	Outcome outcome `json:"o"`
}

// State is one of the states.
func (i *Invitation) State(now time.Time) string {
	switch {
	case !i.Used.IsZero():
		return StateUsed
	case !now.Before(i.Expires):
		return StateExpired
	}
	return StateOpen
}

// Owner is who is to consent.
func (i *Invitation) Owner() string { return cmp.Or(i.Delegate, i.Mailbox) }

// Invitations are those in a storage.
type Invitations struct{ Storage certmagic.Storage }

// invitationKey is where a record lies: in the shelf of its first octet, so that a
// page of the list looks at the shelves that it needs.
func invitationKey(id string) string { return path.Join(shelf(id[:2]), id+".json") }

func shelf(first string) string { return path.Join(folder, "invitations", first) }

// flatKey is where records lie that were made before there were shelves.
func flatKey(id string) string { return path.Join(folder, "invitations", id+".json") }

// idOf is the id of a link's token.
func idOf(token string) (string, error) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) != tokenSize {
		return "", ErrUnknown
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

func validID(id string) bool {
	raw, err := hex.DecodeString(id)
	return err == nil && len(raw) == sha256.Size && id == strings.ToLower(id)
}

// Add stores a new invitation, whose account, mailbox, delegate, inviter and
// expiry are set, and returns its token, which is not kept.
func (s Invitations) Add(ctx context.Context, i Invitation) (token string, added Invitation, err error) {
	var raw [tokenSize]byte
	_, _ = rand.Read(raw[:]) // never fails
	token = base64.RawURLEncoding.EncodeToString(raw[:])
	if i.ID, err = idOf(token); err != nil {
		return "", i, err
	}
	if i.Created.IsZero() {
		i.Created = time.Now()
	}
	i.Created, i.Expires = i.Created.UTC().Truncate(time.Second), i.Expires.UTC().Truncate(time.Second)
	return token, i, s.store(ctx, &i)
}

func (s Invitations) store(ctx context.Context, i *Invitation) error {
	text, err := json.Marshal(record{i, i.ends})
	if err != nil {
		return err
	}
	if err := s.Storage.Store(ctx, invitationKey(i.ID), text); err != nil {
		return fmt.Errorf("storing an invitation: %w", err)
	}
	return nil
}

// Get returns an invitation by its id.
func (s Invitations) Get(ctx context.Context, id string) (*Invitation, error) {
	if !validID(id) {
		return nil, ErrUnknown
	}
	text, err := s.Storage.Load(ctx, invitationKey(id))
	if errors.Is(err, fs.ErrNotExist) {
		text, err = s.Storage.Load(ctx, flatKey(id))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrUnknown
	}
	if err != nil {
		return nil, fmt.Errorf("loading an invitation: %w", err)
	}
	r := record{Invitation: new(Invitation)}
	if err := json.Unmarshal(text, &r); err != nil || r.Invitation == nil || r.ID != id {
		return nil, fmt.Errorf("invitation %s: its record is damaged", id)
	}
	r.ends = r.Ends
	return r.Invitation, nil
}

// ByToken returns the invitation that a link is about.
func (s Invitations) ByToken(ctx context.Context, token string) (*Invitation, error) {
	id, err := idOf(token)
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, id)
}

// Revoke deletes an invitation.
func (s Invitations) Revoke(ctx context.Context, id string) error {
	return s.locked(ctx, id, func() error {
		if _, err := s.Get(ctx, id); err != nil {
			return err
		}
		return s.remove(ctx, id)
	})
}

// Filter narrows List; an empty field matches all.
type Filter struct{ Account, State string }

// List returns up to limit invitations in the order of their ids, which follow
// `after`, and the last id where there may be more. Those that ended long ago are
// deleted on the way.
func (s Invitations) List(ctx context.Context, f Filter, after string, limit int) (list []Invitation, next string, err error) {
	shelves, flat, err := s.shelves(ctx)
	if err != nil {
		return nil, "", err
	}
	list = []Invitation{}
	now := time.Now()
	for _, first := range shelves {
		if after != "" && first < after[:min(2, len(after))] {
			continue
		}
		ids, err := s.onShelf(ctx, first, flat)
		if err != nil {
			return nil, "", err
		}
		for _, id := range ids {
			if id <= after {
				continue
			}
			if len(list) == limit {
				return list, list[limit-1].ID, nil
			}
			i, err := s.Get(ctx, id)
			if err != nil {
				// Deleted meanwhile, or damaged: no reason to show none of the others.
				continue
			}
			if now.Sub(i.Expires) > keptFor {
				_ = s.remove(ctx, id)
				continue
			}
			if (f.Account == "" || strings.EqualFold(f.Account, i.Account)) && (f.State == "" || f.State == i.State(now)) {
				list = append(list, *i)
			}
		}
	}
	return list, "", nil
}

// shelves are the first octets of the records that there are, and the ids of those
// that lie on no shelf.
func (s Invitations) shelves(ctx context.Context) (shelves, flat []string, err error) {
	keys, err := s.Storage.List(ctx, path.Join(folder, "invitations"), false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("listing invitations: %w", err)
	}
	for _, key := range keys {
		name := path.Base(key)
		if id, ok := strings.CutSuffix(name, ".json"); ok && validID(id) {
			flat = append(flat, id)
			name = id[:2]
		}
		if len(name) == 2 {
			shelves = append(shelves, name)
		}
	}
	slices.Sort(shelves)
	return slices.Compact(shelves), flat, nil
}

// onShelf are the ids that begin with an octet, in their order.
func (s Invitations) onShelf(ctx context.Context, first string, flat []string) ([]string, error) {
	keys, err := s.Storage.List(ctx, shelf(first), false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing invitations: %w", err)
	}
	var ids []string
	for _, key := range keys {
		if id, ok := strings.CutSuffix(path.Base(key), ".json"); ok && validID(id) {
			ids = append(ids, id)
		}
	}
	for _, id := range flat {
		if strings.HasPrefix(id, first) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// remove deletes a record, wherever it lies.
func (s Invitations) remove(ctx context.Context, id string) error {
	for _, key := range []string{invitationKey(id), flatKey(id)} {
		if err := s.Storage.Delete(ctx, key); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Use uses an invitation up if what it is for succeeds, and only then. Of several
// attempts at a time, on any node, one succeeds. An invitation that has expired
// since the flow began is still good.
func (s Invitations) Use(ctx context.Context, id string, begun time.Time, keep func(*Invitation) (by string, err error)) error {
	return s.locked(ctx, id, func() error {
		i, err := s.Get(ctx, id)
		if err != nil {
			return err
		}
		if err := usable(i, begun); err != nil {
			return err
		}
		by, err := keep(i)
		if err != nil {
			return err
		}
		i.Used, i.UsedBy = time.Now().UTC().Truncate(time.Second), by
		return s.store(context.WithoutCancel(ctx), i)
	})
}

// once has a flow of an invitation ended by one of the nodes that are asked to: its code is
// good for one request, and a server that sees it twice may take back what it gave for the
// first (RFC 6749 section 4.1.2). The others hear what became of it.
func (s Invitations) once(ctx context.Context, id, state string, end func(*Invitation) outcome) (outcome, error) {
	var got outcome
	err := s.lockedBy(ctx, "smtp_connect_flow_"+state, func() error {
		i, err := s.Get(ctx, id)
		if err != nil {
			return err
		}
		for _, e := range i.ends {
			if e.State == state {
				got = e.Outcome
				return nil
			}
		}
		got = end(i).bounded()
		return s.locked(ctx, id, func() error {
			i, err := s.Get(ctx, id)
			if err != nil {
				return nil //nolint:nilerr // it was withdrawn meanwhile: no flow of it is ended any more
			}
			i.ends = append(i.ends, flowEnd{state, got})
			i.ends = i.ends[max(0, len(i.ends)-maxFlows):]
			return s.store(ctx, i)
		})
	})
	return got, err
}

func usable(i *Invitation, now time.Time) error {
	switch i.State(now) {
	case StateUsed:
		return ErrUsed
	case StateExpired:
		return ErrExpired
	}
	return nil
}

func (s Invitations) locked(ctx context.Context, id string, f func() error) error {
	if !validID(id) {
		return ErrUnknown
	}
	return s.lockedBy(ctx, "smtp_connect_"+id, f)
}

func (s Invitations) lockedBy(ctx context.Context, name string, f func() error) error {
	unlock, err := storelock.Lock(ctx, s.Storage, name, lockPatience)
	if err != nil {
		return fmt.Errorf("an invitation: %w", err)
	}
	defer func() { _ = unlock() }()
	return f()
}
