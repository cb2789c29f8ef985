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

package store

import (
	"errors"
	"io"
	"sync"

	"github.com/caddymail/mailgateway/spool/internal/disk"
)

// blockSize holds a small message with its journal: at a start it is read at once,
// not frame by frame.
const blockSize = 16 << 10

var blocks = sync.Pool{New: func() any { return new([blockSize]byte) }}

// reader is a file that is only read, in blocks while its parts follow one another.
type reader struct {
	disk.File
	block *[blockSize]byte
	off   int64
	n     int  // of the block
	last  bool // the file ends with it
}

func newReader(f disk.File) *reader {
	return &reader{File: f, block: blocks.Get().(*[blockSize]byte)} //nolint:forcetypeassert // what the pool makes
}

// ReadAt implements io.ReaderAt.
func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	end := r.off + int64(r.n)
	if off > end || off < r.off || off+int64(len(p)) > end && len(p) > blockSize/2 {
		return r.File.ReadAt(p, off) // what is passed over is not read
	}
	if off+int64(len(p)) > end && !r.last {
		n, err := r.File.ReadAt(r.block[:], off)
		r.off, r.n, r.last = off, n, errors.Is(err, io.EOF)
		if err != nil && !r.last {
			r.n = 0
			return 0, err
		}
	}
	n := copy(p, r.block[off-r.off:r.n])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Close implements io.Closer.
func (r *reader) Close() error {
	if r.block != nil {
		blocks.Put(r.block)
		r.block, r.off, r.n = nil, 0, 0
	}
	return r.File.Close()
}
