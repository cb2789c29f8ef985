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

package postgres

import (
	"testing"
	"time"

	"github.com/caddymail/mailgateway/internal/testpg"
)

// TestWatch has another process announce a change: it is heard, also after the
// connection was lost; and a storage that is closed is watched no longer.
func TestWatch(t *testing.T) {
	pg := testpg.Start(t)
	one, two := open(t, pg.DSN()), open(t, pg.DSN())
	start := func(began <-chan struct{}, ended <-chan error) {
		t.Helper()
		select {
		case <-began:
		case err := <-ended:
			t.Fatalf("it has not begun: %v", err)
		}
	}
	for range 2 {
		began, heard, ended := make(chan struct{}), make(chan string, 10), make(chan error, 1)
		go func() { ended <- two.Watch(t.Context(), func() { close(began) }, func(key string) { heard <- key }) }()
		start(began, ended)
		err := one.Announce(t.Context(), "/a//b")
		for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); {
			err = one.Announce(t.Context(), "/a//b") // connections of before the crash
		}
		if err != nil {
			t.Fatal(err)
		}
		if key := <-heard; key != "a/b" {
			t.Errorf("heard of %q", key)
		}
		pg.Kill()
		if err := <-ended; err == nil {
			t.Error("it watches a server that is away")
		}
		pg.Up()
	}
	began, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- two.Watch(t.Context(), func() { close(began) }, func(string) {}) }()
	start(began, ended)
	two.Close()
	<-ended
}
