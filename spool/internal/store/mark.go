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
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddymail/mailgateway/spool/internal/disk"
)

// MarkName is the file in a directory that says which one it is.
const MarkName = "spool.id"

// markLen is what a mark has in it, as hex.
const markLen = 16

// ErrOther is why a directory is not used that has the name of another one: what is
// mounted there is not mounted yet, and its mail would be neither seen nor sent.
var ErrOther = errors.New("this is not the directory that was used before under its name")

// Note is a file elsewhere that remembers the mark of a directory.
func Note(folder, dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join(folder, hex.EncodeToString(sum[:8]))
}

// RememberIn has the directory's mark be noted in a file elsewhere. It is called before
// Load.
func (s *Store) RememberIn(note string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note = note
}

// MentionIn has a file elsewhere name the directory, so that it is found when no spool has
// it any more. It says nothing of a mark: what is missing there is made anew.
func (s *Store) MentionIn(note string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mention = note
}

// recognize returns an error where the directory is not the one of the note. Nothing is
// made in it.
func (s *Store) recognize() error {
	noted, err := readNote(s.note)
	if err != nil || noted == "" {
		return err
	}
	if own, err := s.mark(); err != nil || own == noted {
		return err
	}
	return fmt.Errorf("%w: mount what belongs at %s, or remove %s to begin with what is there now", ErrOther, s.dir, s.note)
}

// remember makes a mark where there is none, and notes it.
func (s *Store) remember() error {
	if s.mention != "" && !(disk.OS{}).Exists(s.mention) {
		return writeNote(s.mention, "", s.dir)
	}
	noted, err := readNote(s.note)
	if err != nil || s.note == "" {
		return err
	}
	own, err := s.mark()
	if err == nil && own == "" {
		own, err = s.makeMark()
	}
	if err != nil || own == noted {
		return err
	}
	return writeNote(s.note, own, s.dir)
}

// mark reads the directory's own; empty if it has none.
func (s *Store) mark() (string, error) {
	f, err := s.disk.Open(filepath.Join(s.dir, MarkName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // it was read
	b := make([]byte, 2*markLen)
	if n, err := f.ReadAt(b, 0); n < len(b) && !errors.Is(err, io.EOF) {
		return "", err
	}
	if _, err := hex.DecodeString(string(b)); err != nil {
		return "", nil
	}
	return string(b), nil
}

func (s *Store) makeMark() (string, error) {
	b := make([]byte, markLen)
	_, _ = rand.Read(b) // never fails
	own, path := hex.EncodeToString(b), filepath.Join(s.dir, MarkName)
	_ = s.disk.Remove(path + UnsureExt)
	f, err := s.disk.Create(path + UnsureExt)
	if err != nil {
		return "", err
	}
	_, err = f.WriteAt([]byte(own+"\n"), 0)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = s.disk.Rename(path+UnsureExt, path)
	}
	if err == nil {
		err = s.disk.SyncDir(s.dir)
	}
	return own, err
}

func readNote(note string) (string, error) {
	if note == "" {
		return "", nil
	}
	b, err := os.ReadFile(note) //nolint:gosec // a path of ours
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	mark, _, _ := strings.Cut(string(b), "\n")
	return mark, err
}

// writeNote makes the note durable. It names the directory for people.
func writeNote(note, mark, dir string) error {
	if err := (disk.OS{}).Mkdir(filepath.Dir(note)); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(note), "*"+UnsureExt)
	if err != nil {
		return err
	}
	_, err = f.WriteString(mark + "\n" + dir + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), note)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return (disk.OS{}).SyncDir(filepath.Dir(note))
}
