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

package spool

import (
	"path/filepath"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// TestForgotten holds that messages of a spool that is not configured any more are said,
// where its directory is the default and where it is elsewhere, and not while a process
// has it.
func TestForgotten(t *testing.T) {
	for name, where := range map[string]func(data, elsewhere string) string{
		"default":   func(data, _ string) string { return filepath.Join(data, store.OfUpstreams, "kept") },
		"accounts":  func(data, _ string) string { return filepath.Join(data, store.OfAccounts) },
		"elsewhere": func(_, elsewhere string) string { return elsewhere },
	} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			dir := where(data, filepath.Join(t.TempDir(), "d"))
			p := newProvider()
			p.down = true
			core, logs := observer.New(zap.WarnLevel)
			tr := start(t, disk.OS{}, p, func(tr *Transport) {
				tr.AlwaysKeep, tr.Directory, tr.notes, tr.logger = false, dir, filepath.Join(data, store.NotesFolder), zap.New(core)
			})
			if left := forgottenIn(data); len(left) > 0 {
				t.Errorf("empty: %+v", left)
			}
			if _, err := send(tr, "a", "kept"); err != nil {
				t.Fatal(err)
			}
			if left := forgottenIn(data); len(left) > 0 {
				t.Errorf("in use: %+v", left)
			}
			stop(tr)
			if n := logs.FilterMessageSnippet("not sent").Len(); n != 1 {
				t.Errorf("said %d times when it ended", n)
			}
			lock, err := disk.OS{}.Lock(dir)
			if err != nil {
				t.Fatal(err)
			}
			if left := forgottenIn(data); len(left) > 0 {
				t.Errorf("of another process: %+v", left)
			}
			_ = lock.Close()
			if left := forgottenIn(data); len(left) != 1 || left[0] != (LeftBehind{Directory: dir, Messages: 1}) {
				t.Errorf("forgotten: %+v", left)
			}
			if name == "accounts" {
				return
			}
			core, logs = observer.New(zap.WarnLevel)
			other := start(t, disk.OS{}, p, func(tr *Transport) {
				tr.Upstream, tr.siblings, tr.data, tr.logger = "", map[string]relay.Transport{"": p}, data, zap.New(core)
				tr.Directory = filepath.Join(data, store.OfAccounts)
			})
			defer other.Detach() //nolint:errcheck // it has begun nothing
			if n := logs.FilterMessageSnippet("earlier configuration").Len(); n != 1 {
				t.Errorf("said %d times at the start", n)
			}
		})
	}
}
