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

package notify

import (
	"context"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func handler(t *testing.T, h *Handler) error {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	err := h.Provision(ctx)
	t.Cleanup(func() { _ = h.Cleanup() })
	return err
}

func TestReloadKeepsTheDesk(t *testing.T) {
	before, after := &Handler{Webhook: "http://a.example/x"}, &Handler{Webhook: "http://a.example/x"}
	if err := handler(t, before); err != nil {
		t.Fatal(err)
	}
	if err := handler(t, after); err != nil {
		t.Fatal(err)
	}
	if before.desk != after.desk {
		t.Error("a reload would tell again")
	}
}

func TestBadConfigHidesTheAddress(t *testing.T) {
	for _, h := range []*Handler{
		{Webhook: "ftp://a.example/SECRET"}, {Webhook: "http://%zz/SECRET"}, {},
		{Webhook: "http://a.example/SECRET", Format: "xml"}, {Webhook: "http://a.example/SECRET", Window: -1},
		{Webhook: "http://a.example/SECRET", Interval: 1}, {Webhook: "http://a.example/SECRET", MailAccounts: []string{"a"}},
		{MailTo: []string{"a@b.example"}}, {MailTo: []string{"A <a@b.example>"}, MailAccounts: []string{"a"}},
	} {
		if err := handler(t, h); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("error %v", err)
		}
	}
}

func TestLoggedHandlerHidesTheAddress(t *testing.T) {
	enc := zapcore.NewJSONEncoder(zapcore.EncoderConfig{})
	h := &Handler{Webhook: "http://a.example/SECRET", Format: "slack"}
	line, err := enc.EncodeEntry(zapcore.Entry{}, []zapcore.Field{zap.Any("handler", h)})
	if err != nil {
		t.Fatal(err)
	}
	if got := line.String(); strings.Contains(got, "SECRET") || !strings.Contains(got, "slack") {
		t.Errorf("logged %s", got)
	}
}
