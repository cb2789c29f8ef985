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
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
)

const unitFile = dist + "/mailgateway.service"

// exposure is what `systemd-analyze security` may give the unit at most, in
// tenths of its points; docs/operations.md says it.
const exposure = 15

// unit are the settings of the unit, in order.
func unit(t *testing.T) map[string][]string {
	t.Helper()
	settings := make(map[string][]string)
	for line := range strings.Lines(read(t, unitFile)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			settings[key] = append(settings[key], value)
		}
	}
	return settings
}

// TestUnitSecurity holds systemd's own score.
func TestUnitSecurity(t *testing.T) {
	out, err := run(t, nil, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold="+strconv.Itoa(exposure), unitFile)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	score := regexp.MustCompile(`exposure level for mailgateway.service: (\S+)`).FindStringSubmatch(out)
	if score == nil {
		t.Fatalf("no score:\n%s", out)
	}
	t.Logf("exposure %s", score[1])
	if page := read(t, root+"/docs/operations.md"); !strings.Contains(page, "exposure "+score[1]) {
		t.Errorf("docs/operations.md does not say exposure %s", score[1])
	}
}

func TestUnitLimits(t *testing.T) {
	u := unit(t)
	// 10,000 connections to providers and 15,000 clients, and half as many
	// again for everything else.
	if n, err := strconv.Atoi(u["LimitNOFILE"][0]); err != nil || n < 37500 {
		t.Errorf("LimitNOFILE=%s", u["LimitNOFILE"][0])
	}
	stop, err := time.ParseDuration(u["TimeoutStopSec"][0])
	if err != nil || stop <= drainTimeout(t) {
		t.Errorf("TimeoutStopSec=%s, and drain_timeout is %s", u["TimeoutStopSec"][0], drainTimeout(t))
	}
	// StartLimitBurst starts, RestartSec apart, must fit into the interval;
	// else a gateway that cannot start would be tried for ever.
	restart, err := time.ParseDuration(u["RestartSec"][0])
	if err != nil {
		t.Fatal(err)
	}
	interval, _ := strconv.Atoi(u["StartLimitIntervalSec"][0])
	burst, _ := strconv.Atoi(u["StartLimitBurst"][0])
	if u["Restart"][0] != "on-failure" || time.Duration(burst)*restart >= time.Duration(interval)*time.Second {
		t.Errorf("Restart=%s, %d starts %s apart in %d s", u["Restart"][0], burst, restart, interval)
	}
	// A port below 1024 for a user that is not root, and nothing else.
	for _, key := range []string{"AmbientCapabilities", "CapabilityBoundingSet"} {
		if strings.Join(u[key], " ") != "CAP_NET_BIND_SERVICE" {
			t.Errorf("%s=%v", key, u[key])
		}
	}
	if u["ProcSubset"] != nil {
		t.Error("ProcSubset hides /proc/sys/net/core/somaxconn")
	}
}

// TestUnitCommands holds that the unit's commands are the program's, with
// flags that it knows.
func TestUnitCommands(t *testing.T) {
	u := unit(t)
	for _, key := range []string{"ExecStartPre", "ExecStart", "ExecReload"} {
		words := strings.Fields(u[key][0])
		if words[0] != "/usr/bin/mailgateway" {
			t.Errorf("%s=%s", key, u[key][0])
		}
		help := succeed(t, nil, binary(t), words[1], "--help")
		for _, w := range words[2:] {
			if strings.HasPrefix(w, "--") && !strings.Contains(help, w) {
				t.Errorf("%s: %s has no flag %s", key, words[1], w)
			}
		}
	}
}

// TestUnitCredentials follows a secret from the package's directory into the
// configuration that docs/operations.md gives: it validates, as does the one
// that the package ships.
func TestUnitCredentials(t *testing.T) {
	const folder = "/etc/mailgateway/credentials"
	for _, script := range []string{"postinst", "rpm-postinstall", "apk-postinstall"} {
		if text := read(t, dist+"/package/"+script); !strings.Contains(text, "chown root:mailgateway "+folder) || !strings.Contains(text, "chmod 2750 "+folder) {
			t.Errorf("%s does not make %s", script, folder)
		}
	}
	// The examples name the folder so, in all three commands.
	if !strings.Contains(strings.Join(unit(t)["Environment"], " "), "CREDENTIALS_DIRECTORY="+folder) {
		t.Error("the unit does not say where secrets are")
	}
	_, section, _ := strings.Cut(read(t, root+"/docs/operations.md"), "\n## systemd\n")
	_, page, _ := strings.Cut(section, "```caddyfile\n")
	page, _, _ = strings.Cut(page, "```\n")
	names := regexp.MustCompile(`\{file\.`+folder+`/(\w+)\}`).FindAllStringSubmatch(page, -1)
	if len(names) == 0 {
		t.Fatalf("the page's configuration names no secret: %s", page)
	}
	dir := t.TempDir()
	for _, n := range names {
		write(t, filepath.Join(dir, n[1]), strings.Repeat("5c", 32))
	}
	page = strings.ReplaceAll(page, folder, dir)
	env := append(home(dir), "MS_TENANT=made-up", "MS_CLIENT_ID=made-up")
	for name, text := range map[string]string{"as shipped": read(t, root+"/Caddyfile.example"), "the page's": page} {
		config := write(t, filepath.Join(dir, "Caddyfile"), text)
		if out, err := run(t, env, binary(t), "validate", "--config", config); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// systemCalls are the names that the unit's filter allows here.
func systemCalls(t *testing.T) []string {
	t.Helper()
	info, err := arch.GetInfo("")
	if err != nil {
		t.Fatal(err)
	}
	allowed := make(map[string]bool)
	var set func(name string, on bool)
	set = func(name string, on bool) {
		if !strings.HasPrefix(name, "@") {
			allowed[name] = on
			return
		}
		out, err := exec.Command("systemd-analyze", "--no-pager", "syscall-filter", name).Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for line := range strings.Lines(string(out)) {
			line = strings.TrimSpace(line)
			if line != "" && line != name && !strings.HasPrefix(line, "#") {
				set(line, on)
			}
		}
	}
	for _, value := range unit(t)["SystemCallFilter"] {
		names, off := strings.CutPrefix(value, "~")
		for _, name := range strings.Fields(names) {
			set(name, !off)
		}
	}
	var names []string
	for name, on := range allowed {
		if _, known := info.SyscallNames[name]; on && known {
			names = append(names, name)
		}
	}
	if len(names) < 200 || allowed["mount"] || allowed["setuid"] {
		t.Fatalf("%d system calls: %v", len(names), names)
	}
	return names
}

// confined is a process that may do these system calls only, from here on:
// another one kills it.
func confined(names, command []string) {
	filter := seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionKillProcess,
			Syscalls:      []seccomp.SyscallGroup{{Action: seccomp.ActionAllow, Names: names}},
		},
	}
	os.Unsetenv("LINT_SECCOMP")
	err := seccomp.LoadFilter(filter)
	if err == nil {
		err = syscall.Exec(command[0], command, os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// TestUnitSystemCalls runs the gateway under the unit's own filter, made
// deadly: start, a message, a log that is rotated, a reload and a stop use no
// call that it refuses.
func TestUnitSystemCalls(t *testing.T) {
	names := "LINT_SECCOMP=" + strings.Join(systemCalls(t), " ")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The filter does bite: chroot is @privileged.
	if out, err := run(t, []string{names}, self, "/usr/sbin/chroot", "/", "/bin/true"); err == nil {
		t.Fatalf("the filter lets chroot pass: %s", out)
	}

	dir := t.TempDir()
	free := ports(t, "2525", "2580", "2587", "2465", "2019")
	text := sandboxOnFreePorts(read(t, root+"/Caddyfile.example"), free)
	log := filepath.Join(dir, "log", "mailgateway.log")
	write(t, log, strings.Repeat("x", 1<<20))
	text = strings.Replace(text, "{\n", "{\n\tlog {\n\t\toutput file "+log+" {\n\t\t\troll_size 1MiB\n\t\t}\n\t}\n", 1)
	config := write(t, filepath.Join(dir, "Caddyfile"), text)
	env := append(home(dir), "CADDY_ADMIN=127.0.0.1:"+free["2019"])
	bin := binary(t)
	words := func(key string) []string {
		all := strings.Fields(strings.ReplaceAll(unit(t)[key][0], "/etc/mailgateway/Caddyfile", config))
		all[0] = bin
		return all
	}
	succeed(t, append(env, names), self, words("ExecStartPre")...)
	p := start(t, append(env, names), self, words("ExecStart")...)
	p.eventually(func() error {
		out, err := run(t, env, bin, "smtp", "account", "list")
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	send(t, "127.0.0.1:"+free["2525"], "you@example.net")
	succeed(t, append(env, names), self, words("ExecReload")...)
	send(t, "127.0.0.1:"+free["2525"], "me@example.net")
	if got := get(t, "http://127.0.0.1:"+free["2580"]+"/messages"); !strings.Contains(got, "me@example.net") {
		t.Errorf("the sandbox has not received the message: %s", got)
	}
	p.stop()
	rotated, err := filepath.Glob(filepath.Join(dir, "log", "mailgateway-*"))
	if err != nil || len(rotated) == 0 {
		t.Errorf("no log was rotated (%v)", err)
	}
}
