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
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
	"golang.org/x/sys/windows/svc/mgr"

	"github.com/caddymail/mailgateway/internal/winservice/stdio"
)

// stopTime is how long a service may take to stop: transactions end first.
const stopTime = 2 * time.Minute

// system is Windows.
type system struct{ m *mgr.Mgr }

// Open connects to the service manager, which only administrators may use.
func Open() (System, error) {
	m, err := mgr.Connect()
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		return nil, errors.New("the service manager refuses: run this as administrator")
	}
	if err != nil {
		return nil, fmt.Errorf("service manager: %w", err)
	}
	return system{m}, nil
}

// ReportErrors has the errors of a service appear in the event log. It returns
// at once.
func ReportErrors() {
	file := os.Getenv(stdio.Env)
	if file == "" {
		return
	}
	log, err := eventlog.Open(Name)
	if err != nil {
		return
	}
	go Follow(context.Background(), file, func(message string) error { return log.Error(1, message) })
}

func (system) Exists(file string) (bool, error) {
	_, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (system) Copy(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

func (system) Folder(dir, rights string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	sd, err := windows.SecurityDescriptorFromString(rights)
	if err != nil {
		return err
	}
	owner, _, err := sd.Owner()
	if err != nil {
		return err
	}
	acl, _, err := sd.DACL()
	if err != nil {
		return err
	}
	return windows.SetNamedSecurityInfo(dir, windows.SE_FILE_OBJECT,
		windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION,
		owner, nil, acl, nil)
}

func parameters(name string) string { return `SYSTEM\CurrentControlSet\Services\` + name }

func (w system) Create(spec Spec) error {
	s, err := w.m.CreateService(spec.Name, spec.Exe, mgr.Config{
		StartType: mgr.StartAutomatic, ErrorControl: mgr.ErrorNormal,
		ServiceStartName: spec.Account, DisplayName: spec.DisplayName, Description: spec.Description,
	}, spec.Args...)
	if err != nil {
		return err
	}
	defer s.Close()
	err = func() error {
		restart := func(after time.Duration) mgr.RecoveryAction {
			return mgr.RecoveryAction{Type: mgr.ServiceRestart, Delay: after}
		}
		if err := s.SetRecoveryActions([]mgr.RecoveryAction{restart(5 * time.Second), restart(30 * time.Second), restart(time.Minute)}, 86400); err != nil {
			return err
		}
		// An exit with an error is a failure, not only a crash.
		if err := known(s.SetRecoveryActionsOnNonCrashFailures(true)); err != nil {
			return err
		}
		sid := uint32(windows.SERVICE_SID_TYPE_UNRESTRICTED)
		if err := known(windows.ChangeServiceConfig2(s.Handle, windows.SERVICE_CONFIG_SERVICE_SID_INFO, (*byte)(unsafe.Pointer(&sid)))); err != nil { //nolint:gosec // as mgr does it
			return err
		}
		key, err := registry.OpenKey(registry.LOCAL_MACHINE, parameters(spec.Name), registry.SET_VALUE)
		if err != nil {
			return err
		}
		defer key.Close()
		return key.SetStringsValue("Environment", spec.Environment)
	}()
	if err != nil {
		return errors.Join(err, s.Delete())
	}
	return nil
}

// known drops the error of a system that has no such setting of a service: Wine,
// where this is tested. Every Windows that Go runs on has them.
func known(err error) error {
	if errors.Is(err, windows.ERROR_INVALID_LEVEL) {
		return nil
	}
	return err
}

func (w system) open(name string) (*mgr.Service, error) {
	s, err := w.m.OpenService(name)
	if errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) {
		return nil, ErrNotInstalled
	}
	return s, err
}

func (w system) Start(name string) error {
	s, err := w.open(name)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Start()
}

func (w system) Delete(name string) error {
	s, err := w.open(name)
	if err != nil {
		return err
	}
	defer s.Close()
	status, err := s.Control(svc.Stop)
	if err != nil && !errors.Is(err, windows.ERROR_SERVICE_NOT_ACTIVE) {
		return fmt.Errorf("stopping it: %w", err)
	}
	for end := time.Now().Add(stopTime); err == nil && status.State != svc.Stopped; {
		if time.Now().After(end) {
			return fmt.Errorf("it has not stopped in %s", stopTime)
		}
		// The manager tells of changes only by a call that blocks a thread.
		time.Sleep(200 * time.Millisecond)
		if status, err = s.Query(); err != nil {
			return err
		}
	}
	return s.Delete()
}

var states = map[svc.State]string{
	svc.Stopped: "stopped", svc.StartPending: "starting", svc.StopPending: "stopping", svc.Running: "running",
	svc.ContinuePending: "continuing", svc.PausePending: "pausing", svc.Paused: "paused",
}

func (w system) Query(name string) (State, error) {
	s, err := w.open(name)
	if err != nil {
		return State{}, err
	}
	defer s.Close()
	status, err := s.Query()
	if err != nil {
		return State{}, err
	}
	c, err := registered(s.Handle)
	if err != nil {
		return State{}, err
	}
	state := State{
		State: states[status.State], PID: status.ProcessId, Automatic: c.StartType == mgr.StartAutomatic,
		Account: windows.UTF16PtrToString(c.ServiceStartName), Command: windows.UTF16PtrToString(c.BinaryPathName),
	}
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, parameters(name), registry.QUERY_VALUE)
	if err != nil {
		return State{}, err
	}
	defer key.Close()
	state.Environment, _, err = key.GetStringsValue("Environment")
	if errors.Is(err, registry.ErrNotExist) {
		err = nil
	}
	return state, err
}

// registered is how a service was registered, without what mgr asks for besides
// and not every system answers (see known).
func registered(h windows.Handle) (*windows.QUERY_SERVICE_CONFIG, error) {
	// Windows's own bound.
	const size = 8 << 10
	b := make([]uint64, size/8)                                 // aligned for the pointers in it
	c := (*windows.QUERY_SERVICE_CONFIG)(unsafe.Pointer(&b[0])) //nolint:gosec // what Windows fills
	var needed uint32
	return c, windows.QueryServiceConfig(h, c, size, &needed)
}

func (system) AddSource(name string) error {
	// One that an earlier installation left is as good.
	_ = eventlog.Remove(name)
	return eventlog.InstallAsEventCreate(name, eventlog.Error|eventlog.Warning|eventlog.Info)
}

func (system) RemoveSource(name string) error { return eventlog.Remove(name) }

func (system) Allow(rule, program string, ports []int) error {
	list := make([]string, len(ports))
	for i, p := range ports {
		list[i] = strconv.Itoa(p)
	}
	return netsh("add", "rule", "name="+rule, "dir=in", "action=allow", "profile=domain,private",
		"program="+program, "protocol=TCP", "localport="+strings.Join(list, ","))
}

func (system) Disallow(rule string) error {
	// netsh fails both without such a rule and without rights; show finds out.
	if netsh("show", "rule", "name="+rule) != nil {
		return nil
	}
	return netsh("delete", "rule", "name="+rule)
}

func netsh(args ...string) error {
	out, err := exec.Command("netsh", append([]string{"advfirewall", "firewall"}, args...)...).CombinedOutput() //nolint:gosec // no shell
	if err != nil {
		return fmt.Errorf("netsh: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
