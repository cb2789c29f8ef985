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

package record

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/caddyserver/certmagic"
)

// Shard is the directory of a shard below that of an upstream.
func Shard(dir string, shard int) string { return path.Join(dir, strconv.Itoa(shard)) }

// Key is a lane's file of a shard.
func Key(dir string, shard, lane int) string {
	return path.Join(Shard(dir, shard), strconv.Itoa(lane)+".json")
}

// LaneOf returns the lane whose file a key is, -1 for something else.
func LaneOf(key string) int {
	name, ok := strings.CutSuffix(path.Base(key), ".json")
	n, err := strconv.Atoi(name)
	if !ok || err != nil || n < 0 {
		return -1
	}
	return n
}

// List returns the keys directly below a directory; none if there is none.
func List(ctx context.Context, st certmagic.Storage, dir string) ([]string, error) {
	keys, err := st.List(ctx, dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return keys, err
}

// Remove deletes a file, if it is there.
func Remove(ctx context.Context, st certmagic.Storage, key string) error {
	if err := st.Delete(ctx, key); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
