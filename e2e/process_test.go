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

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/internal/testproc"
	"github.com/caddymail/mailgateway/sandbox"
)

var buildOnce = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "mailgateway-bin")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "mailgateway")
	out, err := exec.Command("go", "build", "-o", bin, "../xcaddy").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building ../xcaddy: %w\n%s", err, out)
	}
	return bin, nil
})

// process is the gateway as its own process, as it runs in earnest.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	out  lockedBuffer
	dir  string
	done chan struct{}
	err  error
}

// lockedBuffer collects what the process prints.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// newProcessWorld is newWorld with the gateway in a process of its own, which
// the caller starts.
func newProcessWorld(t testing.TB, opts ...option) *world {
	t.Helper()
	w := buildWorld(t, opts...)
	t.Cleanup(func() { w.sandbox.Close() })
	return w
}

// run starts the gateway and waits until its server greets.
func (w *world) run(env ...string) *process {
	w.t.Helper()
	build := w.build
	if build == nil {
		build = buildOnce
	}
	bin, err := build()
	if err != nil {
		w.t.Fatal(err)
	}
	p := &process{t: w.t, dir: w.t.TempDir(), done: make(chan struct{})}
	config := filepath.Join(p.dir, "config.json")
	if err := os.WriteFile(config, w.json(), 0o600); err != nil {
		w.t.Fatal(err)
	}
	p.cmd = exec.Command(bin, "run", "--config", config)
	p.cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+p.dir, "XDG_CONFIG_HOME="+p.dir, "GOTRACEBACK=all")
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	release := testproc.Kill(w.t, p.cmd.Process)
	go func() {
		p.err = p.cmd.Wait()
		release()
		close(p.done)
	}()
	w.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
	})
	for {
		conn, err := net.Dial("tcp", w.addr)
		if err == nil {
			_, err = textproto.NewConn(conn).ReadLine()
			conn.Close()
			if err == nil {
				return p
			}
		}
		select {
		case <-p.done:
			w.t.Fatalf("the gateway ended at once: %v\n%s", p.err, p.out.String())
		case <-time.After(20 * time.Millisecond): // a port that opens gives no other sign
		}
	}
}

func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) wait() error {
	p.t.Helper()
	select {
	case <-p.done:
		return p.err
	case <-time.After(60 * time.Second):
		p.t.Fatalf("the gateway does not end:\n%s", p.out.String())
		return nil
	}
}

// TestKilledUnderLoad: kill -9 at any moment, and every 250 that a client
// saw is a message at the provider; nothing is there twice beyond what was
// in flight.
func TestKilledUnderLoad(t *testing.T) {
	w := newProcessWorld(t, withUpstream("max_conns_per_account", 8))
	for round := range 3 {
		p := w.run()
		before := w.sandbox.MessageCount()
		const clients = 8
		var (
			wg       sync.WaitGroup
			mu       sync.Mutex
			accepted int
		)
		reached := make(chan struct{})
		for range clients {
			wg.Go(func() {
				c, err := textproto.Dial("tcp", w.addr)
				if err != nil {
					return
				}
				defer c.Close()
				if _, _, err := c.ReadResponse(220); err != nil {
					return
				}
				if tryCommand(c, 250, "EHLO client.test") != nil || tryCommand(c, 235, "AUTH PLAIN "+plain(testUser, testPassword)) != nil {
					return
				}
				for n := 0; tryMessage(c, testUser, n) == nil; n++ {
					mu.Lock()
					accepted++
					if accepted == 100+50*round {
						close(reached)
					}
					mu.Unlock()
				}
			})
		}
		select {
		case <-reached:
		case <-p.done:
			t.Fatalf("the gateway ended early: %v", p.err)
		}
		p.signal(syscall.SIGKILL)
		_ = p.wait()
		wg.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		if err := w.sandbox.WaitNoConns(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		got := int(w.sandbox.MessageCount() - before)
		if got < accepted || got > accepted+clients {
			t.Errorf("round %d: the provider holds %d messages, the clients saw %d accepted with %d in flight", round, got, accepted, clients)
		}
	}
}

// TestTerminated: at SIGTERM the transaction in flight finishes, an idle
// client hears 421, and the process ends with status 0.
func TestTerminated(t *testing.T) {
	accessLog := filepath.Join(t.TempDir(), "access.log")
	w := newProcessWorld(t, func(w *world, _ *sandbox.App) {
		w.config["logging"] = object{"logs": object{"default": object{"level": "ERROR"}, "access": object{
			"include": []string{"smtp.log.access"},
			"writer":  object{"output": "buffered", "flush_interval": "1h", "writer": object{"output": "file", "filename": accessLog}},
		}}}
	})
	p := w.run()
	idle := w.login()
	busy := w.login()
	busy.cmd("MAIL FROM:<"+testUser+">", 250)
	busy.cmd("RCPT TO:<someone@example.net>", 250)
	busy.cmd("DATA", 354)
	busy.write("Subject: last\r\n")
	p.signal(syscall.SIGTERM)
	if rep := idle.expect(421); !strings.HasPrefix(rep.lines[0], "4.3.2 ") {
		t.Errorf("the idle client heard %q", rep)
	}
	busy.write("\r\nbye\r\n.\r\n")
	busy.expect(250)
	if err := p.wait(); err != nil {
		t.Errorf("exit: %v\n%s", err, p.out.String())
	}
	all := w.sandbox.Messages()
	if len(all) != 1 || all[0].SHA256 != digest([]byte("Subject: last\r\n\r\nbye\r\n")) {
		t.Errorf("the provider holds %d messages, want the one in flight, whole", len(all))
	}
	// What the log had gathered is written before the end.
	if b, err := os.ReadFile(accessLog); err != nil || strings.Count(string(b), "\n") != 1 || !strings.Contains(string(b), `"code":250`) {
		t.Errorf("access log: %v\n%s", err, b)
	}
}

// TestNoSecretGetsOut plants marked secrets and looks for them in all that
// the process says, in success, failure, at debug level and when it aborts.
func TestNoSecretGetsOut(t *testing.T) {
	secrets := map[string]string{
		"client secret":     "mark-client-secret-4711",
		"refresh token":     "mark-refresh-token-4712",
		"account password":  "mark-password-4713",
		"wrong password":    "mark-wrong-password-4714",
		"upstream password": "mark-upstream-secret-4715",
		"bad refresh token": "mark-bad-refresh-token-4717",
		"sealing key":       "bWFyay1zZWFsaW5nLWtleS00NzE4LTEyMzQ1Njc4OTA=",
	}
	admin := freeAddr(t)
	dir := t.TempDir()
	secretFile := filepath.Join(dir, "client-secret")
	if err := os.WriteFile(secretFile, []byte(secrets["client secret"]), 0o600); err != nil {
		t.Fatal(err)
	}
	hash := digest([]byte(secrets["account password"]))
	record := func(name, token string) object {
		r := account(name, name)
		r["refresh_token"] = token
		r["password_hashes"] = []string{"sha256:" + hash}
		return r
	}
	accountsFile := filepath.Join(dir, "accounts.jsonl")
	lines := ""
	for _, r := range []object{
		record("good@example.com", secrets["refresh token"]),
		record("revoked@example.com", secrets["bad refresh token"]),
	} {
		lines += string(mustJSON(t, r)) + "\n"
	}
	plainRecord := record("plain@example.com", "")
	delete(plainRecord, "refresh_token")
	plainRecord["upstream"], plainRecord["secret"] = "plain", secrets["upstream password"]
	lines += string(mustJSON(t, plainRecord)) + "\n"
	if err := os.WriteFile(accountsFile, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newProcessWorld(t,
		withSandbox(func(sb *sandbox.App) {
			sb.Clients = map[string]string{"sandbox": secrets["client secret"]}
			sb.Mailboxes = map[string]string{"good@example.com": secrets["refresh token"]}
			sb.Password = secrets["upstream password"]
		}),
		func(w *world, _ *sandbox.App) {
			w.config["admin"] = object{"listen": admin}
			w.config["logging"] = object{"logs": object{"default": object{"level": "DEBUG"}}}
			app := w.app("oauth_tokens")
			app["store"] = object{"store": "storage", "encryption_keys": []string{"{env.SEALING_KEY}"}}
			app["providers"].(object)["sandbox"].(object)["client_secret"] = "{file." + secretFile + "}"
			w.app("smtp")["accounts"] = []any{object{"source": "file", "path": accountsFile}}
			upstreams := w.app("smtp_upstreams")["upstreams"].(object)
			upstreams["plain"] = object{
				"auth": object{"mechanism": "plain"},
				"tls":  upstreams["sandbox"].(object)["tls"],
			}
		})
	upstreams := w.app("smtp_upstreams")["upstreams"].(object)
	upstreams["plain"].(object)["dial"] = w.sandbox.SMTPAddr()
	p := w.run("SEALING_KEY=" + secrets["sealing key"])

	for _, user := range []string{"good@example.com", "plain@example.com", "revoked@example.com"} {
		c := w.dial()
		c.cmd("AUTH PLAIN "+plain(user, secrets["account password"]), 235)
		c.cmd("MAIL FROM:<"+user+">", 250)
		c.write("RCPT TO:<someone@example.net>\r\n")
		rep, err := c.readReply()
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{true: 454, false: 250}[user == "revoked@example.com"]; rep.code != want {
			t.Fatalf("%s: RCPT was answered %q, want %d", user, rep, want)
		}
		if rep.code == 250 {
			if rep := c.data([]byte("x\r\n")); rep.code != 250 {
				t.Fatalf("%s: final reply %q", user, rep)
			}
		}
	}
	c := w.dial()
	c.cmd("AUTH PLAIN "+plain("good@example.com", secrets["wrong password"]), 535)
	c.cmd("AUTH LOGIN", 334)
	c.write(secrets["wrong password"] + "\r\n")
	_, _ = c.readReply()
	// A client that sends its password where a command belongs.
	c2 := w.dial()
	c2.write(plain("good@example.com", secrets["wrong password"]) + "\r\n")
	_, _ = c2.readReply()

	said := map[string]string{}
	for _, path := range []string{
		"/config/", "/metrics", "/smtp/accounts", "/smtp/accounts/good@example.com", "/smtp/accounts/revoked@example.com",
		"/smtp/accounts/plain@example.com", "/smtp/upstreams", "/smtp/sessions", "/oauth_tokens",
	} {
		said[path] = get(t, "http://"+admin+path)
	}
	p.signal(syscall.SIGABRT)
	if err := p.wait(); err == nil {
		t.Error("the aborted process ended with status 0")
	}
	said["log and traceback"] = p.out.String()
	if !strings.Contains(said["log and traceback"], "goroutine ") {
		t.Error("no traceback in the output")
	}
	cmdline := strings.Join(p.cmd.Args, " ")
	said["arguments"] = cmdline
	err := filepath.WalkDir(p.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		said["file "+strings.TrimPrefix(path, p.dir)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	root := w.config["storage"].(object)["root"].(string)
	stored := 0
	err = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		said["storage "+strings.TrimPrefix(path, root)] = string(b)
		stored++
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if stored == 0 {
		t.Error("nothing was stored, so the test shows nothing of the store")
	}
	for where, text := range said {
		for what, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("the %s stands in %s: %s", what, where, around(text, secret))
			}
		}
		if strings.Contains(text, plain("good@example.com", secrets["account password"])) {
			t.Errorf("an AUTH response stands in %s", where)
		}
	}
}

func around(text, secret string) string {
	i := strings.Index(text, secret)
	return text[max(0, i-120):min(len(text), i+len(secret)+20)]
}

func get(t testing.TB, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %s", url, resp.Status, b.String())
	}
	return b.String()
}
