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

package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddymail/mailgateway/spool/internal/disk"
)

// Where directories are by default, and the notes of those elsewhere, in Caddy's data
// directory.
const (
	OfUpstreams = "smtp_spool"
	OfAccounts  = "smtp_spool_of_accounts"
	NotesFolder = "smtp_spool_marks"
)

// OwnPlace reports whether a directory is where those are by default.
func OwnPlace(data, dir string) bool {
	return dir == filepath.Join(data, OfAccounts) || filepath.Dir(dir) == filepath.Join(data, OfUpstreams)
}

// Within reports whether a directory is beneath another one.
func Within(dir, above string) bool {
	above, err := filepath.Abs(above)
	if err != nil {
		return false
	}
	rest, err := filepath.Rel(above, dir)
	return err == nil && filepath.IsLocal(rest)
}

// LeftBehind is a directory with messages that no spool of a process has: its spool was
// taken out of the configuration, or has another name or directory there.
type LeftBehind struct {
	Directory string `json:"directory"`
	Messages  int    `json:"messages"`
}

// LeftBehindIn returns the directories with messages among those that a folder of notes
// and these patterns name, but for those that are in use.
func LeftBehindIn(folder string, patterns []string, used func(dir string) bool) (left []LeftBehind) {
	var dirs []string
	for _, pattern := range patterns {
		more, _ := filepath.Glob(pattern)
		dirs = append(dirs, more...)
	}
	notes, _ := filepath.Glob(filepath.Join(folder, "*"))
	for _, note := range notes {
		if b, err := os.ReadFile(note); err == nil { //nolint:gosec // a path of ours
			if _, dir, ok := strings.Cut(strings.TrimRight(string(b), "\n"), "\n"); ok {
				dirs = append(dirs, dir)
			}
		}
	}
	dirs = slices.DeleteFunc(dirs, used)
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		messages, _ := filepath.Glob(filepath.Join(dir, "[0-9a-f][0-9a-f]", "*"+MessageExt))
		if len(messages) == 0 {
			continue
		}
		lock, err := disk.OS{}.Lock(dir)
		if errors.Is(err, disk.ErrLocked) {
			continue // another process's
		}
		if err == nil {
			_ = lock.Close()
		}
		left = append(left, LeftBehind{dir, len(messages)})
	}
	return left
}
