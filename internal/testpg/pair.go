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

package testpg

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddymail/mailgateway/internal/freeport"
)

// Pair is a primary and its synchronous standby.
type Pair struct{ Primary, Standby *Server }

// StartPair runs a pair: the primary acknowledges nothing that the standby has not
// written.
func StartPair(tb testing.TB) *Pair {
	tb.Helper()
	one := create(tb)
	one.options += " -c synchronous_standby_names=*"
	one.guard()
	addr, err := freeport.Loopback()
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	two := &Server{tb: tb, bin: one.bin, data: filepath.Join(dir, "data"), addr: addr}
	if os.Getuid() == 0 {
		two.as = owner(tb, dir)
	}
	host, port, _ := net.SplitHostPort(one.addr)
	two.run("pg_basebackup", "--host", host, "--port", port, "--username", "gateway", "--pgdata", two.data,
		"--write-recovery-conf", "--wal-method", "stream", "--checkpoint", "fast", "--no-sync")
	two.guard()
	return &Pair{Primary: one, Standby: two}
}

// DSN names both servers, and has clients find the one that writes.
func (p *Pair) DSN() string {
	return "postgres://gateway@" + p.Primary.addr + "," + p.Standby.addr + "/postgres?sslmode=disable&target_session_attrs=read-write"
}

// Failover kills the primary, by kill -9, and promotes the standby.
func (p *Pair) Failover() {
	p.Primary.tb.Helper()
	p.Crash()
	p.Promote()
}

// Crash kills the primary, by kill -9.
func (p *Pair) Crash() {
	p.Primary.tb.Helper()
	crash(p.Primary.tb, p.Primary.data)
}

// Promote makes the standby a primary, whether the old one lives or not.
func (p *Pair) Promote() {
	p.Primary.tb.Helper()
	p.Standby.run("pg_ctl", "--pgdata", p.Standby.data, "--wait", "--timeout", "60", "promote")
}
