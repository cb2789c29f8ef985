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
	"fmt"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// BenchmarkTracing is what tracing adds to a message: nothing while it is off.
func BenchmarkTracing(b *testing.B) {
	body := strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n", 64)
	flight := []byte(fmt.Sprintf("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT %d LAST\r\n%s", len(body), body))
	for _, tc := range []struct {
		name    string
		sampler sdktrace.Sampler
	}{{"off", nil}, {"unsampled", sdktrace.NeverSample()}, {"on", sdktrace.AlwaysSample()}} {
		b.Run(tc.name, func(b *testing.B) {
			s := startServerWith(b, new(nullUpstream), nil)
			if tc.sampler != nil {
				tp := sdktrace.NewTracerProvider(sdktrace.WithSampler(tc.sampler), sdktrace.WithBatcher(tracetest.NewNoopExporter()))
				defer func() { _ = tp.Shutdown(context.Background()) }()
				s.gen.tracing = &tracing{tracer: tp.Tracer(tracerName), span: defaultSpan}
			}
			c := dial(b, s.addr)
			c.login()
			_ = c.nc.SetDeadline(time.Time{})
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if _, err := c.nc.Write(flight); err != nil {
					b.Fatal(err)
				}
				for range 3 {
					if _, err := c.r.ReadSlice('\n'); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
