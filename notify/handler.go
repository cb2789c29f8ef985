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
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/loggers"
	"github.com/caddymail/mailgateway/operate"
)

// Handler tells people of trouble with the gateway: of each once when it
// begins, and once when it is over. It subscribes to the event `smtp_trouble`,
// and needs a webhook, mail, or both.
type Handler struct {
	// Webhook is an http or https address that digests are posted to. It is a
	// secret, and may be a placeholder such as {env.HOOK}. Default: none.
	Webhook string `json:"webhook,omitempty"`
	// Format is what is posted: `json`, or what `slack` or `teams` takes.
	// Default: json.
	Format string `json:"format,omitempty"`
	// MailTo are the addresses that digests are mailed to. Default: none.
	MailTo []string `json:"mail_to,omitempty"`
	// MailAccounts are the gateway's accounts to mail through: the first one
	// that works is used. Default: none; required with mail_to.
	MailAccounts []string `json:"mail_accounts,omitempty"`
	// MailFrom is the sender of the mail. Default: the account's mailbox.
	MailFrom string `json:"mail_from,omitempty"`
	// Window is how long what comes after the first notice is collected for
	// one digest. Default: 1m.
	Window caddy.Duration `json:"window,omitempty"`
	// Interval is the time between two looks at the gateway; a trouble is
	// over when two of them have not seen it. Default: 30s, at least 1s.
	Interval caddy.Duration `json:"interval,omitempty"`

	desk *desk
	key  string
}

// desks and watches outlive configurations: a reload tells nothing anew.
var desks, watches = caddy.NewUsagePool(), caddy.NewUsagePool()

// sendTimeout bounds a digest on its way to one destination.
var sendTimeout = 30 * time.Second

const (
	defaultWindow = caddy.Duration(time.Minute)
	defaultWatch  = caddy.Duration(30 * time.Second)
)

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.smtp_notify", New: func() caddy.Module { return new(Handler) }}
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *Handler) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, h) }

// Provision implements caddy.Provisioner.
func (h *Handler) Provision(caddy.Context) error {
	h.Format, h.Window, h.Interval = cmp.Or(h.Format, "json"), cmp.Or(h.Window, defaultWindow), cmp.Or(h.Interval, defaultWatch)
	if h.Window < 0 {
		return errors.New("smtp_notify: window: must not be negative")
	}
	if time.Duration(h.Interval) < time.Second {
		return fmt.Errorf("smtp_notify: interval: %s is less than 1s", time.Duration(h.Interval))
	}
	to, err := h.destinations()
	if err != nil {
		return fmt.Errorf("smtp_notify: %w", err)
	}
	settings, err := json.Marshal([]any{to.address, h.Format, h.MailTo, h.MailAccounts, h.MailFrom, h.Window})
	if err != nil {
		return err
	}
	key := fmt.Sprintf("%x", sha256.Sum256(settings))
	// It outlives the configuration, and so does its logger.
	logger := loggers.Process("events.handlers.smtp_notify")
	d, _, err := desks.LoadOrNew(key, func() (caddy.Destructor, error) {
		return newDesk(to.list, time.Duration(h.Window), sendTimeout, func(err error, notices int) {
			logger.Error("notification not delivered; it is tried again", zap.Error(err), zap.Int("notices", notices))
		}), nil
	})
	if err != nil {
		return err
	}
	h.desk, h.key = d.(*desk), key
	_, _, err = watches.LoadOrNew(h.Interval, func() (caddy.Destructor, error) {
		return newWatch(time.Duration(h.Interval), operate.Examine, emitTrouble), nil
	})
	return err
}

// destinations are where a handler's digests go. address is the webhook's, with
// its placeholders replaced.
type destinations struct {
	address string
	list    []destination
}

func (h *Handler) destinations() (to destinations, err error) {
	if h.Webhook != "" {
		to.address, err = caddy.NewReplacer().ReplaceOrErr(h.Webhook, true, true)
		if err != nil {
			return to, fmt.Errorf("webhook: %w", form.Unresolved(err))
		}
		to.address = strings.TrimSpace(to.address) // files end in a newline
		// The error of url.Parse would repeat the address, which is a secret.
		if u, err := url.Parse(to.address); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return to, errors.New("webhook: is no http or https address")
		}
		to.list = append(to.list, newWebhook(to.address, h.Format))
	}
	if err := form.OneOf("json", "slack", "teams").Check(h.Format); err != nil {
		return to, fmt.Errorf("format: %w", err)
	}
	if h.MailFrom != "" {
		if err := checkAddress(h.MailFrom); err != nil {
			return to, fmt.Errorf("mail_from: %w", err)
		}
	}
	for _, address := range h.MailTo {
		if err := checkAddress(address); err != nil {
			return to, fmt.Errorf("mail_to: %w", err)
		}
	}
	for _, name := range h.MailAccounts {
		if err := form.Text.Check(name); err != nil || name == "" {
			return to, fmt.Errorf("mail_accounts: %w", cmp.Or(err, errors.New("a name is empty")))
		}
	}
	switch {
	case len(h.MailTo) > 0 && len(h.MailAccounts) > 0:
		to.list = append(to.list, &mailer{accounts: h.MailAccounts, from: h.MailFrom, to: h.MailTo})
	case len(h.MailTo) > 0:
		return to, errors.New("mail_accounts: needed with mail_to: through which account?")
	case len(h.MailAccounts) > 0 || h.MailFrom != "":
		return to, errors.New("mail_to: needed with mail_accounts and mail_from: to whom?")
	}
	if len(to.list) == 0 {
		return to, errors.New("needs webhook or mail_to")
	}
	return to, nil
}

// checkAddress refuses what does not stand in a header as it is.
func checkAddress(s string) error {
	if err := form.Mailbox.Check(s); err != nil {
		return err
	}
	if a, err := mail.ParseAddress(s); err != nil || a.Address != s {
		return fmt.Errorf("'%s' is not a mail address, as in scanner@example.com", s)
	}
	return nil
}

// Cleanup implements caddy.CleanerUpper.
func (h *Handler) Cleanup() error {
	if h.key == "" {
		return nil
	}
	_, err := watches.Delete(h.Interval)
	_, derr := desks.Delete(h.key)
	return errors.Join(err, derr)
}

// MarshalLogObject implements zapcore.ObjectMarshaler: the events app logs its
// handlers at debug level, and the address is a secret.
func (h *Handler) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("format", h.Format)
	enc.AddInt("mail_to", len(h.MailTo))
	return nil
}

// Handle implements caddyevents.Handler. It never waits for a send. Events of
// others, which `on *` brings, are not for it.
func (h *Handler) Handle(_ context.Context, e caddy.Event) error {
	if e.Name() != EventTrouble {
		return nil
	}
	field := func(name string) string { s, _ := e.Data[name].(string); return s }
	h.desk.tell(Notice{
		State: field("state"), Check: field("check"), Subject: field("subject"),
		Account: field("account"), Cause: field("cause"), Remedy: field("remedy"),
	})
	return nil
}

var (
	_ caddy.Provisioner   = (*Handler)(nil)
	_ caddy.CleanerUpper  = (*Handler)(nil)
	_ caddyevents.Handler = (*Handler)(nil)
)
