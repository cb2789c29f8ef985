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
	"io"
	"net/http"
	"net/smtp"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// project loads the compose file as docker compose does: interpolated,
// checked against the schema and for consistency.
func project(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{dist + "/compose.yaml"}, cli.WithName("mailgateway"), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCompose(t *testing.T) {
	p := project(t)
	img := theImage(t)
	repository, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	gateway, sandbox := p.Services["gateway"], p.Services["sandbox"]
	if sandbox.Build == nil || sandbox.Build.Context != repository || sandbox.Image != gateway.Image {
		t.Errorf("the sandbox's build is %+v, the images are %q and %q", sandbox.Build, sandbox.Image, gateway.Image)
	}
	if file := filepath.Join(sandbox.Build.Context, sandbox.Build.Dockerfile); read(t, file) != read(t, dockerfile) {
		t.Errorf("built from %s", file)
	}
	for name, s := range p.Services {
		if !s.ReadOnly || strings.Join(s.CapDrop, "") != "ALL" || len(s.SecurityOpt) == 0 || s.Privileged {
			t.Errorf("%s: read_only %t, cap_drop %v, security_opt %v", name, s.ReadOnly, s.CapDrop, s.SecurityOpt)
		}
		// With a read-only root the two directories of the image must be
		// writable by other means.
		writable := strings.Join(s.Tmpfs, " ")
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind {
				read(t, v.Source)
				if !v.ReadOnly || v.Target != img.cmd[len(img.cmd)-1] {
					t.Errorf("%s: %s is mounted at %s (read-only: %t), and the image reads %v", name, v.Source, v.Target, v.ReadOnly, img.cmd)
				}
				continue
			}
			writable += " " + v.Target
		}
		for _, dir := range img.env {
			if !strings.Contains(writable, dir) {
				t.Errorf("%s: %s is not writable", name, dir)
			}
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is published on %q: the passwords are in the repository", name, port.Published, port.HostIP)
			}
		}
	}
	if gateway.StopGracePeriod == nil || time.Duration(*gateway.StopGracePeriod) <= drainTimeout(t) {
		t.Errorf("stop_grace_period %v, and drain_timeout is %s", gateway.StopGracePeriod, drainTimeout(t))
	}
	if gateway.NetworkMode != "service:sandbox" || gateway.DependsOn["sandbox"].Condition != types.ServiceConditionHealthy {
		t.Errorf("network %q, depends_on %+v", gateway.NetworkMode, gateway.DependsOn)
	}
}

// TestComposeRuns starts both services' commands with the compose file's
// configuration, on ports that are free, and sends a message.
func TestComposeRuns(t *testing.T) {
	p := project(t)
	img := theImage(t)
	bin := binary(t)
	free := ports(t, "2525", "2580", "2587", "2465", "2019")
	text := read(t, dist+"/compose.Caddyfile")
	for port, to := range free {
		text = strings.ReplaceAll(text, "127.0.0.1:"+port, ":"+port)
		text = strings.ReplaceAll(text, ":"+port, "127.0.0.1:"+to)
	}
	text = strings.ReplaceAll(text, "http://:", "http://127.0.0.1:")
	config := write(t, filepath.Join(t.TempDir(), "Caddyfile"), text)
	words := func(command []string) []string {
		all := make([]string, len(command))
		for i, w := range command {
			switch w {
			case img.cmd[len(img.cmd)-1]:
				w = config
			case "0.0.0.0:2580":
				w = "127.0.0.1:" + free["2580"]
			}
			all[i] = w
		}
		return all
	}
	env := append(home(t.TempDir()), "CADDY_ADMIN=127.0.0.1:"+free["2019"])

	health := p.Services["sandbox"].HealthCheck.Test
	if health[0] != "CMD" || health[1] != "/usr/bin/mailgateway" {
		t.Fatalf("healthcheck %v", health)
	}
	check := func() error {
		out, err := run(t, env, bin, words(health[2:])...)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	}
	if check() == nil {
		t.Error("the sandbox's health check succeeds with no sandbox")
	}
	sandbox := start(t, home(t.TempDir()), bin, append(words(p.Services["sandbox"].Command), "--smtp", "127.0.0.1:"+free["2587"], "--smtps", "127.0.0.1:"+free["2465"])...)
	sandbox.eventually(check)

	command := p.Services["gateway"].Command
	if command == nil {
		command = img.cmd
	}
	gateway := start(t, env, bin, words(command)...)
	gateway.eventually(func() error {
		out, err := run(t, env, bin, img.healthcheck[1:]...)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	send(t, "127.0.0.1:"+free["2525"], "you@example.net")
	if got := get(t, "http://127.0.0.1:"+free["2580"]+"/messages"); !strings.Contains(got, "you@example.net") {
		t.Errorf("the sandbox has not received the message: %s", got)
	}
	gateway.stop()
	sandbox.stop()
}

// send sends a message as the account of the examples.
func send(t *testing.T, addr, recipient string) {
	t.Helper()
	auth := smtp.PlainAuth("", "demo@example.com", "demo-password", "127.0.0.1")
	err := smtp.SendMail(addr, auth, "demo@example.com", []string{recipient}, []byte("Subject: hello\r\n\r\nIt works.\r\n"))
	if err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
