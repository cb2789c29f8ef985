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
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// Where directories are by default, and the notes of those elsewhere, in Caddy's data
// directory.
const (
	ofUpstreams = "smtp_spool"
	ofAccounts  = "smtp_spool_of_accounts"
	notesFolder = "smtp_spool_marks"
)

// LeftBehind is a directory with messages that no spool of a process has: its spool was
// taken out of the configuration, or has another name or directory there.
type LeftBehind struct {
	Directory string `json:"directory"`
	Messages  int    `json:"messages"`
}

// Forgotten returns the directories of earlier configurations in which messages lie.
func Forgotten() []LeftBehind { return forgottenIn(caddy.AppDataDir()) }

func forgottenIn(data string) (left []LeftBehind) {
	dirs, _ := filepath.Glob(filepath.Join(data, ofUpstreams, "*"))
	dirs = append(dirs, filepath.Join(data, ofAccounts))
	notes, _ := filepath.Glob(filepath.Join(data, notesFolder, "*"))
	for _, note := range notes {
		if b, err := os.ReadFile(note); err == nil { //nolint:gosec // a path of ours
			if _, dir, ok := strings.Cut(strings.TrimRight(string(b), "\n"), "\n"); ok {
				dirs = append(dirs, dir)
			}
		}
	}
	enginesMu.Lock()
	dirs = slices.DeleteFunc(dirs, func(dir string) bool { return engines[dir] != nil })
	enginesMu.Unlock()
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		messages, _ := filepath.Glob(filepath.Join(dir, "[0-9a-f][0-9a-f]", "*"+store.MessageExt))
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

// sayForgotten logs them.
func sayForgotten(data string, logger *zap.Logger) {
	for _, l := range forgottenIn(data) {
		logger.Warn("messages of an earlier configuration's spool are not sent until a spool has its directory", zap.String("dir", l.Directory), zap.Int("messages", l.Messages))
	}
}
