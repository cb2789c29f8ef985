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
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// playbooks is the folder with the Ansible role.
const playbooks = dist + "/ansible"

// TestAnsibleLint holds what ansible-lint asks of a role for production.
func TestAnsibleLint(t *testing.T) {
	succeed(t, []string{"ANSIBLE_HOME=" + t.TempDir()}, "ansible-lint", "--offline", "--nocolor", "--strict", "--profile", "production",
		playbooks+"/site.yml", playbooks+"/roles/mailgateway")
}

// TestAnsibleOptions holds that the same options stand in the role's defaults,
// in what judges them, and in the table for people.
func TestAnsibleOptions(t *testing.T) {
	names := func(path, pattern string) map[string]bool {
		found := make(map[string]bool)
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(read(t, playbooks+path), -1) {
			found[m[1]] = true
		}
		return found
	}
	defaults := names("/roles/mailgateway/defaults/main.yml", `(?m)^(mailgateway_\w+):`)
	if len(defaults) < 8 {
		t.Fatalf("only %v", defaults)
	}
	for path, pattern := range map[string]string{
		"/roles/mailgateway/meta/argument_specs.yml": `(?m)^      (mailgateway_\w+):$`,
		"/README.md": "(?m)^\\| `(mailgateway_\\w+)` \\|",
	} {
		if got := names(path, pattern); fmt.Sprint(got) != fmt.Sprint(defaults) {
			t.Errorf("%s has %v, the defaults are %v", path, got, defaults)
		}
	}
}

// play is a controller and the machine that it sets up.
type play struct {
	*machine
	inventory, config string
	vars              map[string]any
}

func newPlay(t *testing.T) *play {
	t.Helper()
	p := &play{machine: boot(t)}
	dir := t.TempDir()
	// Ansible's SSH without a network: the command is the last argument.
	ssh := write(t, dir+"/ssh", "#!/bin/sh\nfor command; do :; done\nexec "+strings.Join(p.enter(), " ")+" sh -c \"$command\"\n")
	succeed(t, nil, "chmod", "755", ssh)
	p.inventory = write(t, dir+"/inventory", "machine ansible_ssh_executable="+ssh+" ansible_python_interpreter=/usr/bin/python3\n")
	p.config = write(t, dir+"/ansible.cfg", fmt.Sprintf(`[defaults]
home = %s
roles_path = %s
nocows = true
localhost_warning = false
[ssh_connection]
pipelining = true
transfer_method = piped
ssh_args =
`, dir, absolute(t, playbooks+"/roles")))
	write(t, dir+"/site.yml", "- hosts: all\n  gather_subset: [min, service_mgr]\n  roles: [mailgateway]\n")
	return p
}

// run runs the playbook and returns what Ansible says.
func (p *play) run(args ...string) (string, error) {
	p.t.Helper()
	vars, err := json.Marshal(p.vars)
	if err != nil {
		p.t.Fatal(err)
	}
	dir := filepath.Dir(p.config)
	file := write(p.t, dir+"/vars.json", string(vars))
	return run(p.t, []string{"ANSIBLE_CONFIG=" + p.config, "LC_ALL=C.UTF-8"}, "ansible-playbook",
		append([]string{"-i", p.inventory, "--extra-vars", "@" + file, dir + "/site.yml"}, args...)...)
}

var recap = regexp.MustCompile(`(?m)^machine\s+: ok=\d+\s+changed=(\d+)\s+unreachable=0\s+failed=0 `)

// changes runs the playbook, which has to succeed, and returns how many things
// it changed, and what it said.
func (p *play) changes(args ...string) (string, string) {
	p.t.Helper()
	out, err := p.run(args...)
	m := recap.FindStringSubmatch(out)
	if err != nil || m == nil {
		log, _ := p.try("journalctl --no-pager -n 40 -u mailgateway 2>&1")
		p.t.Fatalf("%v\n%s\n%s", err, out, log)
	}
	return m[1], out
}

// The example's configuration with a secret and a variable, and what they hold:
// every character that the two readers of variables, systemd and the shell, treat alone.
const (
	sandboxSecret = "sandbox-secret"
	odd           = `a"b\c$d` + "`e f%g'h#i\\$j"
)

func (p *play) configure() {
	p.t.Helper()
	p.vars = map[string]any{
		"mailgateway_caddyfile": strings.NewReplacer("client_secret sandbox-secret", "client_secret {file./etc/mailgateway/credentials/sandbox}",
			"client_id sandbox", "client_id {env.SANDBOX_ID}").Replace(read(p.t, root+"/Caddyfile.example")),
		"mailgateway_credentials": map[string]string{"sandbox": sandboxSecret},
		"mailgateway_environment": map[string]string{"SANDBOX_ID": "sandbox", "ODD": odd},
	}
}

// TestAnsiblePackage plays the role against a machine with systemd, from
// nothing to an upgrade.
func TestAnsiblePackage(t *testing.T) {
	t.Parallel()
	p := newPlay(t)
	p.configure()
	p.vars["mailgateway_source"] = deb(t, "0.0.1")

	p.changes("--check")
	if out, err := p.try("ls -d /etc/mailgateway /usr/bin/mailgateway /var/cache/mailgateway"); err == nil {
		t.Fatalf("--check has made %s", out)
	}
	if n, out := p.changes(); n == "0" {
		t.Fatalf("nothing changed:\n%s", out)
	}
	if n := p.mail(); n != 1 {
		t.Fatalf("%d messages arrived", n)
	}
	pid := p.main()
	if got := p.sh("stat -c '%a %U:%G %n' /etc/mailgateway/credentials /etc/mailgateway/credentials/sandbox /etc/mailgateway/environment /etc/mailgateway/Caddyfile"); got !=
		"2750 root:mailgateway /etc/mailgateway/credentials\n640 root:mailgateway /etc/mailgateway/credentials/sandbox\n600 root:root /etc/mailgateway/environment\n640 root:mailgateway /etc/mailgateway/Caddyfile" {
		t.Errorf("files are\n%s", got)
	}
	if got := p.sh("systemctl is-enabled mailgateway"); got != "enabled" {
		t.Errorf("the service is %s", got)
	}
	if env := p.sh(fmt.Sprintf("tr '\\0' '\\n' </proc/%d/environ", pid)); !strings.Contains(env, "\nODD="+odd+"\n") {
		t.Errorf("the variable arrived as\n%s", env)
	}

	// With everything that Ansible can be asked to print.
	n, out := p.changes("-vvv", "--diff")
	if n != "0" {
		t.Errorf("a second run changes %s things:\n%s", n, out)
	}
	for _, secret := range []string{sandboxSecret, "e f%g"} {
		if strings.Contains(out, secret) {
			t.Errorf("Ansible shows %q", secret)
		}
	}

	// What only the configuration says is loaded; the process stays.
	p.vars["mailgateway_caddyfile"] = strings.Replace(p.vars["mailgateway_caddyfile"].(string), "hostname localhost", "hostname gateway.example.com", 1)
	if n, out := p.changes(); n != "2" { // the file and the handler
		t.Errorf("%s changes:\n%s", n, out)
	}
	if got := p.sh("exec 3<>/dev/tcp/127.0.0.1/2525; read -r greeting <&3; echo \"$greeting\""); !strings.HasPrefix(got, "220 gateway.example.com ") || p.main() != pid {
		t.Errorf("greeting %q of process %d, was %d", got, p.main(), pid)
	}

	// One that does not load is refused, and what runs stays as it is.
	good := p.vars["mailgateway_caddyfile"].(string)
	before := p.sh("sha256sum /etc/mailgateway/Caddyfile")
	p.vars["mailgateway_caddyfile"] = strings.Replace(good, "credentials/sandbox", "credentials/other", 1)
	if out, err := p.run(); err == nil || !strings.Contains(out, "credentials/other") || strings.Contains(out, sandboxSecret) {
		t.Errorf("a secret that is not there: %v\n%s", err, out)
	}
	if p.sh("sha256sum /etc/mailgateway/Caddyfile") != before || p.main() != pid {
		t.Error("a configuration that does not load was put in place")
	}

	// Another version and another secret: a new process, and what it has stays.
	p.vars["mailgateway_caddyfile"] = good
	p.vars["mailgateway_source"] = deb(t, "0.0.2")
	p.vars["mailgateway_environment"] = map[string]string{"SANDBOX_ID": "sandbox", "ODD": "other"}
	p.changes()
	if got := p.sh("mailgateway version"); !strings.HasPrefix(got, "mailgateway-0.0.2 ") {
		t.Errorf("version %s", got)
	}
	if p.main() == pid || p.mail() != 1 {
		t.Error("the old process runs")
	}
	if n, out := p.changes(); n != "0" {
		t.Errorf("a second run changes %s things:\n%s", n, out)
	}
	p.vars["mailgateway_state"], p.vars["mailgateway_enabled"] = "stopped", false
	p.changes()
	if out, err := p.try("systemctl is-active mailgateway || systemctl is-enabled mailgateway"); err == nil {
		t.Errorf("the service is %s", out)
	}
}

// TestAnsibleArchive has the role take the archive, with the sandbox.
func TestAnsibleArchive(t *testing.T) {
	t.Parallel()
	p := newPlay(t)
	p.vars = map[string]any{
		"mailgateway_method": "archive",
		"mailgateway_source": filepath.Join(releases(t), "mailgateway_0.0.1_linux_"+runtime.GOARCH+".tar.gz"),
	}
	p.changes("--check")
	p.changes()
	if n := p.mail(); n != 1 {
		t.Fatalf("%d messages arrived", n)
	}
	pid := p.main()
	if n, out := p.changes(); n != "0" || p.main() != pid {
		t.Errorf("a second run changes %s things:\n%s", n, out)
	}
}
