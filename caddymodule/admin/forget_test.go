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

package admin_test

import (
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
)

// storedTokens are the records of the token store, whoever wrote them.
func storedTokens(t *testing.T, g *gatewaytest.Gateway) (n int) {
	t.Helper()
	err := filepath.WalkDir(g.Dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path, filepath.Join("smtp", "tokens")) && !strings.Contains(path, "tokens-room") {
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
	g := gatewaytest.New(t)
	const path = "/smtp/accounts/short@example.com"
	g.Do(t, "PUT", path, `{"upstream": "oauth", "refresh_token": "rt-short@example.com"}`).Want(http.StatusCreated)
	g.Do(t, "POST", path+"/verify", "").Want(http.StatusOK)
	if n := storedTokens(t, g); n != 1 {
		t.Fatalf("%d token records after verify, want 1", n)
	}
	g.Do(t, "DELETE", path, "").Want(http.StatusNoContent)
	if n := storedTokens(t, g); n != 0 {
		t.Errorf("%d token records after DELETE, want none", n)
	}
}
