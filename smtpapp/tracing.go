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
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/smtpapp/spans"
)

const (
	defaultSpan = "smtp.transaction"
	tracerName  = "github.com/caddymail/mailgateway/smtpapp"
)

// tracing makes the spans of an app. It is nil where tracing is off.
type tracing struct {
	tracer trace.Tracer
	span   string
}

// provision checks what the environment says.
func (t *Tracing) provision() error {
	def(&t.Span, defaultSpan)
	return spans.CheckEnvironment()
}

// startTracing takes the process's provider, if the app traces.
func (a *App) startTracing() error {
	if a.Tracing == nil {
		return nil
	}
	if spans.Disabled() {
		a.logger.Info("tracing is off: OTEL_SDK_DISABLED is true")
		return nil
	}
	v, loaded, err := tracerProviders.LoadOrNew(tracerProviderKey, func() (caddy.Destructor, error) {
		return newTracerProvider()
	})
	if err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	a.tracingTaken = true
	p := v.(*tracerProvider)
	if p.tracer == nil {
		return nil // OTEL_TRACES_EXPORTER is none
	}
	a.tracing = &tracing{tracer: p.tracer, span: a.Tracing.Span}
	if !loaded {
		a.logger.Info("tracing is on", zap.String("span", a.Tracing.Span))
	}
	return nil
}

// stopTracing gives the provider back. The last one to do so waits until the
// spans are sent, but not for long.
func (a *App) stopTracing() {
	if a.tracingTaken {
		a.tracingTaken = false
		_, _ = tracerProviders.Delete(tracerProviderKey)
	}
}
