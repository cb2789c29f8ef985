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

//go:build linux || darwin || freebsd

package disk

import (
	"errors"
	"io"
	"io/fs"
	"syscall"
)

const noFollow = syscall.O_NOFOLLOW

func ownerOf(st fs.FileInfo) (uid int, known bool) {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(sys.Uid), true
}

// slateSize is the most that is read of a slate.
const slateSize = 128

// ReadSlate implements Slate.
func (l osLock) ReadSlate() ([]byte, error) {
	b := make([]byte, slateSize)
	n, err := l.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], err
}

// WriteSlate implements Slate.
func (l osLock) WriteSlate(b []byte) error {
	if _, err := l.WriteAt(b, 0); err != nil {
		return err
	}
	return l.Sync()
}

// Interface guards
var _ Slate = osLock{}
