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

package logbuffer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/zapcore"
)

const (
	defaultLogBuffer   = 64 << 10
	defaultLogInterval = time.Second
)

func init() {
	// Caddy closes no log when it stops (its OnCancel is set on a copy of the
	// context), so what the logs gathered last has to be written here.
	caddy.OnExit(func(context.Context) { openLogs.sync() })
}

// Writer is a log writer that gathers lines and hands them to
// another writer many at a time. With thousands of messages a second, writing
// each line of the access log by itself costs more than making it.
//
// The lines reach the other writer when the buffer is full, after the
// interval, with an entry of a level above ERROR, and when Caddy stops. A
// process that is killed loses what it gathered, at most one interval; the log
// is no part of what keeps messages from being lost.
type Writer struct {
	// The writer that gets the lines: any module of `caddy.logging.writers`.
	WriterRaw json.RawMessage `json:"writer,omitempty" caddy:"namespace=caddy.logging.writers inline_key=output"`
	// How much to gather, in bytes. Default: 65536.
	Size int64 `json:"size,omitempty"`
	// How long a line waits at most. Default: 1s.
	FlushInterval caddy.Duration `json:"flush_interval,omitempty"`

	opener caddy.WriterOpener
}

// CaddyModule returns the Caddy module information.
func (*Writer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.logging.writers.buffered",
		New: func() caddy.Module { return new(Writer) },
	}
}

// Provision loads the other writer.
func (w *Writer) Provision(ctx caddy.Context) error {
	if w.WriterRaw == nil {
		return errors.New("buffered log writer: no output")
	}
	if w.Size < 0 {
		return fmt.Errorf("buffered log writer: size %d is negative", w.Size)
	}
	if w.FlushInterval < 0 {
		return fmt.Errorf("buffered log writer: flush_interval %v is negative", time.Duration(w.FlushInterval))
	}
	if w.Size == 0 {
		w.Size = defaultLogBuffer
	}
	if w.FlushInterval == 0 {
		w.FlushInterval = caddy.Duration(defaultLogInterval)
	}
	mod, err := ctx.LoadModule(w, "WriterRaw")
	if err != nil {
		return fmt.Errorf("buffered log writer: loading output: %w", err)
	}
	opener, ok := mod.(caddy.WriterOpener)
	if !ok {
		return fmt.Errorf("buffered log writer: output %T is no log writer", mod)
	}
	w.opener = opener
	return nil
}

// String names the other writer.
func (w *Writer) String() string { return w.opener.String() }

// WriterKey tells this writer from others, across reloads.
func (w *Writer) WriterKey() string {
	return fmt.Sprintf("buffered:%d:%d:%s", w.Size, w.FlushInterval, w.opener.WriterKey())
}

// OpenWriter opens the other writer behind a buffer.
func (w *Writer) OpenWriter() (io.WriteCloser, error) {
	to, err := w.opener.OpenWriter()
	if err != nil {
		return nil, err
	}
	b := &bufferedLog{to: to}
	b.buffer = &zapcore.BufferedWriteSyncer{
		WS: zapcore.AddSync(&unstuck{to: to}), Size: int(w.Size), FlushInterval: time.Duration(w.FlushInterval),
	}
	openLogs.add(b)
	return b, nil
}

// openLogs are the logs that have to be written when the process ends.
var openLogs logSet

type logSet struct {
	mu   sync.Mutex
	logs map[*bufferedLog]struct{}
}

func (s *logSet) add(b *bufferedLog) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logs == nil {
		s.logs = make(map[*bufferedLog]struct{})
	}
	s.logs[b] = struct{}{}
}

func (s *logSet) remove(b *bufferedLog) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.logs, b)
}

func (s *logSet) sync() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b := range s.logs {
		_ = b.Sync() // unstuck has told
	}
}

// bufferedLog is an open log.
type bufferedLog struct {
	to     io.WriteCloser
	buffer *zapcore.BufferedWriteSyncer

	mu     sync.RWMutex // held for reading during a write
	closed bool
}

// Write implements io.Writer.
func (b *bufferedLog) Write(p []byte) (int, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		// A session that outlives its configuration: nobody would flush.
		return b.to.Write(p)
	}
	return b.buffer.Write(p)
}

// Sync writes what has been gathered. Zap calls it after a panic's entry.
func (b *bufferedLog) Sync() error { return b.buffer.Sync() }

// Close writes what has been gathered and closes the other writer.
func (b *bufferedLog) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	openLogs.remove(b)
	return errors.Join(b.buffer.Stop(), b.to.Close())
}

// unstuck hides the errors of a writer: a bufio.Writer that has seen one never
// writes again, but a disk that was full may have room later.
type unstuck struct {
	to   io.Writer
	told time.Time
}

// Write implements io.Writer. The buffer calls it under its lock.
func (u *unstuck) Write(p []byte) (int, error) {
	if _, err := u.to.Write(p); err != nil && time.Since(u.told) >= time.Minute {
		u.told = time.Now()
		fmt.Fprintf(os.Stderr, "[ERROR] buffered log writer: lines lost: %v\n", err)
	}
	return len(p), nil
}

// Interface guards
var (
	_ caddy.Provisioner   = (*Writer)(nil)
	_ caddy.WriterOpener  = (*Writer)(nil)
	_ zapcore.WriteSyncer = (*bufferedLog)(nil)
)
