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

//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/sandbox"
)

// injected has every call of a running process fail, until it is ended.
func injected(t *testing.T, proc *process, call, errno string, paths ...string) (end func()) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip(err)
	}
	pid := proc.cmd.Process.Pid
	args := []string{"-f", "-qq", "-o", os.DevNull, "-e", "trace=" + call, "-e", "inject=" + call + ":error=" + errno, "-p", fmt.Sprint(pid)}
	for _, path := range paths {
		args = append(args, "-P", path)
	}
	var said strings.Builder
	cmd := exec.Command(strace, args...)
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	for !traced(pid) {
		select {
		case <-ended:
			t.Skipf("strace: %s", said.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		<-ended
	}
}

// traced reports whether all threads of a process have a tracer.
func traced(pid int) bool {
	states, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, state := range states {
		if b, err := os.ReadFile(state); err == nil && strings.Contains(string(b), "TracerPid:\t0\n") {
			return false
		}
	}
	return len(states) > 0
}

// keepOne sends a message and returns what the client heard in the end.
func keepOne(addr, tag string) (code int, said string, err error) {
	c, err := textproto.Dial("tcp", addr)
	if err != nil {
		return 0, "", err
	}
	defer c.Close()
	if _, _, err := c.ReadResponse(220); err != nil {
		return 0, "", err
	}
	for _, step := range []struct {
		code int
		cmd  string
	}{
		{250, "EHLO client.test"}, {235, "AUTH PLAIN " + plain(scanner(0), testPassword)}, {250, "MAIL FROM:<" + scanner(0) + ">"},
		{250, "RCPT TO:<to@example.net>"}, {354, "DATA"}, {250, "Subject: scan\r\nX-Tag: " + tag + "\r\n\r\npage\r\n."},
	} {
		if err := tryCommand(c, step.code, step.cmd); err != nil {
			var heard *textproto.Error
			if errors.As(err, &heard) {
				return heard.Code, heard.Msg, nil
			}
			return 0, "", err
		}
	}
	return 250, "", nil
}

// TestSpoolDiskFails has the calls with which the real binary writes its spool fail, as a
// broken, full or read-only disk has them fail: the client of what could not be kept
// hears 451 or 452; after a failed sync nothing more is accepted, and all who look are
// told; and what was answered with 250, before or after, is delivered once the disk is
// better and the process was started anew.
func TestSpoolDiskFails(t *testing.T) {
	for _, tc := range []struct {
		name, call, errno string
		dirs              bool // the directories' calls alone
		code              int
		ill               bool
	}{
		{"sync of a file", "fsync", "EIO", false, 451, true},
		{"sync of a directory", "fsync", "EIO", true, 451, true},
		{"sync, full", "fsync", "ENOSPC", false, 452, true},
		{"sync, quota", "fsync", "EDQUOT", true, 452, true},
		{"write", "pwrite64", "EIO", false, 451, false},
		{"write, full", "pwrite64", "ENOSPC", false, 452, false},
		{"write, quota", "pwrite64", "EDQUOT", false, 452, false},
		{"write, read only", "pwrite64", "EROFS", false, 451, false},
		{"rename", "/^rename", "EIO", false, 451, false},
		{"rename, full", "/^rename", "ENOSPC", false, 452, false},
		{"rename, quota", "/^rename", "EDQUOT", false, 452, false},
		{"rename, read only", "/^rename", "EROFS", false, 451, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if testing.Short() && tc.errno != "EIO" {
				t.Skip("the others are like these")
			}
			w, admin := spoolWorld(t)
			dir := w.app("smtp_upstreams")["spool"].(object)["directory"].(string)
			var shards []string
			for i := range 256 {
				shards = append(shards, filepath.Join(dir, fmt.Sprintf("%02x", i)))
				if err := os.MkdirAll(shards[i], 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := w.sandbox.AddFault(sandbox.Fault{Stage: "mail", Action: "reply", Reply: "451 4.7.500 Server busy"}); err != nil {
				t.Fatal(err)
			}
			proc := w.run()
			promised := make(map[string]bool)
			keep := func(tag string) (int, string) {
				t.Helper()
				code, said, err := keepOne(w.addr, tag)
				if err != nil {
					t.Fatalf("%v\n%s", err, proc.out.String())
				}
				if code == 250 {
					promised[tag] = true
				}
				return code, said
			}
			for i := range 3 {
				if code, said := keep(fmt.Sprintf("<before.%d>", i)); code != 250 {
					t.Fatalf("on a sound disk: %d %s\n%s", code, said, proc.out.String())
				}
			}
			if !tc.dirs {
				shards = nil
			}
			end := injected(t, proc, tc.call, tc.errno, shards...)
			code, said := keep("<during>")
			end()
			if code != tc.code {
				t.Errorf("while it fails: %d %s, want %d", code, said, tc.code)
			}
			if !strings.Contains(proc.out.String(), "message not spooled") {
				t.Errorf("the log does not say so:\n%s", proc.out.String())
			}
			code, said = keep("<after>")
			if want := map[bool]int{true: 451, false: 250}[tc.ill]; code != want {
				t.Errorf("afterwards: %d %s, want %d", code, said, want)
			}
			saysIll(t, admin, tc.ill)
			proc.signal(syscall.SIGKILL)
			_ = proc.wait()
			w.sandbox.ClearFaults()
			proc = w.run()
			if out, err := spoolCommand(t, admin, "drain", "--timeout", "1m"); err != nil {
				t.Fatalf("draining: %v\n%s\n%s", err, out, proc.out.String())
			}
			tags, _ := w.arrived()
			for tag := range promised {
				if tags[tag] != 1 {
					t.Errorf("%s arrived %d times", tag, tags[tag])
				}
			}
			for tag, n := range tags {
				if !promised[tag] {
					t.Errorf("%s, which was refused, arrived %d times", tag, n)
				}
			}
		})
	}
}

// saysIll holds that what people look at says that the spool's disk failed, or nothing of
// the kind.
func saysIll(t *testing.T, admin string, ill bool) {
	t.Helper()
	list, err := spoolCommand(t, admin, "list")
	if err != nil {
		t.Fatalf("%v\n%s", err, list)
	}
	if strings.Contains(list, "syncing a") != ill {
		t.Errorf("`smtp spool list` says:\n%s", list)
	}
	get := func(path string) string {
		t.Helper()
		resp, err := http.Get("http://" + admin + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var report struct {
		Findings []struct{ Check, State, Said string } `json:"findings"`
	}
	doctor := get("/smtp/doctor")
	if err := json.Unmarshal([]byte(doctor), &report); err != nil {
		t.Fatal(err)
	}
	wrong := false
	for _, f := range report.Findings {
		wrong = wrong || f.Check == "spool_disk" && f.State == "wrong" && strings.Contains(f.Said, "syncing a")
	}
	if wrong != ill {
		t.Errorf("the check says:\n%s", doctor)
	}
	if metrics := get("/metrics"); strings.Contains(metrics, `caddy_smtp_spool_up{spool="spool"} 0`) != ill {
		t.Error("the metrics do not say so")
	}
}

// TestSpoolJournalFails has the disk fail while what is kept is sent: nothing that was
// answered with 250 is lost, and it arrives twice only where its journal could not say
// that it had arrived.
func TestSpoolJournalFails(t *testing.T) {
	for _, tc := range []struct{ call, errno string }{
		{"fsync", "EIO"}, {"pwrite64", "EIO"}, {"pwrite64", "ENOSPC"}, {"pwrite64", "EROFS"}, {"/^unlink", "EIO"}, {"/^unlink", "EROFS"},
	} {
		t.Run(tc.call+" "+tc.errno, func(t *testing.T) {
			w, admin := spoolWorld(t)
			if _, err := w.sandbox.AddFault(sandbox.Fault{Stage: "mail", Action: "reply", Reply: "451 4.7.500 Server busy"}); err != nil {
				t.Fatal(err)
			}
			proc := w.run()
			const n = 5
			for i := range n {
				if code, said, err := keepOne(w.addr, fmt.Sprintf("<kept.%d>", i)); err != nil || code != 250 {
					t.Fatalf("on a sound disk: %d %s %v\n%s", code, said, err, proc.out.String())
				}
			}
			w.sandbox.ClearFaults()
			end := injected(t, proc, tc.call, tc.errno)
			if out, err := spoolCommand(t, admin, "drain", "--timeout", "3s"); err == nil && tc.call != "pwrite64" {
				t.Errorf("drained on a disk that fails:\n%s", out)
			}
			proc.signal(syscall.SIGKILL)
			_ = proc.wait()
			end()
			during, _ := w.arrived()
			proc = w.run()
			if out, err := spoolCommand(t, admin, "drain", "--timeout", "1m"); err != nil {
				t.Fatalf("draining: %v\n%s\n%s", err, out, proc.out.String())
			}
			tags, _ := w.arrived()
			for i := range n {
				tag := fmt.Sprintf("<kept.%d>", i)
				if got := tags[tag]; got < 1 || got > 1+during[tag] {
					t.Errorf("%s arrived %d times, %d of them on the disk that fails", tag, got, during[tag])
				}
			}
		})
	}
}
