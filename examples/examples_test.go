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

package examples

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddymail/mailgateway"
)

// TestExamples adapts every example and provisions what comes out, as `caddy
// validate` does, with made-up secrets in place.
func TestExamples(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	t.Setenv("LOGS_DIRECTORY", dir)
	t.Setenv("ACCOUNTS_FILE", filepath.Join(dir, "accounts.jsonl"))
	for _, name := range []string{"MS_TENANT", "MS_CLIENT_ID", "GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"} {
		t.Setenv(name, "made-up")
	}
	digest := "sha256:" + strings.Repeat("5c", 32)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	serviceAccount, err := json.Marshal(map[string]string{
		"type":           "service_account",
		"client_email":   "gateway@made-up.iam.gserviceaccount.com",
		"private_key_id": "1",
		"private_key":    string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"token_uri":      "https://oauth2.googleapis.com/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	sealing := base64.StdEncoding.EncodeToString([]byte("made-up-key-made-up-key-made-up-"))
	for name, content := range map[string]string{
		"ms-secret": "made-up", "google-secret": "made-up", "scanner-hash": digest, "erp-hash": digest,
		"token-key": sealing, "account-key": sealing,
		"accounts.jsonl":              `{"name":"a@example.com","upstream":"gmail","password_hashes":["` + digest + `"]}` + "\n",
		"google-service-account.json": string(serviceAccount),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob("*.Caddyfile")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d examples (%v)", len(files), err)
	}
	for _, file := range append(files, "../Caddyfile.example") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			// The storage of an example is not the test's to touch.
			text = []byte(strings.ReplaceAll(string(text), "/mnt/shared/caddy", dir))
			raw, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": file})
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range warnings {
				t.Errorf("warning: %s", w)
			}
			var cfg caddy.Config
			if err := json.Unmarshal(raw, &cfg); err != nil {
				t.Fatal(err)
			}
			if err := caddy.Validate(&cfg); err != nil {
				t.Fatal(err)
			}
		})
	}
}
