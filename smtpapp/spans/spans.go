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

// Package spans is what stands between OpenTelemetry and the exporter of its
// spans (spans.go): it bounds what a collector that is away costs in time and in lines
// of the log; and what checks their environment (environment.go). It knows neither SMTP nor an account, and imports none of ours.
package spans

import (
	"context"
	"errors"
	"sync"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"
)

// exportWarnings is the time between two lines about spans that could not be sent.
const exportWarnings = time.Minute

// Exporter stands in front of the real exporter of spans. It keeps errors to
// itself, since OpenTelemetry's handler for them is the whole process's and
// knows no limit, and can be told to give up.
type Exporter struct {
	sdktrace.SpanExporter
	logger func() *zap.Logger
	ctx    context.Context
	abort  context.CancelFunc
	closed chan struct{}
	once   sync.Once

	mu     sync.Mutex
	lost   int       // spans, since the last line
	warned time.Time // zero while all is well
}

// New returns an exporter that says on the logger what is lost.
func New(inner sdktrace.SpanExporter, logger func() *zap.Logger) *Exporter {
	ctx, cancel := context.WithCancel(context.Background())
	return &Exporter{SpanExporter: inner, logger: logger, ctx: ctx, abort: cancel, closed: make(chan struct{})}
}

// Logger is where it says what is lost.
func (e *Exporter) Logger() *zap.Logger { return e.logger() }

// Abort makes it give up.
func (e *Exporter) Abort() { e.abort() }

// Closed is closed when it has been shut down.
func (e *Exporter) Closed() <-chan struct{} { return e.closed }

var errAborted = errors.New("given up")

// ExportSpans implements sdktrace.SpanExporter.
func (e *Exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if e.ctx.Err() != nil {
		e.note(errAborted, len(spans), time.Now())
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	e.note(e.SpanExporter.ExportSpans(ctx, spans), len(spans), time.Now())
	return nil
}

// note says that spans are lost, and that they are no longer, at most once in
// exportWarnings.
func (e *Exporter) note(err error, spans int, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil {
		if !e.warned.IsZero() && now.Sub(e.warned) >= exportWarnings {
			e.logger().Info("spans are sent again", zap.Int("lost", e.lost))
			e.lost, e.warned = 0, time.Time{}
		}
		return
	}
	e.lost += spans
	if e.warned.IsZero() || now.Sub(e.warned) >= exportWarnings {
		e.logger().Warn("spans cannot be sent", zap.Int("lost", e.lost), zap.String("error", Shorten(err)))
		e.lost, e.warned = 0, now
	}
}

// Shutdown implements sdktrace.SpanExporter.
func (e *Exporter) Shutdown(ctx context.Context) error {
	err := e.SpanExporter.Shutdown(ctx)
	e.once.Do(func() {
		e.mu.Lock()
		if e.lost > 0 {
			e.logger().Warn("spans were not sent", zap.Int("lost", e.lost))
		}
		e.mu.Unlock()
		e.abort()
		close(e.closed)
	})
	return err
}

// Shorten bounds an error that may quote a whole page of a collector's.
func Shorten(err error) string {
	const limit = 300
	if s := err.Error(); len(s) <= limit {
		return s
	} else {
		return s[:limit] + "..."
	}
}

// Interface guards
var _ sdktrace.SpanExporter = (*Exporter)(nil)
