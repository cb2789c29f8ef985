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

package mailapi

import (
	"encoding/base64"
	"io"
	"sync"
)

// blockSizes are those of the first blocks of a message that is held, the last that
// of all others: a small one takes little, and of a large one little is unused. One
// that doubled as it grew would be there twice each time.
var blockSizes = [...]int{8 << 10, 32 << 10, 128 << 10}

// blockPools have blocks of each size. In garbage there would be as much again as
// all messages under way have, since the collector waits for it.
var blockPools [len(blockSizes)]sync.Pool

// held is a message in memory, each octet once.
type held struct {
	blocks [][]byte
	size   int64
	base64 bool // it leaves in base64
}

// fill reads to the end.
func (h *held) fill(r io.Reader) error {
	for {
		class := min(len(h.blocks), len(blockSizes)-1)
		b, _ := blockPools[class].Get().(*[]byte)
		if b == nil {
			fresh := make([]byte, blockSizes[class])
			b = &fresh
		}
		n, err := io.ReadFull(r, *b)
		h.blocks = append(h.blocks, (*b)[:n])
		h.size += int64(n)
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return nil
		default:
			return err
		}
	}
}

// free gives the blocks back. Nothing may be read after it.
func (h *held) free() {
	for i, b := range h.blocks {
		b = b[:cap(b)]
		blockPools[min(i, len(blockSizes)-1)].Put(&b)
	}
	h.blocks = nil
}

// length is that of what leaves.
func (h *held) length() int64 {
	if h.base64 {
		return (h.size + 2) / 3 * 4
	}
	return h.size
}

// reader returns what leaves, from its beginning.
func (h *held) reader() io.Reader {
	if h.base64 {
		return &coder{src: blockReader{blocks: h.blocks}}
	}
	return &blockReader{blocks: h.blocks}
}

// blockReader reads blocks one after the other.
type blockReader struct {
	blocks [][]byte // those that are not read to their end
	at     int      // in the first of them
}

// next is what is left of the first block that has something left; it is empty at
// the end of all.
func (r *blockReader) next() []byte {
	for len(r.blocks) > 0 && r.at == len(r.blocks[0]) {
		r.blocks, r.at = r.blocks[1:], 0
	}
	if len(r.blocks) == 0 {
		return nil
	}
	return r.blocks[0][r.at:]
}

// Read implements io.Reader.
func (r *blockReader) Read(p []byte) (int, error) {
	b := r.next()
	if len(b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b)
	r.at += n
	return n, nil
}

// coder reads blocks in base64.
type coder struct {
	src  blockReader
	out  [4]byte
	left []byte // of out
}

// Read implements io.Reader.
func (c *coder) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(c.left) > 0 {
			k := copy(p[n:], c.left)
			c.left = c.left[k:]
			n += k
			continue
		}
		b := c.src.next()
		if groups := min(len(b)/3, (len(p)-n)/4); groups > 0 {
			base64.StdEncoding.Encode(p[n:], b[:3*groups])
			c.src.at += 3 * groups
			n += 4 * groups
			continue
		}
		// A group that goes over a block's end, or that p has no room for.
		var group [3]byte
		k, err := io.ReadFull(&c.src, group[:])
		if k == 0 {
			if n > 0 {
				err = nil
			}
			return n, err
		}
		base64.StdEncoding.Encode(c.out[:], group[:k])
		c.left = c.out[:]
	}
	return n, nil
}
