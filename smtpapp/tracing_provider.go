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

package smtpapp

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/printable"
)

// flushTimeout is how long the last Stop waits for spans to be sent.
var flushTimeout = 5 * time.Second

const (
	tracerProviderKey = "otel"

	// abortTimeout is how long the exporter may take to notice that it is
	// to give up.
	abortTimeout = time.Second
	// exportWarnings is the time between two lines about spans that could
	// not be sent.
	exportWarnings = time.Minute
)

// tracerProviders holds the process's tracer provider. It survives reloads, so
// that no span is lost or sent twice: all it depends on is the environment.
var tracerProviders = caddy.NewUsagePool()

// tracerProvider sends spans where the OTEL_ variables say. tracer is nil if
// that is nowhere.
type tracerProvider struct {
	tracer   trace.Tracer
	provider *sdktrace.TracerProvider
	exporter *spanExporter
}

func newTracerProvider() (*tracerProvider, error) {
	// Neither exporter dials before it has something to send.
	inner, err := autoexport.NewSpanExporter(context.Background())
	if err != nil {
		return nil, err
	}
	if autoexport.IsNoneSpanExporter(inner) {
		return new(tracerProvider), nil
	}
	exporter := newSpanExporter(inner, func() *zap.Logger { return printable.Logger(caddy.Log()).Named("smtp.tracing") })
	version, _ := caddy.Version()
	res, err := resource.New(context.Background(),
		resource.WithTelemetrySDK(),
		resource.WithHost(),
		resource.WithAttributes(
			attribute.String("service.name", "mailgateway"),
			attribute.String("service.version", version),
		),
		resource.WithFromEnv(), // OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES
	)
	if err != nil {
		exporter.logger().Warn("what is traced is described in part only", zap.Error(err))
	}
	// A full queue drops spans; it never holds up who ends one. Sampler,
	// limits and batches come from the environment.
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(res))
	return &tracerProvider{tracer: provider.Tracer(tracerName), provider: provider, exporter: exporter}, nil
}

// Destruct implements caddy.Destructor. It sends what is left, and gives up
// after flushTimeout.
func (p *tracerProvider) Destruct() error {
	if p.provider == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := p.provider.Shutdown(ctx); err != nil {
		p.exporter.logger().Warn("spans were not sent in time, giving up", zap.String("error", shorten(err)))
		p.exporter.abort()
		select {
		case <-p.exporter.closed:
		case <-time.After(abortTimeout):
		}
	}
	return nil
}

// spanExporter stands in front of the real exporter. It keeps errors to
// itself, since OpenTelemetry's handler for them is the whole process's and
// knows no limit, and can be told to give up.
type spanExporter struct {
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

func newSpanExporter(inner sdktrace.SpanExporter, logger func() *zap.Logger) *spanExporter {
	ctx, cancel := context.WithCancel(context.Background())
	return &spanExporter{SpanExporter: inner, logger: logger, ctx: ctx, abort: cancel, closed: make(chan struct{})}
}

var errAborted = errors.New("given up")

// ExportSpans implements sdktrace.SpanExporter.
func (e *spanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
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
func (e *spanExporter) note(err error, spans int, now time.Time) {
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
		e.logger().Warn("spans cannot be sent", zap.Int("lost", e.lost), zap.String("error", shorten(err)))
		e.lost, e.warned = 0, now
	}
}

// Shutdown implements sdktrace.SpanExporter.
func (e *spanExporter) Shutdown(ctx context.Context) error {
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

// shorten bounds an error that may quote a whole page of a collector's.
func shorten(err error) string {
	const limit = 300
	if s := err.Error(); len(s) <= limit {
		return s
	} else {
		return s[:limit] + "..."
	}
}

// Interface guards
var (
	_ caddy.Destructor      = (*tracerProvider)(nil)
	_ sdktrace.SpanExporter = (*spanExporter)(nil)
)
