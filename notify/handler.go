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
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler tells people of troubles that events announce.
type Handler struct {
	// Address that digests are posted to, http or https. A secret; may be a
	// placeholder such as {env.HOOK}. Required.
	Webhook string `json:"webhook,omitempty"`
	// Form of what is posted: json, slack or teams. Default: json.
	Format string `json:"format,omitempty"`
	// How long to collect troubles after the first, for one digest.
	// Default: 30s.
	Window caddy.Duration `json:"window,omitempty"`
	// How long a trouble that was told is not told again. Default: 24h.
	Again caddy.Duration `json:"again,omitempty"`

	desk   *desk
	key    string
	logger *zap.Logger
}

// desks outlive configurations: a reload must not tell again.
var desks = caddy.NewUsagePool()

const sendTimeout = 10 * time.Second

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.smtp_notify", New: func() caddy.Module { return new(Handler) }}
}

// Provision implements caddy.Provisioner.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	address := caddy.NewReplacer().ReplaceAll(h.Webhook, "")
	// The error of url.Parse would repeat the address, which is a secret.
	if u, err := url.Parse(address); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("smtp_notify: webhook is no http or https address")
	}
	if h.Format == "" {
		h.Format = "json"
	}
	if !slices.Contains([]string{"json", "slack", "teams"}, h.Format) {
		return fmt.Errorf("smtp_notify: format %q is none of json, slack, teams", h.Format)
	}
	if h.Window < 0 || h.Again < 0 {
		return errors.New("smtp_notify: window and again must not be negative")
	}
	if h.Window == 0 {
		h.Window = caddy.Duration(30 * time.Second)
	}
	if h.Again == 0 {
		h.Again = caddy.Duration(24 * time.Hour)
	}
	logger := h.logger
	key := fmt.Sprintf("%s %s %d %d", h.Format, address, h.Window, h.Again)
	d, _, err := desks.LoadOrNew(key, func() (caddy.Destructor, error) {
		return newDesk(newWebhook(address, h.Format), time.Duration(h.Window), time.Duration(h.Again), sendTimeout,
			func(err error, troubles int) {
				logger.Error("notification not delivered", zap.Error(err), zap.Int("troubles", troubles))
			}), nil
	})
	if err != nil {
		return err
	}
	h.desk, h.key = d.(*desk), key
	return nil
}

// Cleanup implements caddy.CleanerUpper.
func (h *Handler) Cleanup() error {
	if h.key == "" {
		return nil
	}
	_, err := desks.Delete(h.key)
	return err
}

// MarshalLogObject implements zapcore.ObjectMarshaler: the events app logs its
// handlers at debug level, and the address is a secret.
func (h *Handler) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("format", h.Format)
	return nil
}

// Handle implements caddyevents.Handler. It never waits for a send.
func (h *Handler) Handle(_ context.Context, e caddy.Event) error {
	field := func(name string) string { s, _ := e.Data[name].(string); return s }
	if !h.desk.tell(Trouble{
		Event: e.Name(), Provider: field("provider"), Account: field("account"),
		Code: field("code"), Cause: field("cause"), Remedy: field("remedy"),
	}) {
		h.logger.Warn("notification dropped: too many wait", zap.String("event", e.Name()))
	}
	return nil
}

var (
	_ caddy.Provisioner   = (*Handler)(nil)
	_ caddy.CleanerUpper  = (*Handler)(nil)
	_ caddyevents.Handler = (*Handler)(nil)
)
