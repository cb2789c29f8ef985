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

//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package filelock

import (
	"os"
	"path/filepath"
)

// Directory takes a directory for this process until what it returns is closed,
// by keeping a file open, which no other process can remove meanwhile.
func Directory(dir string) (*os.File, error) {
	name := filepath.Join(dir, LockName)
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return nil, ErrLocked
	}
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}
