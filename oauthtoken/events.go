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

package oauthtoken

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
)

// emitter is the part of Caddy's events app that is used here.
type emitter interface {
	Emit(ctx caddy.Context, eventName string, data map[string]any) caddy.Event
}

const (
	eventReauth = "smtp_account_reauth_required"
	eventFailed = "smtp_token_refresh_failed"
)

func (a *App) provisionEvents(ctx caddy.Context) error {
	ev, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting events app: %w", err)
	}
	a.events, _ = ev.(emitter)
	return nil
}

// announce tells of a failed refresh: the first of a row, and the one that
// leaves an account in need of a human.
func (m *manager) announce(p *served, account string, err *authserver.Error, failures int, wasReauth bool) {
	reauth := err.Class == authserver.ClassReauth
	if err.Quiet || reauth && wasReauth || !reauth && failures > 1 {
		return
	}
	if reauth {
		m.tell(p, eventReauth, "account needs consent again", account, err)
	} else {
		m.tell(p, eventFailed, "token refresh failed", account, err)
	}
}

// announceDown tells that the breaker has opened: once, for all accounts.
func (m *manager) announceDown(p *served, err *authserver.Error) {
	// Event handlers may be slow, and the refresh that found out goes on, and
	// adds to what it found.
	told := *err
	go m.tell(p, eventFailed, "token endpoint is down; requests to it are held back", "", &told)
}

func (m *manager) tell(p *served, event, msg, account string, err *authserver.Error) {
	ex := explain.About{AppOnly: err.AppOnly}.OAuth(err.Code, err.Reason+" "+err.Description)
	p.logger.Error(msg, zap.String("account", account),
		zap.String("code", err.Code), zap.String("reason", err.Reason), zap.String("description", err.Description),
		zap.Int("status", err.Status), zap.String("cause", ex.Cause), zap.String("remedy", ex.Remedy))
	if p.app.events == nil {
		return
	}
	p.app.events.Emit(p.app.ctx, event, printable.Event(map[string]any{
		"provider": m.name, "account": account,
		"code": err.Code, "reason": err.Reason, "description": err.Description,
		"cause": ex.Cause, "remedy": ex.Remedy,
	}))
}
