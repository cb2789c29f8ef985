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
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/internal/freeport"
	"github.com/caddymail/mailgateway/internal/testproc"
)

// StartPooler starts PgBouncer in transaction mode in front of a server, with fewer
// connections than a gateway has, and returns the DSN that a gateway is to be given.
func StartPooler(tb testing.TB, s *Server) (dsn string) {
	tb.Helper()
	bin, err := exec.LookPath("pgbouncer")
	if err != nil {
		if bin = "/usr/sbin/pgbouncer"; !there(bin) {
			if os.Getenv("MAILGATEWAY_INTEROP") != "" {
				tb.Fatal("PgBouncer is missing: apt-get install pgbouncer")
			}
			tb.Skip("PgBouncer is not installed")
		}
	}
	addr, err := freeport.Loopback()
	if err != nil {
		tb.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr)
	_, behind, _ := net.SplitHostPort(s.addr)
	dir := tb.TempDir()
	if os.Getuid() == 0 {
		owner(tb, dir)
	}
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
		if s.as != nil {
			give(tb, file, s.as)
		}
		return file
	}
	users := write("users", `"gateway" ""`+"\n")
	config := write("pgbouncer.ini", fmt.Sprintf(`[databases]
* = host=127.0.0.1 port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = transaction
default_pool_size = 3
server_round_robin = 1
`, behind, port, users))
	log, err := os.Create(filepath.Join(tb.TempDir(), "log")) //nolint:gosec // a test's directory
	if err != nil {
		tb.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(bin, config) //nolint:gosec // a test's arguments
	cmd.Dir, cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = dir, s.as, log, log
	ended := testproc.Start(tb, cmd)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
			return "postgres://gateway@" + addr + "/postgres?sslmode=disable&default_query_exec_mode=exec"
		}
		select {
		case <-ended:
			deadline = time.Time{}
		default:
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			tb.Fatalf("PgBouncer: %v\n%s", err, text)
		}
	}
}

func there(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
