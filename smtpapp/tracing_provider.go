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
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/smtpapp/spans"
)

// flushTimeout is how long the last Stop waits for spans to be sent.
var flushTimeout = 5 * time.Second

const (
	tracerProviderKey = "otel"

	// abortTimeout is how long the exporter may take to notice that it is
	// to give up.
	abortTimeout = time.Second
)

// tracerProviders holds the process's tracer provider. It survives reloads, so
// that no span is lost or sent twice: all it depends on is the environment.
var tracerProviders = caddy.NewUsagePool()

// tracerProvider sends spans where the OTEL_ variables say. tracer is nil if
// that is nowhere.
type tracerProvider struct {
	tracer   trace.Tracer
	provider *sdktrace.TracerProvider
	exporter *spans.Exporter
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
	exporter := spans.New(inner, func() *zap.Logger { return printable.Logger(caddy.Log()).Named("smtp.tracing") })
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
		exporter.Logger().Warn("what is traced is described in part only", zap.Error(err))
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
		p.exporter.Logger().Warn("spans were not sent in time, giving up", zap.String("error", spans.Shorten(err)))
		p.exporter.Abort()
		select {
		case <-p.exporter.Closed():
		case <-time.After(abortTimeout):
		}
	}
	return nil
}

// Interface guards
var _ caddy.Destructor = (*tracerProvider)(nil)
