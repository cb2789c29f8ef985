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

package spans

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestExportWarnings: an exporter that fails says so once in a while.
func TestExportWarnings(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	e := New(tracetest.NewNoopExporter(), func() *zap.Logger { return zap.New(core) })
	defer e.Abort()
	start := time.Now()
	down := errors.New("down " + strings.Repeat("x", 1000))
	for i := range 130 {
		e.note(down, 2, start.Add(time.Duration(i)*time.Second))
	}
	e.note(nil, 2, start.Add(131*time.Second))
	e.note(nil, 2, start.Add(200*time.Second))
	e.note(nil, 2, start.Add(300*time.Second))
	var got []string
	for _, l := range logs.All() {
		f := l.ContextMap()
		if text, ok := f["error"].(string); ok && len(text) > 400 {
			t.Errorf("an error of %d bytes", len(text))
		}
		got = append(got, fmt.Sprint(l.Level, " ", l.Message, " ", f["lost"]))
	}
	want := []string{"warn spans cannot be sent 2", "warn spans cannot be sent 120", "warn spans cannot be sent 120", "info spans are sent again 18"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
