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

package lint

import (
	"bufio"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestProbesWithoutDatabase runs the commands of the chart's probes, and of the
// image's health check, against a gateway whose PostgreSQL stops answering, is
// killed, and comes back: nobody has it restarted, and it gets no clients only
// while it would refuse their mail. A session lives through all of it.
func TestProbesWithoutDatabase(t *testing.T) {
	container := kubernetes(t, "nodes").deployment.Spec.Template.Spec.Containers[0]
	db := startPostgres(t)
	dir := t.TempDir()
	free := ports(t, "2525", "2580", "2587", "2465", "2019")
	text := sandboxOnFreePorts(kubernetes(t, "default").config.Data["Caddyfile"], free)
	text = strings.Replace(text, "skip_install_trust", "skip_install_trust\n\tstorage postgres "+db.dsn, 1)
	text = strings.Replace(text, "smtp_upstreams {", "smtp_upstreams {\n\t\tlimits postgres "+db.dsn+" {\n\t\t\tlease 5s\n\t\t\tgrace 1s\n\t\t}", 1)
	text = strings.Replace(text, "accounts {", "accounts {\n\t\t\tdynamic {\n\t\t\t\tencryption_key AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\t\t\t}", 1)
	config := write(t, filepath.Join(dir, "Caddyfile"), text)
	env := append(home(dir), "CADDY_ADMIN=127.0.0.1:"+free["2019"])
	bin := binary(t)
	gateway := start(t, env, bin, "run", "--config", config)

	alive := func(when string) {
		t.Helper()
		for name, command := range map[string][]string{
			"liveness": container.LivenessProbe.Exec.Command, "startup": container.StartupProbe.Exec.Command, "HEALTHCHECK": theImage(t).healthcheck,
		} {
			if out, err := run(t, env, bin, command[1:]...); err != nil {
				t.Fatalf("%s: %s would have the gateway restarted: %v\n%s", when, name, err, out)
			}
		}
	}
	ready := func() error {
		out, err := run(t, env, bin, container.ReadinessProbe.Exec.Command[1:]...)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	notReady := func(want string) func() error {
		return func() error {
			if err := ready(); err == nil || !strings.Contains(err.Error(), want) {
				return fmt.Errorf("the readiness probe says %v, want %q", err, want)
			}
			return nil
		}
	}
	gateway.eventually(ready)
	alive("at first")
	session := login(t, "127.0.0.1:"+free["2525"])
	session.send("250")

	db.signal(syscall.SIGSTOP)
	alive("the database has just stopped")
	if err := ready(); err != nil {
		t.Errorf("within the lease: %v", err)
	}
	session.send("250")
	gateway.eventually(notReady("lease"))
	alive("the lease is over")
	session.send("451")
	db.signal(syscall.SIGCONT)
	gateway.eventually(ready)
	session.send("250")

	db.stop()
	gateway.eventually(notReady("lease"))
	alive("the database was killed")
	session.send("451")
	db.start()
	gateway.eventually(ready)
	session.send("250")

	succeed(t, env, bin, "smtp", "node", "drain", "--timeout", "30s")
	alive("drained")
	if err := notReady("out of service")(); err != nil {
		t.Error(err)
	}
	succeed(t, env, bin, "smtp", "node", "resume")
	if err := ready(); err != nil {
		t.Errorf("resumed: %v", err)
	}
	gateway.stop()
}

// client is a session that is logged in.
type client struct {
	t    *testing.T
	conn *textproto.Conn
}

func login(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(3 * time.Minute))
	c := &client{t, textproto.NewConn(conn)}
	c.expect("220")
	c.say("250", "EHLO client.example")
	c.say("235", "AUTH PLAIN AGRlbW9AZXhhbXBsZS5jb20AZGVtby1wYXNzd29yZA==") // demo@example.com, demo-password
	return c
}

func (c *client) expect(code string) string {
	c.t.Helper()
	for {
		line, err := c.conn.ReadLine()
		if err != nil {
			c.t.Fatalf("the session has ended: %v", err)
		}
		if len(line) < 4 || line[3] != '-' {
			if code != "" && !strings.HasPrefix(line, code) {
				c.t.Fatalf("want %s, heard %s", code, line)
			}
			return line
		}
	}
}

func (c *client) say(code, line string) string {
	c.t.Helper()
	if err := c.conn.PrintfLine("%s", line); err != nil {
		c.t.Fatal(err)
	}
	return c.expect(code)
}

// send sends a message, and expects what is said of it: at its end, or sooner.
func (c *client) send(code string) {
	c.t.Helper()
	for _, step := range [][2]string{{"MAIL FROM:<demo@example.com>", "250"}, {"RCPT TO:<you@example.net>", "250"}, {"DATA", "354"}} {
		reply := c.say("", step[0])
		if strings.HasPrefix(reply, code) && code != step[1] {
			c.say("250", "RSET")
			return
		}
		if !strings.HasPrefix(reply, step[1]) {
			c.t.Fatalf("%s: want %s, heard %s", step[0], code, reply)
		}
	}
	c.say(code, "Subject: hello\r\n\r\nIt works.\r\n.")
}

// postgres is a real database server.
type postgres struct {
	t       *testing.T
	bin     string
	data    string
	port    string
	dsn     string
	as      *syscall.Credential
	process *process
}

func startPostgres(t *testing.T) *postgres {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		t.Fatal("there is no PostgreSQL; .ci/run packages installs it")
	}
	dir, err := os.MkdirTemp("", "lint-postgres")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	db := &postgres{t: t, bin: filepath.Dir(found[len(found)-1]), data: filepath.Join(dir, "data"), port: ports(t, "5432")["5432"]}
	db.dsn = "postgres://gateway@127.0.0.1:" + db.port + "/postgres?sslmode=disable"
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		db.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
	}
	initdb := exec.Command(db.bin+"/initdb", "--username", "gateway", "--auth", "trust", "--no-sync", "--pgdata", db.data)
	initdb.Dir, initdb.SysProcAttr = dir, &syscall.SysProcAttr{Credential: db.as}
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	db.start()
	return db
}

func (db *postgres) start() {
	db.t.Helper()
	cmd := exec.Command(db.bin+"/postgres", "-D", db.data, "-p", db.port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off")
	cmd.Dir, cmd.SysProcAttr = filepath.Dir(db.data), &syscall.SysProcAttr{Credential: db.as}
	db.process = &process{t: db.t, cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &db.process.out, &db.process.out
	if err := cmd.Start(); err != nil {
		db.t.Fatal(err)
	}
	p := db.process
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	db.t.Cleanup(func() { db.end(p) })
	p.eventually(func() error {
		out, err := exec.Command(db.bin+"/pg_isready", "-h", "127.0.0.1", "-p", db.port).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
}

// stop is PostgreSQL's immediate shutdown: as a crash, but for its other processes,
// which end with it.
func (db *postgres) stop() { db.end(db.process) }

func (db *postgres) end(p *process) {
	select {
	case <-p.done:
		return
	default:
	}
	db.signal(syscall.SIGCONT)
	_ = p.cmd.Process.Signal(syscall.SIGQUIT)
	<-p.done
}

// signal signals the server and all of its processes.
func (db *postgres) signal(sig syscall.Signal) {
	pid := db.process.cmd.Process.Pid
	_ = syscall.Kill(pid, sig)
	f, err := os.Open(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return
	}
	defer f.Close()
	words := bufio.NewScanner(f)
	words.Split(bufio.ScanWords)
	for words.Scan() {
		if child, err := strconv.Atoi(words.Text()); err == nil {
			_ = syscall.Kill(child, sig)
		}
	}
}
