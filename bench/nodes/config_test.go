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

package nodes

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/bench/message"
	"github.com/caddymail/mailgateway/bench/sink"
	"github.com/caddymail/mailgateway/internal/freeport"
)

// gateway is a process of the real binary.
type gateway struct {
	*part
	smtp string
	sink *target
}

// accountsFile has n accounts of the upstream, each with a consent.
func accountsFile(t *testing.T, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "accounts.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	enc := json.NewEncoder(f)
	for i := range n {
		sum := sha256.Sum256([]byte(message.AccountPassword(i)))
		err := enc.Encode(map[string]any{
			"name": message.AccountName(i), "upstream": "sink", "refresh_token": message.AccountSeed(i),
			"password_hashes": []string{"sha256:" + hex.EncodeToString(sum[:])},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// config is that of a gateway; without a DSN it keeps everything in files. The limits
// are as Microsoft's.
func config(smtp, admin, dir, dsn, accounts, ca, name string, to sink.Ready) map[string]any {
	trust := map[string]any{"provider": "file", "pem_files": []string{ca}}
	upstreams := map[string]any{"upstreams": map[string]any{"sink": map[string]any{
		"transport": "smtp", "dial": to.Implicit, "hostname": sink.Name,
		"tls":       map[string]any{"mode": "implicit", "server_name": sink.Name, "trust_pool": trust},
		"auth":      map[string]any{"mechanism": "xoauth2", "provider": "bench"},
		"max_conns": 12000, "max_conns_per_account": 3, "idle_timeout": "5m",
		"rate_per_account": "30/1m", "recipients_per_account": "10000/24h",
	}}}
	storage := map[string]any{"module": "file_system", "root": filepath.Join(dir, "storage")}
	if dsn != "" {
		storage = map[string]any{"module": "postgres", "dsn": dsn, "max_conns": 6}
		upstreams["limits"] = map[string]any{"kind": "postgres", "dsn": dsn, "max_conns": 4, "node": name}
	}
	return map[string]any{
		"admin":   map[string]any{"listen": admin, "config": map[string]any{"persist": false}},
		"logging": map[string]any{"logs": map[string]any{"default": map[string]any{"level": "WARN"}}},
		"storage": storage,
		"apps": map[string]any{
			"oauth_tokens": map[string]any{"providers": map[string]any{"bench": map[string]any{
				"kind": "generic", "token_url": "https://" + to.HTTP + "/token",
				"client_id": "bench", "client_secret": "made-up-client-secret", "trust_pool": trust,
				"max_parallel": 64, "max_per_second": 5000,
			}}},
			"smtp_upstreams": upstreams,
			"smtp": map[string]any{
				"hostname": sink.Name, "drain_timeout": "1s",
				"accounts": []any{map[string]any{"source": "file", "path": accounts}},
				"servers": map[string]any{"bench": map[string]any{
					"listen": []string{smtp}, "tls": map[string]any{"mode": "off"},
					"max_conns": 15000, "max_conns_per_ip": 15000, "auth_failures": map[string]any{"max": 1000000},
				}},
			},
		},
	}
}

// startGateway starts a gateway and waits until it serves.
func startGateway(t *testing.T, caddy, dsn, accounts, ca, name string, to *target) *gateway {
	t.Helper()
	var addrs [2]string
	for i := range addrs {
		var err error
		if addrs[i], err = freeport.Loopback(); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	raw, err := json.Marshal(config(addrs[0], addrs[1], dir, dsn, accounts, ca, name, to.at))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "caddy.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	g := &gateway{part: start(t, name, nil, caddy, "run", "--config", file), smtp: addrs[0], sink: to}
	deadline := time.Now().Add(time.Minute)
	for {
		c, err := net.DialTimeout("tcp", g.smtp, time.Second)
		if err == nil {
			_ = c.Close()
			return g
		}
		if time.Now().After(deadline) || t.Context().Err() != nil {
			t.Fatalf("%s does not serve: %v\n%s", name, err, g.tail())
		}
		time.Sleep(50 * time.Millisecond)
	}
}
