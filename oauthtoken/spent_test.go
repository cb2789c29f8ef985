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
	"context"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

// TestSpentForNothing has answers that are no refusal and bring no access token of
// use: the refresh token that came along is the only one that is still good.
func TestSpentForNothing(t *testing.T) {
	for name, extra := range map[string]map[string]any{
		"another type":       {"token_type": "mac"},
		"no access token":    {"access_token": ""},
		"malformed":          {"access_token": "a\x01auth=x"},
		"of the wrong type":  {"access_token": 5},
		"another type, null": {"token_type": "N_A", "expires_in": nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newEndpoint(t)
			s.spoil = extra
			a := newApp(t, config(t.TempDir(), s.URL, nil))
			seed := s.seed("alice")
			_, err := a.Token(context.Background(), ask("p", "alice", "", seed))
			if e := authserver.AsError(err, 0); err == nil || e.Class != authserver.ClassTemporary || strings.Contains(err.Error(), "refresh-alice") {
				t.Fatalf("%v", err)
			}
			rec, err := a.served["p"].records.Load(context.Background(), tokenstore.StorageKey("p", "alice"))
			if err != nil || rec == nil || rec.RefreshToken != s.family("alice").newest.refresh || rec.AccessToken != "" {
				t.Fatalf("the record has %+v, %v", rec, err)
			}
			// The server forgets what was before at the first use of the new one.
			s.mu.Lock()
			s.families["alice"].newest.used = true
			s.spoil = nil
			s.mu.Unlock()
			a.unblock("alice")
			mustToken(t, a.App, "p", "alice", seed)
			if f := s.family("alice"); f.revoked {
				t.Fatal("a spent token was shown: the consent is lost")
			}
		})
	}
}
