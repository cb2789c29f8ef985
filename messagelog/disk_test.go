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

package messagelog

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// TestForeign holds that what is not ours is named and left alone, that a
// damaged record is passed over, and that a torn one is cut off.
func TestForeign(t *testing.T) {
	dir := t.TempDir()
	l, _, detach := open(t, &Config{Directory: dir})
	for n := range 3 {
		l.Add(entry(n))
	}
	search(t, l, Query{})
	detach()
	segments, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	content, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(content), "\n")
	lines[2] = strings.Replace(lines[2], "s-1.1", "s-X.1", 1)
	foreign := map[string]string{
		"notes.txt":        "mine",
		segmentName(0x77):  "something else\n",
		"000" + "messages": "",
	}
	foreign[filepath.Base(segments[0])] = strings.Join(lines, "") + lines[1][:40]
	foreign[segmentName(0x78)] = header[:5]
	for name, text := range foreign {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, logged, detach := open(t, &Config{Directory: dir})
	l.Add(entry(9))
	if ids := search(t, l, Query{}); strings.Join(ids, " ") != "s-9.1 s-2.1 s-0.1" {
		t.Errorf("found %v", ids)
	}
	if u := l.Status().Unclear; u != 4 {
		t.Errorf("%d unclear", u)
	}
	detach()
	for _, name := range []string{"notes.txt", segmentName(0x77)} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != foreign[name] {
			t.Errorf("%s: %q (%v)", name, got, err)
		}
		if logged.FilterField(zap.String("file", filepath.Join(dir, name))).Len() != 1 {
			t.Errorf("%s is not named", name)
		}
	}
	if got, err := os.ReadFile(segments[0]); err != nil || string(got) != strings.Join(lines, "") {
		t.Errorf("the torn record is still there (%v)", err)
	}
}

func TestHashed(t *testing.T) {
	dir := t.TempDir()
	l, _, detach := open(t, &Config{Directory: dir, HashRecipients: true})
	e := entry(1)
	e.Recipients[0] = Recipient{Address: "Kim@example.org", Code: 550, Reply: "5.1.1 <kim@EXAMPLE.org>: unknown"}
	e.Code, e.Reply = 550, "5.1.1 kim@example.org is not here"
	l.Add(e)
	page, err := l.Search(t.Context(), Query{Recipient: "kim@example.org"})
	if err != nil || len(page.Messages) != 1 {
		t.Fatal(page, err)
	}
	hashed := page.Messages[0].Recipients[0].Address
	if !strings.HasPrefix(hashed, "#") || page.Messages[0].Reply != "5.1.1 "+hashed+" is not here" {
		t.Errorf("%+v", page.Messages[0])
	}
	if ids := search(t, l, Query{Recipient: "kim"}); ids != nil {
		t.Errorf("a part of the address finds %v", ids)
	}
	detach()
	segments, _ := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	content, err := os.ReadFile(segments[0])
	if err != nil || strings.Contains(strings.ToLower(string(content)), "kim") {
		t.Errorf("on disk: %s (%v)", content, err)
	}
	// The key stays, and what was hashed is found when it is off again.
	l, _, _ = open(t, &Config{Directory: dir})
	if ids := search(t, l, Query{Recipient: "KIM@example.org"}); len(ids) != 1 {
		t.Errorf("found %v", ids)
	}
	if ids := search(t, l, Query{Recipient: hashed}); len(ids) != 1 {
		t.Errorf("by its hash: %v", ids)
	}
}

// TestHashKeyDamaged holds that no address is written as it is when it cannot
// be hashed.
func TestHashKeyDamaged(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, keyName), []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, _, detach := open(t, &Config{Directory: dir, HashRecipients: true})
	l.Add(entry(1))
	_, _ = l.Search(t.Context(), Query{})
	detach()
	if s := sizeOf(t, dir); s != 0 || l.Status().Dropped != 1 {
		t.Errorf("%d octets, %+v", s, l.Status())
	}
}

// TestEntryBounds holds that one transaction cannot make a record without end,
// whatever a client writes.
func TestEntryBounds(t *testing.T) {
	e := entry(1)
	e.From = strings.Repeat("\x00", 5000)
	e.Reply = strings.Repeat("é", 5000)
	e.Recipients = nil
	for n := range 5000 {
		e.Recipients = append(e.Recipients, Recipient{Address: fmt.Sprintf("%d%s", n, strings.Repeat("\x01", 1000)), Code: 550, Reply: strings.Repeat("\n", 2000)})
	}
	e.bound()
	line, err := appendRecord(nil, e)
	if err != nil || len(line) > maxRecord || strings.Count(string(line), "\n") != 1 {
		t.Fatalf("%d octets (%v)", len(line), err)
	}
	got, err := decodeRecord(line[:len(line)-1])
	if err != nil || len(got.Recipients) == 0 || len(got.Recipients)+got.MoreRecipients != 5000 {
		t.Errorf("%d and %d recipients (%v)", len(got.Recipients), got.MoreRecipients, err)
	}
}

func TestConfig(t *testing.T) {
	for _, tc := range []struct {
		c    Config
		want string
	}{
		{Config{Keep: -1}, "keep: "}, {Config{MaxCount: -1}, "max_count: "}, {Config{MaxSize: 1000}, "max_size: "},
		{Config{Directory: "{env.MAILGATEWAY_NOT_SET_AT_ALL}"}, "directory: "},
	} {
		if err := tc.c.Provision(); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc.c, err)
		}
	}
}

// writeForever is the process that TestKill kills.
func writeForever(dir string) {
	c := &Config{Directory: dir, MaxCount: 2000}
	if err := c.Provision(); err != nil {
		panic(err)
	}
	l, _ := Attach(c, zap.NewNop())
	for n := 0; ; n++ {
		l.Add(entry(n))
		if n%10 == 9 {
			if _, _, err := l.flush(context.Background()); err != nil {
				panic(err)
			}
			fmt.Println(n)
		}
	}
}

// TestKill holds that what has been written is found after kill -9, and that the
// log goes on.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	for round := range 5 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childVar+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		written := ""
		for s := bufio.NewScanner(out); s.Scan(); {
			if written = s.Text(); len(written) >= 3+round%2 {
				break
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if written == "" {
			t.Fatal("nothing was written")
		}
		l, _, detach := open(t, &Config{Directory: dir, MaxCount: 2000})
		page, err := l.Search(t.Context(), Query{ID: "s-" + written, Limit: 1})
		if err != nil || len(page.Messages) != 1 {
			t.Errorf("round %d: %s is lost (%v)", round, written, err)
		}
		l.Add(entry(1_000_000 + round))
		if ids := search(t, l, Query{Limit: 1000}); ids[0] != fmt.Sprintf("s-%d.1", 1_000_000+round) {
			t.Errorf("round %d: it does not go on", round)
		}
		if u := l.Status().Unclear; u != 0 {
			t.Errorf("round %d: %d unclear", round, u)
		}
		detach()
	}
}
