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

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/pgdb"
	"github.com/caddymail/mailgateway/internal/testpg"
	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/storage/postgres"
	"github.com/caddymail/mailgateway/storage/transfer"
)

// TestCountsAreCopied sends part of a day's quota on files, copies them into a database,
// and finds what is left there; back too. What a killed process counted is not lost: it
// is an error.
func TestCountsAreCopied(t *testing.T) {
	files := &certmagic.FileStorage{Path: filepath.Join(t.TempDir(), "files")}
	pg, err := postgres.Open(context.Background(), pgdb.Config{DSN: testpg.Start(t).DSN()})
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Close()
	begin := func(s certmagic.Storage) *limits.Local {
		return limits.NewLocal("up", limits.Config{
			Limits: accounts.Limits{MaxConns: 1, Messages: accounts.Rate{Count: 10, Per: 24 * time.Hour}}, Storage: s,
		})
	}
	spend := func(l *limits.Local, n int) (sent int) {
		a := l.Account("box@example.com", "box@example.com", nil)
		defer a.Close()
		for range n {
			slot, err := a.Reserve(t.Context(), limits.Request{MaxWait: 5 * time.Second, MaxWaiting: 10})
			if err != nil {
				t.Log(err)
				break
			}
			a.Commit(slot, 1)
			sent++
		}
		return sent
	}
	end := func(l *limits.Local) {
		l.Shut()
		l.Wait()
	}

	one := begin(files)
	if n := spend(one, 3); n != 3 {
		t.Fatalf("%d of 3 sent", n)
	}
	// What kill -9 leaves behind is what there is while it lives.
	killed := &certmagic.FileStorage{Path: filepath.Join(t.TempDir(), "killed")}
	if err := os.CopyFS(killed.Path, os.DirFS(files.Path)); err != nil {
		t.Fatal(err)
	}
	if _, err := transfer.Copy(t.Context(), killed, pg, transfer.Options{}); err == nil || !strings.Contains(err.Error(), "has not ended in order") {
		t.Errorf("after kill -9: %v", err)
	}
	end(one)
	if _, err := transfer.Copy(t.Context(), files, pg, transfer.Options{}); err != nil {
		t.Fatal(err)
	}
	two := begin(pg)
	if n := spend(two, 4); n != 4 {
		t.Errorf("%d of 4 sent from the database", n)
	}
	end(two)
	for name, c := range map[string]struct {
		to    *certmagic.FileStorage
		left  int
		extra bool
	}{
		"elsewhere": {&certmagic.FileStorage{Path: filepath.Join(t.TempDir(), "back")}, 3, false},
		// What was counted before the first copy is there twice: it is told of.
		"over the files before": {files, 0, true},
	} {
		r, err := transfer.Copy(t.Context(), pg, c.to, transfer.Options{})
		if err != nil || len(r.Extra) > 0 != c.extra {
			t.Fatalf("%s: %+v, %v", name, r, err)
		}
		three := begin(c.to)
		if n := spend(three, 10); n != c.left {
			t.Errorf("%s: %d more of a quota of 10, of which 7 were sent", name, n)
		}
		end(three)
	}
}
