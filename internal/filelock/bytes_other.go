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

//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package filelock

import "errors"

// HasBytes reports whether bytes can be locked here.
const HasBytes = false

// Bytes are not locked here.
type Bytes struct{}

// OpenBytes returns errors.ErrUnsupported.
func OpenBytes(string) (*Bytes, error) { return nil, errors.ErrUnsupported }

// Try returns errors.ErrUnsupported.
func (*Bytes) Try(int64, bool) (bool, error) { return false, errors.ErrUnsupported }

// Free returns errors.ErrUnsupported.
func (*Bytes) Free(int64) error { return errors.ErrUnsupported }

// Held returns errors.ErrUnsupported.
func (*Bytes) Held(int64, int64) (bool, error) { return false, errors.ErrUnsupported }

// Close does nothing.
func (*Bytes) Close() error { return nil }
