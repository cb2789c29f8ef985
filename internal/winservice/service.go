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
	"crypto/sha1" //nolint:gosec // how Windows derives the identifier, no secret
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/caddymail/mailgateway/internal/winservice/stdio"
)

// Name is the service's, its event source's and its firewall rule's.
const Name = "mailgateway"

// Account is the account that Windows makes for the service, without a
// password and without rights of an administrator.
const Account = `NT SERVICE\` + Name

// ErrNotInstalled is that there is no such service.
var ErrNotInstalled = errors.New("the service is not installed")

// System is what Install and Uninstall need of Windows.
type System interface {
	// Exists reports whether there is such a file.
	Exists(file string) (bool, error)
	// Copy makes the file to, which does not exist.
	Copy(from, to string) error
	// Folder makes a folder if there is none, and gives it this owner and
	// these rights, in Windows's notation for them (SDDL).
	Folder(dir, rights string) error
	// Create registers a service that Windows starts with the machine, and
	// again after it failed.
	Create(spec Spec) error
	// Start starts a service.
	Start(name string) error
	// Delete stops a service, waits for its end, and removes it.
	Delete(name string) error
	// Query describes a service. The error may be ErrNotInstalled.
	Query(name string) (State, error)
	// AddSource has the event log know a source; RemoveSource forgets it.
	AddSource(name string) error
	RemoveSource(name string) error
	// Allow lets others on the network connect to a program's ports;
	// Disallow removes that rule and is no error without one.
	Allow(rule, program string, ports []int) error
	Disallow(rule string) error
}

// Spec is a service to register.
type Spec struct {
	Name, DisplayName, Description string
	Exe                            string
	Args                           []string
	Account                        string
	// Environment has entries of the form NAME=VALUE.
	Environment []string
}

// State is what Windows says of a service.
type State struct {
	State       string   `json:"state"` // as in "running"
	PID         uint32   `json:"pid,omitempty"`
	Automatic   bool     `json:"automatic"`
	Account     string   `json:"account"`
	Command     string   `json:"command"`
	Environment []string `json:"environment"`
}

// Log is the file that the service writes to, or empty.
func (s State) Log() string {
	for _, e := range s.Environment {
		if file, ok := strings.CutPrefix(e, stdio.Env+"="); ok {
			return file
		}
	}
	return ""
}

// Options are how to install the service.
type Options struct {
	// Exe is the program, where it stays.
	Exe string
	// Folder is where configuration, data and log are: C:\ProgramData\Mailgateway.
	Folder string
	// Config is the configuration. Default: Caddyfile in Folder, which is copied
	// from the Caddyfile.example beside Exe if there is none.
	Config string
	// Ports are those to open in the firewall.
	Ports []int
	// Start has it run at once.
	Start bool
	// Private are folders that other accounts cannot read, or that any may
	// write to: a user's own, and the one for temporary files.
	Private []string
}

// Install registers the service. What it did is undone if a later step fails,
// except for folders and files.
func Install(sys System, o Options) (err error) {
	for _, dir := range o.Private {
		if dir != "" && within(o.Exe, dir) {
			return fmt.Errorf(`the program is %s, which the service's account cannot read or others may replace: move it, say to C:\Program Files\Mailgateway, and run this there`, o.Exe)
		}
	}
	if i := slices.IndexFunc(o.Ports, func(p int) bool { return p < 1 || p > 65535 }); i >= 0 {
		return fmt.Errorf("port %d: not between 1 and 65535", o.Ports[i])
	}
	switch _, err := sys.Query(Name); {
	case err == nil:
		return errors.New("the service is installed already; `smtp service uninstall` removes it and keeps its data")
	case !errors.Is(err, ErrNotInstalled):
		return fmt.Errorf("looking for the service: %w", err)
	}

	data, logs := join(o.Folder, "data"), join(o.Folder, "log")
	for dir, mask := range map[string]string{o.Folder: readExecute, data: modify, logs: modify} {
		if err := sys.Folder(dir, rights(mask)); err != nil {
			return fmt.Errorf("folder %s: %w", dir, err)
		}
	}
	if o.Config, err = config(sys, o); err != nil {
		return err
	}

	var undo []func() error
	defer func() {
		if err != nil {
			for _, f := range slices.Backward(undo) {
				err = errors.Join(err, f())
			}
		}
	}()
	err = sys.Create(Spec{
		Name: Name, DisplayName: "Mailgateway", Description: "SMTP submission for clients that cannot do OAuth",
		Exe: o.Exe, Args: []string{"run", "--config", o.Config}, Account: Account,
		// Caddy's own places are in a user's profile, which this account
		// has in a folder that no operator finds.
		Environment: []string{"XDG_DATA_HOME=" + data, "XDG_CONFIG_HOME=" + data, stdio.Env + "=" + join(logs, "mailgateway.log")},
	})
	if err != nil {
		return fmt.Errorf("registering the service: %w", err)
	}
	undo = append(undo, func() error { return sys.Delete(Name) })
	if err := sys.AddSource(Name); err != nil {
		return fmt.Errorf("event log: %w", err)
	}
	undo = append(undo, func() error { return sys.RemoveSource(Name) })
	if len(o.Ports) > 0 {
		if err := sys.Allow(Name, o.Exe, o.Ports); err != nil {
			return fmt.Errorf("firewall: %w", err)
		}
		undo = append(undo, func() error { return sys.Disallow(Name) })
	}
	if o.Start {
		if err := sys.Start(Name); err != nil {
			// It stays: what is wrong is most likely the configuration.
			undo = nil
			return fmt.Errorf("the service is installed, but does not start; the event log and %s say why: %w", join(logs, "mailgateway.log"), err)
		}
	}
	return nil
}

// config is the configuration's file, which is there.
func config(sys System, o Options) (string, error) {
	file := o.Config
	if file == "" {
		file = join(o.Folder, "Caddyfile")
	}
	switch there, err := sys.Exists(file); {
	case err != nil:
		return "", fmt.Errorf("configuration: %w", err)
	case there:
		return file, nil
	case o.Config != "":
		return "", fmt.Errorf("there is no configuration %s", file)
	}
	example := join(o.Exe[:strings.LastIndexByte(o.Exe, '\\')+1], "Caddyfile.example")
	if err := sys.Copy(example, file); err != nil {
		return "", fmt.Errorf("there is no configuration %s, and no example to begin with: %w", file, err)
	}
	return file, nil
}

// Uninstall removes the service. Configuration, data and logs stay. It goes on
// after a failure, so that what can be removed is.
func Uninstall(sys System) error {
	if _, err := sys.Query(Name); err != nil {
		return err
	}
	wrap := func(what string, err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	return errors.Join(wrap("firewall", sys.Disallow(Name)), wrap("the service", sys.Delete(Name)), wrap("event log", sys.RemoveSource(Name)))
}

// Ports reads a list as in 25,587.
func Ports(list string) ([]int, error) {
	if list == "" {
		return nil, nil
	}
	var ports []int
	for s := range strings.SplitSeq(list, ",") {
		p, err := strconv.ParseUint(strings.TrimSpace(s), 10, 16)
		if err != nil || p == 0 {
			return nil, fmt.Errorf("port %q: a number between 1 and 65535 is wanted", s)
		}
		ports = append(ports, int(p))
	}
	return ports, nil
}

// join joins a path of Windows, on any system.
func join(dir, name string) string { return strings.TrimRight(dir, `\`) + `\` + name }

func within(file, dir string) bool {
	return strings.HasPrefix(strings.ToLower(file), strings.ToLower(strings.TrimRight(dir, `\`)+`\`))
}

// Rights on files, as bits.
const (
	readExecute = "0x1200a9"
	modify      = "0x1301bf"
)

// rights are the system's and administrators' in full, and mask for the
// service. Nothing is inherited from above: in C:\ProgramData every user can
// read, and secrets are in there. Administrators own it, since any user can have
// made the folder before.
func rights(mask string) string {
	return "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;" + mask + ";;;" + sid(Name) + ")"
}

// sid is the identifier of a service's account. Windows derives it from the
// name, so that it is known before there is a service.
func sid(service string) string {
	var utf []byte
	for _, c := range utf16.Encode([]rune(strings.ToUpper(service))) {
		utf = binary.LittleEndian.AppendUint16(utf, c)
	}
	sum := sha1.Sum(utf) //nolint:gosec // see the import
	s := []byte("S-1-5-80")
	for i := 0; i < len(sum); i += 4 {
		s = strconv.AppendUint(append(s, '-'), uint64(binary.LittleEndian.Uint32(sum[i:])), 10)
	}
	return string(s)
}
