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

package oauthtoken

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

// The default store writes into the storage that Caddy is given.
func TestDefaultStoreIsCaddysStorage(t *testing.T) {
	for name, sealed := range map[string]bool{"clear": false, "sealed": true} {
		t.Run(name, func(t *testing.T) {
			s := newEndpoint(t)
			dir := t.TempDir()
			cfg := config("", s.URL, nil)
			delete(cfg, "store")
			if sealed {
				cfg["store"] = map[string]any{"store": "storage", "encryption_keys": []string{"{file." + writeFile(t, "key", []byte(keyA+"\n")) + "}"}}
			}
			cfg["storage_root"] = dir
			a := newApp(t, cfg)
			seed := s.seed("alice")
			mustToken(t, a.App, "p", "alice", seed)
			a.stop()
			b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(tokenstore.StorageKey("p", "alice"))))
			if err != nil || strings.Contains(string(b), "refresh-alice") == sealed {
				t.Fatalf("%s, %v", b, err)
			}
			// Everything that `caddy storage export` would copy.
			_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
				if b, _ := os.ReadFile(path); sealed && strings.Contains(string(b)+path, "alice") {
					t.Errorf("%s holds plain text", path)
				}
				return err
			})
			c := newApp(t, cfg)
			mustToken(t, c.App, "p", "alice", seed)
			if s.count() != 1 {
				t.Fatalf("%d requests", s.count())
			}
		})
	}
	if a, b := tokenstore.StorageKey("a b", "x"), tokenstore.StorageKey("a_b", "x"); a == b {
		t.Fatal("two providers share a key")
	}
	if k := tokenstore.StorageKey("google", "x"); !strings.HasPrefix(k, "smtp/tokens/google/") || len(k) != len("smtp/tokens/google/")+64 {
		t.Fatal(k)
	}
}
