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

package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddyserver/certmagic"
)

// locksDir is where certmagic's files keep locks, which belong to the processes
// that took them.
const locksDir = "locks/"

var (
	// ofProcess are keys of what processes hold while they live: it says nothing once
	// they have ended, and a lock that was copied over another is none.
	ofProcess = regexp.MustCompile(`^(locks|smtp/processes|smtp/limits/[^/]+/lanes)/|^smtp/limits/[^/]+/[^/]+/(lock|turn)$|^smtp/.*\.lock$`)
	// journal are those of counts that a process wrote that did not end in order.
	journal = regexp.MustCompile(`^smtp/limits/[^/]+/journal/[0-9]+-[0-9]+\.log$`)
)

// valued is a storage that tells values from directories without being asked for each.
type valued interface {
	Values(ctx context.Context) ([]string, error)
}

// list returns the keys of all values, in order.
func list(ctx context.Context, s certmagic.Storage) ([]string, error) {
	if v, ok := s.(valued); ok {
		keys, err := v.Values(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing it: %w", err)
		}
		keys = slices.DeleteFunc(keys, ofProcess.MatchString)
		slices.Sort(keys)
		return keys, nil
	}
	all, err := s.List(ctx, "", true)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing it: %w", err)
	}
	value := make([]bool, len(all))
	err = each(ctx, len(all), func(ctx context.Context, i int) error {
		k := all[i]
		if ofProcess.MatchString(k) {
			return nil
		}
		info, err := s.Stat(ctx, k)
		if err != nil {
			return fmt.Errorf("asking for %q: %w", k, err)
		}
		value[i] = info.IsTerminal
		return foreign(s, k, info.IsTerminal)
	})
	if err != nil {
		return nil, err
	}
	var keys []string
	for i, k := range all {
		if value[i] {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys, nil
}

// foreign is an error for what cannot be copied as a value: it is said, and not
// left behind.
func foreign(s certmagic.Storage, key string, terminal bool) error {
	if !utf8.ValidString(key) || strings.ContainsRune(key, 0) {
		return fmt.Errorf("%q: this name is no text, no gateway has made it: take the file away", key)
	}
	files, ok := s.(*certmagic.FileStorage)
	if !ok {
		return nil
	}
	name := files.Filename(key)
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	switch {
	case !terminal && info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s is a symbolic link to a directory, whose files would be left behind: put the directory in its place for the time of the copy", name)
	case terminal && info.Mode()&fs.ModeSymlink != 0:
		if info, err = os.Stat(name); err != nil {
			return err
		}
	}
	if terminal && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file, no gateway has made it: take it away", name)
	}
	return nil
}

// unfolded is an error if the counts of limits would be lost: where storages are files
// they may be in the journal of a process that was killed, which nobody reads elsewhere.
func unfolded(from, to certmagic.Storage, keys []string) error {
	_, files := from.(*certmagic.FileStorage)
	if _, same := to.(*certmagic.FileStorage); !files || same {
		return nil
	}
	for _, k := range keys {
		if journal.MatchString(k) {
			return fmt.Errorf("%s: the gateway that wrote it has not ended in order, and what it counted would not count: start it and stop it once, then copy", k)
		}
	}
	return nil
}
