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

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/bench/message"
	"github.com/caddymail/mailgateway/bench/system"
	"github.com/caddymail/mailgateway/internal/freeport"
)

// upstreamName and providerName are those of the generated configuration.
const (
	upstreamName = "sink"
	providerName = "bench"
)

// Where a gateway's log goes.
const (
	logBuffered = "buffered"
	logFile     = "file"
	logDiscard  = "discard"
)

// gatewaySetup is what differs between the gateways of the rows.
type gatewaySetup struct {
	envelope string // faithful or deferred
	accounts int
	tls      string // of its clients: off, implicit or starttls
	bare     bool   // Caddy without any app, for its own memory
	before   bool   // the binary of -before
	spool    string // of the server: on, always or, if it is empty, off
	log      string // instead of the -access-log flag's
	api      string // graph or gmail: the transport instead of smtp
	upstream map[string]any
	provider map[string]any
	oauth    map[string]any
}

// gateway is a running Caddy.
type gateway struct {
	*proc
	smtp  string
	admin string
	keeps bool // messages that it has answered, and sends later
}

// accountsFile writes n accounts as JSON lines, once.
func (e *env) accountsFile(n int) (string, error) {
	path := filepath.Join(e.dir, fmt.Sprintf("accounts-%d.jsonl", n))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return "", err
	}
	w := bufio.NewWriter(f)
	enc := json.NewEncoder(w)
	for i := range n {
		sum := sha256.Sum256([]byte(message.AccountPassword(i)))
		if err := enc.Encode(map[string]any{
			"name":            message.AccountName(i),
			"upstream":        upstreamName,
			"password_hashes": []string{"sha256:" + hex.EncodeToString(sum[:])},
			"refresh_token":   message.AccountSeed(i),
		}); err != nil {
			return "", errors.Join(err, f.Close())
		}
	}
	return path, errors.Join(w.Flush(), f.Close())
}

// config is Caddy's configuration: limits high but on, metrics on (they
// always are), the access log on.
func (e *env) config(g gatewaySetup, smtp, admin, dir string) (map[string]any, error) {
	writer := map[string]any{"output": "file", "filename": filepath.Join(dir, "gateway.log"), "roll": false}
	switch cmp.Or(g.log, e.o.accessLog) {
	case logBuffered:
		writer = map[string]any{"output": "buffered", "writer": writer}
	case logFile:
	case logDiscard:
		writer = map[string]any{"output": "discard"}
	default:
		return nil, fmt.Errorf("-access-log %s: want buffered, file or discard", e.o.accessLog)
	}
	cfg := map[string]any{
		"admin":   map[string]any{"listen": admin, "config": map[string]any{"persist": false}},
		"logging": map[string]any{"logs": map[string]any{"default": map[string]any{"writer": writer, "level": "INFO"}}},
		"storage": map[string]any{"module": "file_system", "root": filepath.Join(dir, "storage")},
	}
	if g.bare {
		return cfg, nil
	}
	accounts, err := e.accountsFile(g.accounts)
	if err != nil {
		return nil, err
	}
	trust := map[string]any{"provider": "file", "pem_files": []string{e.pki.ca}}
	provider := map[string]any{
		"kind": "generic", "token_url": "https://" + e.at.HTTP + "/token",
		"client_id": "bench", "client_secret": "made-up-client-secret", "trust_pool": trust,
		"max_parallel": 64, "max_per_second": 5000,
	}
	maps.Copy(provider, g.provider)
	upstream := map[string]any{
		"transport": "smtp", "dial": e.at.Implicit, "hostname": serverName,
		"tls":       map[string]any{"mode": "implicit", "server_name": serverName, "trust_pool": trust},
		"auth":      map[string]any{"mechanism": "xoauth2", "provider": providerName},
		"max_conns": 12000, "max_conns_per_account": 20,
		"rate_per_account": "1000000/1m", "messages_per_account": "100000000/24h", "recipients_per_account": "100000000/24h",
	}
	if g.api != "" {
		upstream = e.api(g.api, trust)
	}
	maps.Copy(upstream, g.upstream)
	oauth := map[string]any{"providers": map[string]any{providerName: provider}}
	maps.Copy(oauth, g.oauth)
	cfg["apps"] = map[string]any{
		"oauth_tokens":   oauth,
		"smtp_upstreams": map[string]any{"upstreams": map[string]any{upstreamName: upstream}},
		"smtp": map[string]any{
			"hostname": serverName, "drain_timeout": "1s",
			"accounts": []any{map[string]any{"source": "file", "path": accounts}},
			"servers": map[string]any{"bench": map[string]any{
				"listen": []string{smtp}, "tls": map[string]any{"mode": g.tls}, "envelope": g.envelope,
				"max_conns": 15000, "max_conns_per_ip": 15000, "auth_failures": map[string]any{"max": 1000000},
			}},
		},
	}
	if g.spool != "" { // a binary of before may not know the word
		server := cfg["apps"].(map[string]any)["smtp"].(map[string]any)["servers"].(map[string]any)["bench"].(map[string]any)
		server["spool"] = g.spool
	}
	if g.spool == "always" {
		cfg["apps"].(map[string]any)["smtp_upstreams"].(map[string]any)["spool"] = map[string]any{"max_messages": 10_000_000, "max_size": 1 << 40, "min_free": -1}
	}
	if g.tls != "off" {
		// As with a certificate that Caddy manages, but from this run's authority.
		apps := cfg["apps"].(map[string]any)
		// No trace of a benchmark in the machine's trust store.
		apps["pki"] = map[string]any{"certificate_authorities": map[string]any{"local": map[string]any{"install_trust": false}}}
		apps["tls"] = map[string]any{"certificates": map[string]any{
			"load_files": []any{map[string]any{"certificate": e.pki.cert, "key": e.pki.key}},
		}}
	}
	return cfg, nil
}

// api is an upstream of one of the HTTP APIs, with its own number of requests a
// mailbox.
func (e *env) api(kind string, trust map[string]any) map[string]any {
	u := map[string]any{
		"transport": kind, "endpoint": "https://" + e.at.HTTP, "provider": providerName, "trust_pool": trust,
		"rate_per_account": "1000000/1m", "messages_per_account": "100000000/24h", "recipients_per_account": "100000000/24h",
	}
	if kind == "gmail" {
		u["userinfo_url"] = "https://" + e.at.HTTP + "/userinfo"
	}
	return u
}

// startGateway starts Caddy and waits until it serves.
func (e *env) startGateway(ctx context.Context, g gatewaySetup) (*gateway, error) {
	if e.caddy == "" {
		return nil, errors.New("there is no gateway binary")
	}
	if g.tls == "" {
		g.tls = "off"
	}
	dir, err := os.MkdirTemp(e.dir, "gateway-")
	if err != nil {
		return nil, err
	}
	smtp, err := freeport.Loopback()
	if err != nil {
		return nil, err
	}
	admin, err := freeport.Loopback()
	if err != nil {
		return nil, err
	}
	cfg, err := e.config(g, smtp, admin, dir)
	if err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(cfg, "", "\t")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "caddy.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return nil, err
	}
	env := []string{"XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "HOME=" + dir}
	binary := e.caddy
	if g.before {
		binary = e.o.before
	}
	p, err := e.start("gateway", false, env, binary, "run", "--config", path)
	if err != nil {
		return nil, err
	}
	p.more = filepath.Join(dir, "gateway.log")
	gw := &gateway{proc: p, smtp: smtp, admin: admin, keeps: g.spool == "always"}
	if err := gw.ready(ctx, g); err != nil {
		return nil, errors.Join(err, e.stop(p))
	}
	return gw, nil
}

// ready waits until the gateway answers.
func (gw *gateway) ready(ctx context.Context, g gatewaySetup) error {
	limit := time.After(30 * time.Second)
	for {
		select {
		case <-gw.done:
			return fmt.Errorf("the gateway ended: %w: %s", gw.err, gw.tail())
		case <-limit:
			return fmt.Errorf("the gateway does not answer: %s", gw.tail())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		addr := gw.smtp
		if g.bare {
			addr = gw.admin
		}
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			_ = c.Close()
			return nil
		}
	}
}

// emptied waits until nothing is kept any more.
func (gw *gateway) emptied(ctx context.Context) error {
	const most = 2 * time.Minute
	limit := time.After(most)
	for {
		var b bytes.Buffer
		if err := gw.get(ctx, "/metrics", &b); err != nil {
			return err
		}
		left := 0.0
		for line := range strings.Lines(b.String()) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), "} "); ok && strings.HasPrefix(name, "caddy_smtp_spool_messages{") {
				n, _ := strconv.ParseFloat(value, 64)
				left += n
			}
		}
		if left == 0 {
			return nil
		}
		select {
		case <-gw.done:
			return fmt.Errorf("the gateway ended: %w: %s", gw.err, gw.tail())
		case <-ctx.Done():
			return ctx.Err()
		case <-limit:
			return fmt.Errorf("the gateway keeps %.0f messages after %v: %s", left, most, gw.tail())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// memory reads the resident memory after a forced collection, in KiB.
func (gw *gateway) memory(ctx context.Context) (int64, error) {
	// Twice: what finalizers and pools let go of is collected in the second.
	for range 2 {
		if err := gw.get(ctx, "/debug/pprof/heap?gc=1", io.Discard); err != nil {
			return 0, err
		}
	}
	now, _ := system.ProcessMemory(gw.pid())
	return now, nil
}

// get reads one of the admin endpoint's pages.
func (gw *gateway) get(ctx context.Context, path string, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+gw.admin+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("gateway: GET %s: %s", path, resp.Status)
	}
	_, err = io.Copy(w, resp.Body)
	return err
}

// scrape reads the metrics at an interval, as Prometheus does, until it is
// told to stop.
func (gw *gateway) scrape(ctx context.Context, every time.Duration) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			if err := gw.get(ctx, "/metrics", io.Discard); err != nil && ctx.Err() == nil {
				done <- err
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				done <- nil
				return
			}
		}
	}()
	return func() error {
		cancel()
		return <-done
	}
}
