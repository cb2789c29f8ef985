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

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/spool/internal/store"
)

// LeftBehind is a directory of an earlier configuration.
type LeftBehind = store.LeftBehind

// Forgotten returns the directories of earlier configurations in which messages lie.
func Forgotten() []LeftBehind { return forgottenIn(caddy.AppDataDir()) }

func forgottenIn(data string) []LeftBehind {
	return store.LeftBehindIn(filepath.Join(data, store.NotesFolder), []string{filepath.Join(data, store.OfUpstreams, "*"), filepath.Join(data, store.OfAccounts)}, func(dir string) bool {
		enginesMu.Lock()
		defer enginesMu.Unlock()
		return engines[dir] != nil
	})
}

// sayForgotten logs them.
func sayForgotten(data string, logger *zap.Logger) {
	for _, l := range forgottenIn(data) {
		logger.Warn("messages of an earlier configuration's spool are not sent until a spool has its directory", zap.String("dir", l.Directory), zap.Int("messages", l.Messages))
	}
}
