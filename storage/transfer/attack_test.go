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

//go:build unix

package transfer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
)

func fileStorage(t *testing.T) *certmagic.FileStorage {
	t.Helper()
	return &certmagic.FileStorage{Path: filepath.Join(t.TempDir(), "files")}
}

// TestWhatIsNotAStorage holds that a source that is not what its operator believes is
// an error that names it, before anything is written.
func TestWhatIsNotAStorage(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(files *certmagic.FileStorage) error
		want  string
	}{
		"nothing": {func(f *certmagic.FileStorage) error { return os.RemoveAll(f.Path) }, "the source: there is nothing in it"},
		"directory elsewhere": {func(f *certmagic.FileStorage) error {
			return os.Rename(f.Filename("certificates"), f.Path+"-certificates")
		}, ""},
		"link to a directory": {func(f *certmagic.FileStorage) error {
			if err := os.Rename(f.Filename("certificates"), f.Path+"-certificates"); err != nil {
				return err
			}
			return os.Symlink(f.Path+"-certificates", f.Filename("certificates"))
		}, "certificates is a symbolic link to a directory"},
		"link to a file": {func(f *certmagic.FileStorage) error {
			if err := os.Rename(f.Filename("certificates/x.key"), f.Path+"-x.key"); err != nil {
				return err
			}
			return os.Symlink(f.Path+"-x.key", f.Filename("certificates/x.key"))
		}, ""},
		"link to nothing": {func(f *certmagic.FileStorage) error {
			return os.Symlink("nowhere", f.Filename("certificates/y.key"))
		}, `"certificates/y.key"`},
		"pipe":          {func(f *certmagic.FileStorage) error { return syscall.Mkfifo(f.Filename("pipe"), 0o600) }, "pipe is no regular file"},
		"name of bytes": {func(f *certmagic.FileStorage) error { return os.WriteFile(f.Filename("\xff"), nil, 0o600) }, `"\xff": this name is no text`},
	} {
		files, to := fileStorage(t), fileStorage(t)
		put(t, files, "smtp/accounts/a", "1")
		put(t, files, "certificates/x.key", "secret")
		if err := c.spoil(files); err != nil {
			t.Fatal(err)
		}
		r, err := Copy(t.Context(), files, to, Options{})
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || to.Exists(t.Context(), "smtp/accounts/a") {
			t.Errorf("%s: %+v, %v, want %s", name, r, err, c.want)
		}
	}
}

// TestUnreadableFile holds that a file that may not be read is named.
func TestUnreadableFile(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root reads everything")
	}
	files := fileStorage(t)
	put(t, files, "smtp/accounts/a", "1")
	if err := os.Chmod(files.Filename("smtp/accounts/a"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), files, fileStorage(t), Options{}); err == nil || !strings.Contains(err.Error(), "the source: reading smtp/accounts/a") {
		t.Errorf("%v", err)
	}
}

// TestOneStorageByTwoNames holds that a storage is not copied into itself.
func TestOneStorageByTwoNames(t *testing.T) {
	files := fileStorage(t)
	put(t, files, "smtp/accounts/a", "1")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(files.Path, link); err != nil {
		t.Fatal(err)
	}
	_, err := Copy(t.Context(), files, &certmagic.FileStorage{Path: link}, Options{})
	if err == nil || !strings.Contains(err.Error(), "the same storage") {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(files.Filename("locks")); len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestWhatIsOfProcesses holds that what a living process holds is not copied, and that
// what the target alone has is named.
func TestWhatIsOfProcesses(t *testing.T) {
	files, to := fileStorage(t), fileStorage(t)
	put(t, files, "smtp/accounts/a", "1")
	for _, k := range []string{"smtp/processes/0.lock", "smtp/limits/up/lanes/0.lock", "smtp/limits/up/lanes/0.json", "smtp/limits/up/connections.lock", "smtp/limits/up/3/lock", "smtp/limits/up/3/turn", "locks/names.bytes"} {
		put(t, files, k, "held")
	}
	put(t, to, "smtp/accounts/removed", "1")
	put(t, to, "smtp/processes/0.lock", "held")
	r, err := Copy(t.Context(), files, to, Options{})
	if err != nil || r.Keys != 1 || r.Copied != 1 || !slices.Equal(r.Extra, []string{"smtp/accounts/removed"}) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestManyKeys copies many values; MAILGATEWAY_KEYS=100000 is what docs/operations.md
// has the time of.
func TestManyKeys(t *testing.T) {
	n := 2000
	if v := os.Getenv("MAILGATEWAY_KEYS"); v != "" {
		if _, err := fmt.Sscan(v, &n); err != nil {
			t.Fatal(err)
		}
	}
	files, pg, back := fileStorage(t), open(t), fileStorage(t)
	for i := range n {
		put(t, files, fmt.Sprintf("smtp/accounts/%03d/%06d", i%256, i), strings.Repeat("x", 600))
	}
	copied, compared := 0, 0
	o := Options{Progress: func(c, d, all int) {
		if c < copied || d < compared || all != n || d > 0 && c != n {
			t.Errorf("progress %d, %d of %d after %d, %d", c, d, all, copied, compared)
		}
		copied, compared = c, d
	}}
	for _, c := range []struct{ from, to certmagic.Storage }{{files, pg}, {files, pg}, {pg, back}} {
		copied, compared = 0, 0
		began := time.Now()
		r, err := Copy(context.Background(), c.from, c.to, o)
		if err != nil || r.Copied+r.Same != n || copied != n || compared != n {
			t.Fatalf("%+v, %v, %d, %d", r, err, copied, compared)
		}
		t.Logf("%d values, %d copied: %s", n, r.Copied, time.Since(began))
	}
}

// TestRootWritesForNobody holds that root does not leave files that their gateway cannot
// read.
func TestRootWritesForNobody(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can")
	}
	files, to := fileStorage(t), fileStorage(t)
	put(t, files, "smtp/accounts/a", "1")
	put(t, to, "smtp/accounts/a", "1")
	if err := Ready(t.Context(), files, to); err != nil {
		t.Error(err)
	}
	if err := os.Chown(to.Path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if err := Ready(t.Context(), files, to); err == nil || !strings.Contains(err.Error(), "run this as nobody") {
		t.Errorf("%v", err)
	}
}
