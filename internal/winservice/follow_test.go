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

package winservice

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	failed = `{"level":"error","ts":1,"logger":"smtp","msg":"cannot store","error":"disk full"}` + "\n"
	fine   = `{"level":"info","ts":1,"msg":"serving"}` + "\n"
)

func write(t *testing.T, file, text string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// events collects what is reported.
type events struct {
	said []string
	err  error
}

func (e *events) report(m string) error {
	if e.err == nil {
		e.said = append(e.said, m)
	}
	return e.err
}

func TestFollow(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	var e events
	f := &follower{log: log, report: e.report}
	now := time.Unix(1000, 0)
	f.look(now) // no file yet
	write(t, log, fine+failed+"Error: no such file\npanic: oh\ngoroutine 1\n"+failed[:20])
	f.look(now)
	if len(e.said) != 3 || !strings.HasPrefix(e.said[0], "smtp: cannot store: disk full\r\n") || e.said[1] != "Error: no such file" || e.said[2] != "panic: oh" {
		t.Fatalf("%q", e.said)
	}
	write(t, log, failed[20:])
	f.look(now)
	f.look(now)
	if len(e.said) != 4 {
		t.Fatalf("the line that came in halves: %q", e.said)
	}

	// The next process says what this one could not, and nothing twice.
	write(t, log, "Error: last words\n")
	next := &follower{log: log, report: e.report}
	next.look(now)
	if len(e.said) != 5 || e.said[4] != "Error: last words" {
		t.Fatalf("the next process: %q", e.said)
	}

	// A new file is read from its beginning.
	if err := os.WriteFile(log, []byte("Error: new\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	next.look(now)
	if len(e.said) != 6 || e.said[5] != "Error: new" {
		t.Fatalf("a new file: %q", e.said)
	}
}

// TestFollowBounded holds that an outage does not fill the event log.
func TestFollowBounded(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	var e events
	f := &follower{log: log, report: e.report}
	now := time.Unix(1000, 0)
	write(t, log, strings.Repeat(failed, 100))
	f.look(now)
	if len(e.said) != burst {
		t.Fatalf("%d events", len(e.said))
	}
	f.look(now.Add(time.Minute))
	if len(e.said) != burst+1 || !strings.HasPrefix(e.said[burst], "80 more errors") {
		t.Fatalf("%d events, last %q", len(e.said), e.said[len(e.said)-1])
	}
	// A message without an end is cut, and never read again.
	write(t, log, "Error: "+strings.Repeat("x", 3*batch)+"\n"+failed)
	for range 5 {
		f.look(now.Add(time.Minute))
	}
	if last := e.said[len(e.said)-1]; !strings.HasPrefix(last, "smtp: ") {
		t.Fatalf("after a long line: %.80q", last)
	}
	for _, m := range e.said {
		if len(m) > longest {
			t.Errorf("an event of %d bytes", len(m))
		}
	}
	e.err = errors.New("event log is full")
	write(t, log, failed)
	f.look(now.Add(2 * time.Minute)) // must not fail
}

func TestFollowEnds(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var e events
		done := make(chan struct{})
		go func() {
			Follow(ctx, log, e.report)
			close(done)
		}()
		synctest.Wait()
		write(t, log, failed)
		time.Sleep(lookEvery)
		synctest.Wait()
		cancel()
		<-done
		if len(e.said) != 1 {
			t.Errorf("%q", e.said)
		}
	})
}
