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

// Package testpg runs PostgreSQL servers for tests. It imports nothing of ours
// but freeport and testproc, and nothing outlives the test, not even one that is killed: a
// watchdog outside of it ends the server then.
package testpg

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/caddymail/mailgateway/internal/freeport"
	"github.com/caddymail/mailgateway/internal/testproc"
)

// Server is a PostgreSQL server of the test's own, on loopback.
type Server struct {
	tb        testing.TB
	bin, data string
	addr      string
	as        *syscall.SysProcAttr
	options   string // of the server, beside those that every one has
}

// Start runs a server. Where PostgreSQL is not installed the test is skipped, and
// fails where everything has to be there.
func Start(tb testing.TB) *Server {
	tb.Helper()
	s := create(tb)
	s.guard()
	return s
}

// StartTLS runs a server that is reached by TLS alone. The chain and the key are in
// PEM.
func StartTLS(tb testing.TB, chain, key []byte) *Server {
	tb.Helper()
	s := create(tb)
	s.write("server.crt", chain)
	s.write("server.key", key)
	s.write("pg_hba.conf", []byte("hostssl all gateway 127.0.0.1/32 trust\n"))
	s.options += " -c ssl=on"
	s.guard()
	return s
}

// create makes the files of a server.
func create(tb testing.TB) *Server {
	tb.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(found) == 0 {
		if os.Getenv("MAILGATEWAY_INTEROP") != "" {
			tb.Fatal("PostgreSQL is missing: apt-get install postgresql")
		}
		tb.Skip("PostgreSQL is not installed")
	}
	addr, err := freeport.Loopback()
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	s := &Server{tb: tb, bin: found[len(found)-1], data: filepath.Join(dir, "data"), addr: addr}
	if os.Getuid() == 0 {
		s.as = owner(tb, dir)
	}
	s.run("initdb", "--pgdata", s.data, "--username", "gateway", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	return s
}

// write makes a file of the server's, which nothing else may read.
func (s *Server) write(name string, b []byte) {
	s.tb.Helper()
	file := filepath.Join(s.data, name)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		s.tb.Fatal(err)
	}
	if s.as != nil {
		give(s.tb, file, s.as)
	}
}

// guard has the server end with the test, however that ends, and starts it.
func (s *Server) guard() {
	s.tb.Helper()
	release := testproc.Watch(s.tb, watchdog, filepath.Dir(s.data), s.data)
	s.tb.Cleanup(func() {
		_ = s.cmd("pg_ctl", "--pgdata", s.data, "--mode", "immediate", "--wait", "stop").Run()
		release()
	})
	s.Up()
}

// Addr is the server's address.
func (s *Server) Addr() string { return s.addr }

// DSN is where the server is.
func (s *Server) DSN() string { return "postgres://gateway@" + s.addr + "/postgres?sslmode=disable" }

// Up runs the server again and waits until it answers.
func (s *Server) Up() {
	s.tb.Helper()
	_, port, _ := net.SplitHostPort(s.addr)
	s.run("pg_ctl", "--pgdata", s.data, "--wait", "--timeout", "60", "--log", filepath.Join(filepath.Dir(s.data), "log"),
		"--options", "-c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=50 -p "+port+s.options, "start")
}

// Kill ends the server as a crash does: nothing is written any more.
func (s *Server) Kill() {
	s.tb.Helper()
	s.run("pg_ctl", "--pgdata", s.data, "--mode", "immediate", "--wait", "stop")
}

func (s *Server) cmd(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...) //nolint:gosec // a test's arguments
	cmd.Dir = filepath.Dir(s.data)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = s.as
	return cmd
}

func (s *Server) run(name string, args ...string) {
	s.tb.Helper()
	cmd := s.cmd(name, args...)
	// A file, no pipe: the server inherits it and would hold a pipe open.
	log, err := os.CreateTemp(s.tb.TempDir(), name)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(log.Name())
		s.tb.Fatalf("%s: %v\n%s", name, err, text)
	}
}
