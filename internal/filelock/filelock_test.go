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

//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package filelock

import (
	"path/filepath"
	"testing"
)

func TestTry(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	first, err := Try(name)
	if err != nil || first == nil {
		t.Fatalf("%v, %v; want the lock", first, err)
	}
	if second, err := Try(name); err != nil || second != nil {
		t.Errorf("%v, %v; want neither while it is locked", second, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	third, err := Try(name)
	if err != nil || third == nil {
		t.Fatalf("%v, %v; want the lock that was given back", third, err)
	}
	_ = third.Close()
	if f, err := Try(filepath.Join(name, "below")); err == nil || f != nil {
		t.Errorf("%v, %v; want an error where no file can be", f, err)
	}
}

// TestTryShared has a lock by many or by one.
func TestTryShared(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	first, err := TryShared(name)
	if err != nil || first == nil {
		t.Fatalf("%v, %v; want the lock", first, err)
	}
	second, err := TryShared(name)
	if err != nil || second == nil {
		t.Fatalf("%v, %v; want the lock beside another", second, err)
	}
	_ = first.Close()
	if f, err := Try(name); err != nil || f != nil {
		t.Errorf("%v, %v; want neither while one is left", f, err)
	}
	_ = second.Close()
	alone, err := Try(name)
	if err != nil || alone == nil {
		t.Fatalf("%v, %v; want the lock that both gave back", alone, err)
	}
	if f, err := TryShared(name); err != nil || f != nil {
		t.Errorf("%v, %v; want neither beside one that has it alone", f, err)
	}
	_ = alone.Close()
}
