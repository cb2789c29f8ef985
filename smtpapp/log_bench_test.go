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
	"io"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver"
)

// BenchmarkAccessLog is the cost of counting a message and of its line,
// without writing it.
func BenchmarkAccessLog(b *testing.B) {
	g := newTestGeneration(b, new(fakeUpstream), new(testSource), testPolicy())
	g.metrics = newMetrics()
	g.access = printable.Logger(zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(io.Discard), zapcore.InfoLevel)))
	s := &session{id: "0123456789abcdef", remote: netip.MustParseAddr("192.0.2.1")}
	s.transaction = transaction{
		gen: g, from: "a@example.com", started: time.Now(),
		account: &accounts.Account{Record: accounts.Record{Name: "a@example.com", Upstream: "up"}},
	}
	reply := &relay.Reply{Code: 250, Lines: []string{"2.0.0 OK"}}
	b.ReportAllocs()
	for b.Loop() {
		s.about = relay.Info{Upstream: "up"}
		g.logMessage(s, &smtpserver.Result{Reply: reply, Data: true, Size: 4096, Tried: 1, Accepted: 1})
	}
}
