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

// Package stdio has standard output and standard error be a file while the
// program is a service of Windows, which has neither: what Caddy logs, what a
// command says as it fails, and a panic would be lost.
//
// It must be initialized before Caddy, whose logger keeps the standard error
// that it finds. Go initializes packages in the order of their paths as far as
// their imports allow, and this one's path comes before Caddy's: it may import the
// standard library and golang.org/x/sys/windows, which Caddy imports too. A test
// of the program holds that.
package stdio

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Env names the log file in the environment of the service.
const Env = "MAILGATEWAY_SERVICE_LOG"

// most is how long the file may be before a start begins a new one. A
// configuration that logs much has a `log` of its own, which rotates.
const most = 16 << 20

func init() {
	if file := os.Getenv(Env); file != "" {
		// There is nowhere to say that it failed.
		_ = redirect(file, most)
	}
}

func redirect(file string, most int64) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil { //nolint:gosec // the service's own setting
		return err
	}
	switch info, err := os.Stat(file); { //nolint:gosec // see above
	case err == nil && info.Size() > most:
		if err := os.Rename(file, file+".1"); err != nil { //nolint:gosec // see above
			return err
		}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600) //nolint:gosec // see above
	if err != nil {
		return err
	}
	os.Stdout, os.Stderr = f, f
	return setSystem(f)
}
