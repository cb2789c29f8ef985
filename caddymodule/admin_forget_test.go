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

package caddymodule

import (
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// storedTokens are the records of the token store, whoever wrote them.
func (g *gateway) storedTokens(t *testing.T) (n int) {
	t.Helper()
	err := filepath.WalkDir(g.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path, filepath.Join("smtp", "tokens")) {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestDeleteForgetsTokens: a deleted account's refresh token does not live on
// in the store.
func TestDeleteForgetsTokens(t *testing.T) {
	g := newGateway(t)
	const path = "/smtp/accounts/short@example.com"
	g.do(t, "PUT", path, `{"upstream": "oauth", "refresh_token": "rt-short@example.com"}`).want(http.StatusCreated)
	g.do(t, "POST", path+"/verify", "").want(http.StatusOK)
	if n := g.storedTokens(t); n != 1 {
		t.Fatalf("%d token records after verify, want 1", n)
	}
	g.do(t, "DELETE", path, "").want(http.StatusNoContent)
	if n := g.storedTokens(t); n != 0 {
		t.Errorf("%d token records after DELETE, want none", n)
	}
}
