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

package winservice

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// fake is Windows as far as Install goes. It writes down what is done.
type fake struct {
	files  map[string]bool
	done   []string
	failAt string
	spec   *Spec
}

func (f *fake) do(format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	f.done = append(f.done, what)
	if f.failAt != "" && strings.HasPrefix(what, f.failAt) {
		return errors.New("refused")
	}
	return nil
}

func (f *fake) Exists(file string) (bool, error) { return f.files[file], nil }

func (f *fake) Copy(from, to string) error {
	if !f.files[from] {
		return errors.New("no such file")
	}
	f.files[to] = true
	return f.do("copy %s %s", from, to)
}
func (f *fake) Folder(dir, rights string) error { return f.do("folder %s %s", dir, rights) }

func (f *fake) Create(spec Spec) error {
	if err := f.do("create %s", spec.Name); err != nil {
		return err
	}
	f.spec = &spec
	return nil
}
func (f *fake) Start(name string) error { return f.do("start %s", name) }

func (f *fake) Delete(name string) error {
	f.spec = nil
	return f.do("delete %s", name)
}

func (f *fake) Query(string) (State, error) {
	if f.spec == nil {
		return State{}, ErrNotInstalled
	}
	return State{State: "running", Environment: f.spec.Environment}, nil
}
func (f *fake) AddSource(name string) error    { return f.do("source %s", name) }
func (f *fake) RemoveSource(name string) error { return f.do("unsource %s", name) }
func (f *fake) Allow(rule, program string, ports []int) error {
	return f.do("allow %s %s %v", rule, program, ports)
}
func (f *fake) Disallow(rule string) error { return f.do("disallow %s", rule) }

func options() Options {
	return Options{
		Exe: `C:\Program Files\Mailgateway\mailgateway.exe`, Folder: `C:\ProgramData\Mailgateway`,
		Ports: []int{25, 587}, Start: true, Private: []string{`C:\Users\ann`, ``},
	}
}

func machine() *fake {
	return &fake{files: map[string]bool{`C:\Program Files\Mailgateway\Caddyfile.example`: true}}
}

func TestInstallAndUninstall(t *testing.T) {
	f := machine()
	if err := Install(f, options()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"run", "--config", `C:\ProgramData\Mailgateway\Caddyfile`}; !slices.Equal(f.spec.Args, want) {
		t.Errorf("arguments %q", f.spec.Args)
	}
	if f.spec.Account != `NT SERVICE\mailgateway` || f.spec.Exe != options().Exe {
		t.Errorf("%+v", f.spec)
	}
	for _, want := range []string{`XDG_DATA_HOME=C:\ProgramData\Mailgateway\data`, `XDG_CONFIG_HOME=C:\ProgramData\Mailgateway\data`} {
		if !slices.Contains(f.spec.Environment, want) {
			t.Errorf("no %s in %q", want, f.spec.Environment)
		}
	}
	state, _ := f.Query(Name)
	if state.Log() != `C:\ProgramData\Mailgateway\log\mailgateway.log` {
		t.Errorf("log %q", state.Log())
	}
	if want := `allow mailgateway C:\Program Files\Mailgateway\mailgateway.exe [25 587]`; !slices.Contains(f.done, want) {
		t.Errorf("no firewall rule in %q", f.done)
	}
	// The folder with secrets is no more than readable for the service, and
	// nothing for other users.
	for _, done := range f.done {
		if rest, ok := strings.CutPrefix(done, `folder C:\ProgramData\Mailgateway `); ok && !strings.Contains(rest, ";"+readExecute+";") {
			t.Errorf("rights %s", rest)
		}
		if strings.HasPrefix(done, "folder") && (!strings.Contains(done, "D:P(") || strings.Contains(done, ";WD)") || strings.Contains(done, ";BU)")) {
			t.Errorf("rights %s", done)
		}
	}
	if err := Install(f, options()); err == nil || !strings.Contains(err.Error(), "installed already") {
		t.Errorf("a second time: %v", err)
	}

	f.done = nil
	if err := Uninstall(f); err != nil {
		t.Fatal(err)
	}
	if want := []string{"disallow mailgateway", "delete mailgateway", "unsource mailgateway"}; !slices.Equal(f.done, want) {
		t.Errorf("uninstall did %q", f.done)
	}
	if err := Uninstall(f); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("a second time: %v", err)
	}
}

// TestInstallFails holds that no half of a service is left.
func TestInstallFails(t *testing.T) {
	for _, at := range []string{"folder", "copy", "create", "source", "allow"} {
		f := machine()
		f.failAt = at
		if err := Install(f, options()); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: %v", at, err)
		}
		if f.spec != nil {
			t.Errorf("%s: the service is still there after %q", at, f.done)
		}
		if slices.Contains(f.done, "source mailgateway") && at != "source" && !slices.Contains(f.done, "unsource mailgateway") {
			t.Errorf("%s: the event source is still there after %q", at, f.done)
		}
	}
	f := machine()
	f.failAt = "start"
	if err := Install(f, options()); err == nil || f.spec == nil || !strings.Contains(err.Error(), "say why") {
		t.Errorf("a service that does not start: %v, %v", err, f.spec)
	}
}

// TestUninstallGoesOn holds that one failure does not keep the rest.
func TestUninstallGoesOn(t *testing.T) {
	f := machine()
	if err := Install(f, options()); err != nil {
		t.Fatal(err)
	}
	f.failAt = "disallow"
	if err := Uninstall(f); err == nil || !strings.Contains(err.Error(), "firewall: refused") || f.spec != nil {
		t.Errorf("%v, %v", err, f.spec)
	}
}

func TestInstallRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"a user's folder":     {func(o *Options) { o.Exe = `c:\users\Ann\Downloads\mailgateway.exe` }, "move it"},
		"a port":              {func(o *Options) { o.Ports = []int{70000} }, "port 70000"},
		"no such file":        {func(o *Options) { o.Config = `D:\x` }, `no configuration D:\x`},
		"without the example": {func(o *Options) { o.Exe = `D:\mailgateway.exe` }, "no example to begin with"},
	} {
		f, o := machine(), options()
		tc.change(&o)
		if err := Install(f, o); err == nil || !strings.Contains(err.Error(), tc.want) || f.spec != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A folder whose name begins as a private one is not in it.
	f, o := machine(), options()
	o.Private = []string{`C:\Program Files\Mail`}
	if err := Install(f, o); err != nil {
		t.Error(err)
	}
	// A configuration that is there is not written over.
	f = machine()
	f.files[`C:\ProgramData\Mailgateway\Caddyfile`] = true
	if err := Install(f, options()); err != nil || slices.ContainsFunc(f.done, func(s string) bool { return strings.HasPrefix(s, "copy") }) {
		t.Errorf("%v, %q", err, f.done)
	}
}

func TestPorts(t *testing.T) {
	if p, err := Ports("25, 587"); err != nil || !slices.Equal(p, []int{25, 587}) {
		t.Errorf("%v, %v", p, err)
	}
	if p, err := Ports(""); err != nil || p != nil {
		t.Errorf("none: %v, %v", p, err)
	}
	for _, wrong := range []string{"0", "65536", "25,", "25-30", "a", `25 program=x`} {
		if p, err := Ports(wrong); err == nil {
			t.Errorf("%q: %v", wrong, p)
		}
	}
}

// TestSID compares with an account that every Windows has.
func TestSID(t *testing.T) {
	if got, want := sid("TrustedInstaller"), "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
