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

package loggers

import (
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddymail/mailgateway/internal/printable"
)

// Process returns a logger for what belongs to the process. It writes to the default
// log of the configuration in force.
func Process(name string) *zap.Logger {
	return printable.Logger(zap.New(&core{now: caddy.Log})).Named(name)
}

// Current is the logger of the generation in force. Its zero value writes nothing.
type Current struct{ now atomic.Pointer[zap.Logger] }

// Use makes l the logger that is written with from now on.
func (c *Current) Use(l *zap.Logger) { c.now.Store(l) }

// Logger returns a logger that writes with the one in use.
func (c *Current) Logger() *zap.Logger {
	return zap.New(&core{now: func() *zap.Logger {
		if l := c.now.Load(); l != nil {
			return l
		}
		return zap.NewNop()
	}})
}

// core hands each line to another logger's core.
type core struct {
	now    func() *zap.Logger
	fields []zapcore.Field
}

func (c *core) target() zapcore.Core { return c.now().Core().With(c.fields) }

// Enabled implements zapcore.LevelEnabler.
func (c *core) Enabled(level zapcore.Level) bool { return c.now().Core().Enabled(level) }

// With implements zapcore.Core.
func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{c.now, append(slices.Clip(c.fields), fields...)}
}

// Check implements zapcore.Core. The other core writes by itself what it takes, under
// its own logger's name.
func (c *core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	l := c.now()
	if name := l.Name(); name != "" && e.LoggerName != "" {
		e.LoggerName = name + "." + e.LoggerName
	} else {
		e.LoggerName += name
	}
	return l.Core().With(c.fields).Check(e, ce)
}

// Write implements zapcore.Core.
func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return c.target().Write(e, fields)
}

// Sync implements zapcore.Core.
func (c *core) Sync() error { return c.target().Sync() }
