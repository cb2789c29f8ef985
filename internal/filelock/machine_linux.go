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

package filelock

import (
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// OnThisMachine reports whether a directory, which need not exist yet, is on a
// file system that no other machine writes to and that gives O_EXCL, rename and
// fsync their meaning. What is not known is not.
func OnThisMachine(dir string) bool {
	for {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		if err == nil {
			return slices.Contains(localFileSystems, uint32(st.Type)) //nolint:gosec,unconvert // a magic number of 32 bits
		}
		up := filepath.Dir(dir)
		if !os.IsNotExist(err) || up == dir {
			return false
		}
		dir = up
	}
}

var localFileSystems = []uint32{
	unix.EXT4_SUPER_MAGIC, // ext2 and ext3 as well
	unix.XFS_SUPER_MAGIC,
	unix.BTRFS_SUPER_MAGIC,
	unix.F2FS_SUPER_MAGIC,
	unix.TMPFS_MAGIC,
	unix.OVERLAYFS_SUPER_MAGIC,
	0x2fc12fc1, // ZFS
	0xca451a4e, // bcachefs
}
