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

package migrate

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestProgress(t *testing.T) {
	for _, tc := range []struct {
		done, total int
		elapsed     time.Duration
		want        string
	}{
		{2500, 10_000, 10 * time.Second, "2500 of 10000 accounts, about 30s left"},
		{9999, 10_000, 10 * time.Second, "9999 of 10000 accounts, about 1s left"},
		{10, 10, time.Second, "10 of 10 accounts"},
		{7, 0, time.Second, "7 accounts so far"},
		{7, 5, time.Second, "7 accounts so far"}, // the file grew
	} {
		if got := Progress(tc.done, tc.total, tc.elapsed); got != tc.want {
			t.Errorf("%d of %d in %s: %q, want %q", tc.done, tc.total, tc.elapsed, got, tc.want)
		}
	}
}

func TestCountLines(t *testing.T) {
	for content, want := range map[string]int{
		"": 0, "{}\n": 1, "{}": 1, "{}\r\n\r\n{}\r\n": 2, "{}\r{}\r": 2, "\n \n{}\n{}": 2,
	} {
		file, err := os.Create(filepath.Join(t.TempDir(), "accounts"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.WriteString(content); err != nil {
			t.Fatal(err)
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		got, err := CountLines(file)
		if again, _ := io.ReadAll(file); err != nil || got != want || string(again) != content {
			t.Errorf("%q: %d, %v, then %q", content, got, err, again)
		}
	}
}
