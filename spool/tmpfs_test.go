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

package spool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// smallDisk mounts a file system of so many MiB. That needs root; where the tests
// of real components are asked for, it is a failure not to be.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
	switch {
	case err != nil && os.Getenv("MAILGATEWAY_INTEROP") != "":
		t.Fatalf("mounting a tmpfs: %v", err)
	case err != nil:
		t.Skipf("mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}

// TestSmallDisk fills a real file system: with a share that is to stay free, the
// client hears 452 before the disk is full; without, when it is. In both cases
// what the provider takes goes on, nothing promised is lost, nothing is left
// behind, and the spool keeps again when there is room.
func TestSmallDisk(t *testing.T) {
	for name, minFree := range map[string]float64{"before it is full": 25, "when it is full": -1} {
		t.Run(name, func(t *testing.T) {
			dir := smallDisk(t, "8m")
			s := new(sink)
			s.down.Store(true)
			tr := start(t, disk.OS{}, nil, func(tr *Transport) {
				tr.next, tr.Directory, tr.AlwaysKeep, tr.MinFree = s, filepath.Join(dir, "d"), false, minFree
			})
			defer stop(tr)
			kept := 0
			var err error
			for ; kept < 100; kept++ {
				if err = give(tr, "a", strings.NewReader(strings.Repeat("x", 500<<10))); err != nil {
					break
				}
				// The disk is asked once a second.
				tr.engine.store.Configure(nil, tr.bounds())
			}
			if !errors.Is(err, relay.ReplySpoolFull) || kept < 5 {
				t.Fatalf("after %d messages: %v, want 452", kept, err)
			}
			free, total, err := disk.OS{}.Space(dir)
			if err != nil {
				t.Fatal(err)
			}
			if minFree > 0 && float64(free) < 0.15*float64(total) {
				t.Errorf("%d octets of %d are free: the disk was filled", free, total)
			}
			// Something else fills what is left.
			if err := os.WriteFile(filepath.Join(dir, "other"), make([]byte, free), 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			if err := give(tr, "a", strings.NewReader("small")); !errors.Is(err, relay.ReplySpoolFull) {
				t.Errorf("on a full disk: %v, want 452", err)
			}
			s.down.Store(false)
			// What the provider takes needs no room, however long it is.
			if err := give(tr, "fresh", zeros(20<<20)); err != nil {
				t.Errorf("a message that the provider takes: %v", err)
			}
			// Nor does a delivery: the journal's room was there from the start.
			for _, m := range Messages("", "") {
				if err := Release(m.ID); err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrBusy) {
					t.Fatal(err)
				}
			}
			await(t, tr)
			if got := s.messages.Load(); got != int64(kept)+1 {
				t.Errorf("%d messages arrived, want %d and the fresh one", got, kept)
			}
			if err := os.Remove(filepath.Join(dir, "other")); err != nil {
				t.Fatal(err)
			}
			s.down.Store(true)
			tr.engine.store.Configure(nil, tr.bounds())
			if err := give(tr, "a", strings.NewReader("again")); err != nil {
				t.Errorf("with room again: %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "d", "*", "*"+store.UnsureExt)); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			for _, m := range Messages("", "") {
				if err := Delete(m.ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestDirectoryUnmounted unmounts the directory, as is possible while files in it are
// open, and mounts it again.
func TestDirectoryUnmounted(t *testing.T) {
	base := smallDisk(t, "8m")
	dir, disk := filepath.Join(base, "d"), filepath.Join(base, "disk")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Mkdir(disk, 0o700)); err != nil {
		t.Fatal(err)
	}
	mount := func() error { return syscall.Mount(disk, dir, "", syscall.MS_BIND, "") }
	unmount := func() error { return syscall.Unmount(dir, syscall.MNT_DETACH) }
	if err := mount(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unmount() })
	away(t, dir, unmount, mount)
}
