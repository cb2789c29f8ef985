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
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Editor is a Source whose accounts can be changed.
type Editor interface {
	// Edit makes changes, each of another name. One that fails stops none
	// of the others; the changes stand in the order of the edits.
	Edit(ctx context.Context, edits []Edit) []Change
}

// Edit is one change to be made.
type Edit struct {
	// Name is the account's.
	Name string
	// Condition is what must hold for the change to be made.
	Condition Condition
	// Update returns the new record for the old one, which is nil if there
	// is none; a nil record deletes. It may be called more than once.
	Update func(old *Record) (*Record, error)
	// Dry makes everything but the change: its Change says what would come of
	// it.
	Dry bool
}

// Change is what came of an Edit.
type Change struct {
	Name string
	// Account is the account as it is now; nil if it is deleted.
	Account *Account
	// Created tells that there was none before.
	Created bool
	// Changed tells that there was something to do at all.
	Changed bool
	Err     error
}

// Put sets an account to a record given as JSON. `refresh_token`, `secret` and
// `password_hashes`, which nobody can read back, stay as they are where the
// JSON does not name them; null or an empty value removes them. A record
// without a name gets the name of the account.
func (d *Directory) Put(ctx context.Context, name string, body []byte, cond Condition) (Change, error) {
	update, err := putUpdate(name, body)
	if err != nil {
		return Change{Name: name}, err
	}
	return d.edit(ctx, Edit{Name: name, Condition: cond, Update: update})
}

// PutRecord sets an account to a record, secrets included.
func (d *Directory) PutRecord(ctx context.Context, r Record, cond Condition) (Change, error) {
	return d.edit(ctx, Edit{Name: r.Name, Condition: cond, Update: func(*Record) (*Record, error) {
		c := r
		return &c, nil
	}})
}

// Patch changes an account by a JSON merge patch (RFC 7396) of its record.
func (d *Directory) Patch(ctx context.Context, name string, patch []byte, cond Condition) (Change, error) {
	return d.edit(ctx, Edit{Name: name, Condition: cond, Update: func(old *Record) (*Record, error) {
		if old == nil {
			return nil, ErrNotFound
		}
		return mergeRecord(*old, patch)
	}})
}

// SetPaused pauses or resumes an account.
func (d *Directory) SetPaused(ctx context.Context, name string, paused bool) (Change, error) {
	return d.edit(ctx, Edit{Name: name, Update: func(old *Record) (*Record, error) {
		if old == nil {
			return nil, ErrNotFound
		}
		r := *old
		r.Paused = paused
		return &r, nil
	}})
}

// Delete removes an account.
func (d *Directory) Delete(ctx context.Context, name string, cond Condition) error {
	_, err := d.edit(ctx, Edit{Name: name, Condition: cond, Update: func(old *Record) (*Record, error) {
		if old == nil {
			return nil, ErrNotFound
		}
		return nil, nil
	}})
	return err
}

func (d *Directory) edit(ctx context.Context, e Edit) (Change, error) {
	ed, err := d.editor(ctx, e.Name)
	if err != nil {
		return Change{Name: e.Name, Err: err}, err
	}
	c := ed.Edit(ctx, []Edit{d.checked(e)})[0]
	return c, c.Err
}

// checked makes an edit look at what it stores.
func (d *Directory) checked(e Edit) Edit {
	update := e.Update
	e.Update = func(old *Record) (*Record, error) {
		r, err := update(old)
		if err != nil || r == nil {
			return r, err
		}
		if old == nil {
			if err := CheckNewName(r.Name); err != nil {
				return nil, &FieldError{Field: "name", Err: err}
			}
		}
		if d.check != nil && (old == nil || old.Upstream != r.Upstream) {
			if err := d.check(*r); err != nil {
				return nil, err
			}
		}
		return r, nil
	}
	return e
}

// CheckNewName refuses what no client can have as its login and no provider as
// a mailbox, and the slips of a hand: an address with its brackets, an invisible
// character. Accounts of earlier versions keep such names.
func CheckNewName(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	for _, r := range name {
		switch {
		case unicode.IsSpace(r):
			return errors.New("must not hold a blank")
		case strings.ContainsRune(`<>"“”„,;`, r):
			return fmt.Errorf("must not hold %c: the address alone is wanted, as in scanner@example.com", r)
		case unicode.Is(unicode.Cf, r):
			return fmt.Errorf("holds the invisible character %U: type it anew", r)
		}
	}
	local, domain, ok := cutLast(name, '@')
	if !ok {
		return nil
	}
	switch {
	case local == "":
		return errors.New("lacks the part before the @")
	case domain == "":
		return errors.New("lacks the domain after the @")
	case strings.ContainsAny(domain, `"(),:;<>\/|`) || strings.HasPrefix(domain, ".") || strings.Contains(domain, ".."):
		return errors.New("has a domain that is none after the @")
	}
	return nil
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// editor finds the source to change for a name. A name of a source that cannot
// be changed has none: a second account of that name would hide the first one,
// or be hidden by it.
func (d *Directory) editor(ctx context.Context, name string) (Editor, error) {
	var ed Editor
	for i, s := range d.sources {
		if e, ok := s.(Editor); ok {
			if ed == nil {
				ed = e
			}
			continue
		}
		a, ok := d.indexes[i].Get(name)
		if l, demand := s.(Loader); !ok && demand && d.indexes[i].Loading() {
			var err error
			if a, err = l.Load(ctx, name); err != nil {
				return nil, fmt.Errorf("%w: %s: %w", ErrUnavailable, s.Name(), err)
			}
		}
		if a != nil {
			return nil, fmt.Errorf("%w: account %q comes from %s", ErrReadOnly, a.Name, s.Name())
		}
	}
	if ed == nil {
		return nil, fmt.Errorf("%w: no account source is `dynamic`", ErrReadOnly)
	}
	return ed, nil
}

// putUpdate is the update of a Put.
func putUpdate(name string, body []byte) (func(*Record) (*Record, error), error) {
	r, err := DecodeRecord(body)
	if err != nil {
		return nil, err
	}
	if r.Name == "" {
		r.Name = name
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, jsonError(body, err)
	}
	has := make(map[string]bool, len(fields))
	for k := range fields {
		has[strings.ToLower(k)] = true
	}
	return func(old *Record) (*Record, error) {
		n := r
		if old != nil {
			if !has["refresh_token"] {
				n.RefreshToken = old.RefreshToken
			}
			if !has["secret"] {
				n.Secret = old.Secret
			}
			if !has["password_hashes"] {
				n.PasswordHashes = old.PasswordHashes
			}
		}
		return &n, nil
	}, nil
}

// mergeRecord applies a merge patch to a record.
func mergeRecord(old Record, patch []byte) (*Record, error) {
	fail := func(err error) (*Record, error) {
		if fe, ok := errors.AsType[*FieldError](err); ok {
			fe.Account = old.Name
		}
		return nil, err
	}
	var p any
	dec := json.NewDecoder(bytes.NewReader(patch))
	dec.UseNumber()
	if err := dec.Decode(&p); err != nil {
		return fail(jsonError(patch, err))
	}
	if dec.More() {
		return fail(&FieldError{Err: errors.New("more than one JSON value")})
	}
	if _, ok := p.(map[string]any); !ok {
		return fail(&FieldError{Err: errors.New("want a JSON object")})
	}
	data, err := EncodeRecord(old)
	if err != nil {
		return nil, err
	}
	var target any
	dec = json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&target); err != nil {
		return nil, err
	}
	if data, err = json.Marshal(mergePatch(target, p)); err != nil {
		return nil, err
	}
	r, err := DecodeRecord(data)
	if err != nil {
		return fail(err)
	}
	return &r, nil
}

// mergePatch is RFC 7396 section 2.
func mergePatch(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = make(map[string]any)
	}
	for k, v := range p {
		if v == nil {
			delete(t, k)
		} else {
			t[k] = mergePatch(t[k], v)
		}
	}
	return t
}
