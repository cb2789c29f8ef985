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

package service

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/internal/winservice"
)

// oneService is a system with the service's state, which cannot be changed.
type oneService struct {
	winservice.System
	state winservice.State
	err   error
}

func (s oneService) Query(string) (winservice.State, error) { return s.state, s.err }

func runService(t *testing.T, sys winservice.System, args ...string) (string, error) {
	t.Helper()
	was := openServices
	t.Cleanup(func() { openServices = was })
	openServices = func() (winservice.System, error) { return sys, nil }
	cmd := &cobra.Command{Use: "smtp", SilenceErrors: true}
	cmd.PersistentFlags().Bool("json", false, "")
	cmd.AddCommand(Command())
	var out strings.Builder
	cmd.SetOut(&out)
	cmd.SetArgs(append([]string{"service"}, args...))
	err := cmd.Execute()
	return out.String(), err
}

func TestServiceStatus(t *testing.T) {
	sys := oneService{state: winservice.State{
		State: "running", Automatic: true, Account: winservice.Account, Command: `"C:\m.exe" run`,
		Environment: []string{`XDG_DATA_HOME=C:\d`, `MAILGATEWAY_SERVICE_LOG=C:\log\m.log`},
	}}
	out, err := runService(t, sys, "status")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"running", "with the machine", `C:\log\m.log`, winservice.Account} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if out, err = runService(t, sys, "status", "--json"); err != nil || !strings.Contains(out, `"state": "running"`) {
		t.Errorf("JSON: %v, %s", err, out)
	}
	if _, err = runService(t, oneService{err: winservice.ErrNotInstalled}, "status"); !errors.Is(err, winservice.ErrNotInstalled) {
		t.Errorf("not installed: %v", err)
	}
	if _, err = runService(t, oneService{err: winservice.ErrNotInstalled}, "uninstall"); !errors.Is(err, winservice.ErrNotInstalled) {
		t.Errorf("uninstall: %v", err)
	}
	if _, err = runService(t, sys, "install", "--firewall", "25,x"); err == nil || !strings.Contains(err.Error(), `port "x"`) {
		t.Errorf("install with a wrong port: %v", err)
	}
}
