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
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestBytes(t *testing.T) {
	const at = 1 << 61
	name := filepath.Join(t.TempDir(), "bytes")
	var files [3]*Bytes
	for i := range files {
		var err error
		if files[i], err = OpenBytes(name); err != nil {
			t.Fatal(err)
		}
		defer files[i].Close()
	}
	a, b, c := files[0], files[1], files[2]
	want := func(what string, got bool, err error, want bool) {
		t.Helper()
		if err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", what, got, err, want)
		}
	}
	got, err := a.Try(at, false)
	want("the first", got, err, true)
	got, err = b.Try(at, false)
	want("a byte that is held", got, err, false)
	got, err = b.Try(at, true)
	want("a byte that is held, shared", got, err, false)
	got, err = b.Try(at+1, true)
	want("its neighbour, shared", got, err, true)
	got, err = c.Try(at+1, true)
	want("its neighbour by a second", got, err, true)
	got, err = a.Held(at, 1)
	want("one's own byte", got, err, false)
	got, err = a.Held(at, 0)
	want("all from it on", got, err, true)
	got, err = b.Held(at, 1)
	want("the other's byte", got, err, true)
	if err := a.Free(at); err != nil {
		t.Fatal(err)
	}
	got, err = b.Try(at, false)
	want("a byte that was let go of", got, err, true)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	got, err = a.Try(at, false)
	want("a byte of a file that was closed", got, err, true)
}

// What is closed locks nothing more, whoever has the descriptor now.
func TestBytesClosedInUse(t *testing.T) {
	b, err := OpenBytes(filepath.Join(t.TempDir(), "bytes"))
	if err != nil {
		t.Fatal(err)
	}
	begun, ended := make(chan struct{}), make(chan error)
	go func() {
		var err error
		for i := 0; err == nil; i++ {
			_, err = b.Held(0, 1)
			if i == 100 {
				close(begun)
			}
		}
		ended <- err
	}()
	<-begun
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Fatalf("after the close: %v", err)
	}
	if ok, err := b.Try(1, false); ok || !errors.Is(err, os.ErrClosed) {
		t.Fatalf("locked when closed: %v %v", ok, err)
	}
}
