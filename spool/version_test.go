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
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/record"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// TestEarlierVersions holds that messages are read, tried, read again and sent that other
// versions have written: one that kept no clock (commit 21ed8d1), and the first that does.
func TestEarlierVersions(t *testing.T) {
	for name, id := range map[string]string{"before-clock": "06614664c3d86e80dc26f6ca"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b, err := os.ReadFile(filepath.Join("testdata", name+store.MessageExt))
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, store.ShardOf(id), id+store.MessageExt)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			p := newProvider()
			p.down = true
			on := func(tr *Transport) { tr.AlwaysKeep, tr.Directory = false, dir }
			tr := start(t, disk.OS{}, p, on)
			m, err := Get(id)
			if err != nil || m.Account != "a" || m.State == "held" || m.Attempts < 1 || !strings.HasPrefix(m.Reply, "451 ") {
				t.Fatalf("%+v, %v, %+v", m, err, tr.engine.status())
			}
			for err = Hold(id); errors.Is(err, ErrBusy); err = Hold(id) {
				time.Sleep(time.Millisecond) // it is due at once
			}
			if err != nil {
				t.Fatal(err)
			}
			stop(tr)
			// What this version writes behind it has the message's age.
			s := store.New(disk.OS{}, dir)
			st, err := s.Read(id)
			if err != nil {
				t.Fatal(err)
			}
			if l := st.Lines[len(st.Lines)-1]; l.Event != record.EventHold || l.Clock.Epoch == "" || l.Age < 0 {
				t.Errorf("the last line is %+v", l)
			}
			p.set(false)
			tr = start(t, disk.OS{}, p, on)
			defer stop(tr)
			if err := Release(id); err != nil {
				t.Fatal(err)
			}
			await(t, tr)
			if p.order[0] != "Subject: old 0\r\n\r\ntext\r\n" || len(p.order) != 1 {
				t.Errorf("sent: %q", p.order)
			}
		})
	}
}
