// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//	http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/caddyserver/certmagic"
)

// comparing is a storage that compares numbers and has changed meanwhile.
type comparing struct {
	certmagic.FileStorage
	was, seq uint64
}

func (c *comparing) Swap(_ context.Context, _ string, was, seq uint64, _ []byte) error {
	c.was, c.seq = was, seq
	return fmt.Errorf("storing: %w", fs.ErrExist)
}

// TestStorageSwaps holds that a store on a storage that compares is a Swapper,
// and that one on files is not.
func TestStorageSwaps(t *testing.T) {
	st := &comparing{}
	r := NewRecords(&StorageStore{storeState: storeState{storage: st}})
	rec := &Record{Provider: "p", Subject: "s", Seq: 8}
	err := r.Swap(StorageKey("p", "s"), rec, 7)
	if !errors.Is(err, ErrChanged) || st.was != 7 || st.seq != 8 {
		t.Errorf("%v, was %d, seq %d", err, st.was, st.seq)
	}
	if r := NewRecords(&StorageStore{storeState: storeState{storage: &st.FileStorage}}); r.swaps != nil {
		t.Error("files compare")
	}
}
