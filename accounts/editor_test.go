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
	"testing"
)

// asked is a source that has an account when it is asked for it.
type asked struct {
	memory
	account *Account
	err     error
}

func (a *asked) Load(_ context.Context, name string) (*Account, error) {
	if a.account != nil && FoldName(name) == a.account.Key() {
		return a.account, nil
	}
	return nil, a.err
}
func (*asked) Missed(string) {}

// taker is a source that takes any change.
type taker struct{ memory }

func (*taker) Edit(_ context.Context, edits []Edit) []Change {
	return []Change{{Name: edits[0].Name, Created: true}}
}

// TestNoSecondAccount holds that an account is not made beside one of a source
// that was not asked for it yet.
func TestNoSecondAccount(t *testing.T) {
	src := &asked{memory: memory{name: "asked"}, account: mustCompile(t, Record{Name: "a@example.com", Upstream: "up"})}
	src.index.SetLoading(true)
	d := NewDirectory([]Source{src, &taker{memory{name: "taker"}}}, nil)
	put := func(name string) error {
		_, err := d.Put(context.Background(), name, []byte(`{"upstream": "up"}`), Condition{})
		return err
	}
	if err := put("A@example.com"); !errors.Is(err, ErrReadOnly) {
		t.Errorf("an account that the source has: %v", err)
	}
	if err := put("b@example.com"); err != nil {
		t.Errorf("an account that it has not: %v", err)
	}
	src.err = errors.New("connection refused")
	if err := put("c@example.com"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("while it cannot be read: %v", err)
	}
}
