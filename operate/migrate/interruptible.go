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

package migrate

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
)

// Interruptible is what is sent until somebody interrupts.
type Interruptible struct {
	ctx   context.Context
	from  io.Reader
	begun atomic.Bool
}

// NewInterruptible returns a reader that fails once ctx has ended.
func NewInterruptible(ctx context.Context, from io.Reader) *Interruptible {
	return &Interruptible{ctx: ctx, from: from}
}

// Begun reports whether something was read.
func (r *Interruptible) Begun() bool { return r.begun.Load() }

// Read implements io.Reader.
func (r *Interruptible) Read(b []byte) (int, error) {
	r.begun.Store(true)
	if r.ctx.Err() != nil {
		return 0, errors.New("interrupted")
	}
	return r.from.Read(b)
}
