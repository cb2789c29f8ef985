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

package journal

import (
	"bytes"
	"context"
	"path"
	"path/filepath"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/limits/record"
)

// Place is where the limits of an upstream are in a storage of files.
type Place struct {
	FS      FS
	Storage *certmagic.FileStorage
	Key     string // of the directory
	Log     *zap.Logger
	// Most is the size from which on a journal is begun anew, 1 MiB by default.
	// One beside files that are larger has their size.
	Most int64
}

// Dir is the directory of the journals.
func (p *Place) Dir() string { return p.Storage.Filename(path.Join(p.Key, "journal")) }

// Settle makes the file of a shard durable, its name included.
func (p *Place) Settle(shard int) error {
	return p.FS.SyncDir(p.Storage.Filename(record.Shard(p.Key, shard)))
}

// Fold writes what an ended process left in its journal into its files, and removes
// the journal. The caller holds the lane. Done in part, it is done again from the
// beginning.
func (p *Place) Fold(ctx context.Context, lane int, segments []int) error {
	dir := p.Dir()
	all := make(map[int][]Line)
	var done []string
	for _, n := range segments {
		name := filepath.Join(dir, segmentName(lane, n))
		raw, err := p.FS.ReadFrom(name, 0)
		if err != nil {
			return err
		}
		s := &segment{lines: make(map[int][]Line)}
		if s.read(raw, name, p.Log); s.at == 0 && !torn(raw) {
			s.damaged(name, p.Log)
		}
		if s.bad {
			// Someone may want to look at it.
			if err := p.FS.Rename(name, name+".damaged"); err != nil {
				return err
			}
			name = ""
		}
		for shard, lines := range s.lines {
			all[shard] = append(all[shard], lines...)
		}
		if name != "" {
			done = append(done, name)
		}
	}
	for shard, lines := range all {
		if err := p.foldShard(ctx, shard, lane, lines); err != nil {
			return err
		}
	}
	for _, name := range done {
		if err := p.FS.Remove(name); err != nil {
			return err
		}
	}
	return p.FS.SyncDir(dir)
}

func (p *Place) foldShard(ctx context.Context, shard, lane int, lines []Line) error {
	if err := p.FS.Mkdir(p.Storage.Filename(record.Shard(p.Key, shard))); err != nil {
		return err
	}
	key := record.Key(p.Key, shard, lane)
	f, err := record.Load(ctx, p.Storage, key, p.Log)
	if err != nil {
		return err
	}
	if err := Apply(f, lines); err != nil {
		p.Log.Error("a journal of limits has lines that are not understood", zap.String("directory", p.Dir()), zap.Int("lane", lane), zap.Error(err))
	}
	if _, err := f.Store(ctx, p.Storage, key); err != nil {
		return err
	}
	return p.Settle(shard)
}

// torn reports whether a segment without a first line is what a crash left of one.
func torn(raw []byte) bool {
	return bytes.HasPrefix([]byte(head+"\n"), raw) || len(bytes.Trim(raw, "\x00")) == 0
}
