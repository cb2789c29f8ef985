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

package command

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/setup"
)

// setupTimeout bounds the test mail, and the reading of what is stored.
const setupTimeout = 2 * time.Minute

// try runs the gateway that the configuration makes within this process, without
// its servers, and goes the whole way of a message with it.
func (d *dialog) try() error {
	socket, err := os.MkdirTemp("", "mailgateway-setup")
	if err != nil {
		return err
	}
	defer os.RemoveAll(socket)
	cfg, err := d.trialConfig(filepath.Join(socket, "admin.sock"))
	if err != nil {
		return err
	}
	if err := caddy.Load(cfg, true); err != nil {
		return fmt.Errorf("the configuration: %w", err)
	}
	defer func() { _ = caddy.Stop() }()
	ctx, stop := signal.NotifyContext(d.cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := &adminClient{address: "unix/" + filepath.Join(socket, "admin.sock")}
	if err := d.consent(ctx, c); err != nil {
		return err
	}
	if err := d.verify(c); err != nil {
		return err
	}
	return d.mail(ctx)
}

// trialConfig is the written configuration without what would serve others.
func (d *dialog) trialConfig(socket string) ([]byte, error) {
	text, err := setup.Config(d.dir)
	if err != nil {
		return nil, err
	}
	adapted, err := setup.Adapt([]byte(text), filepath.Join(d.dir, setup.ConfigName))
	if err != nil {
		return nil, fmt.Errorf("the configuration: %w", err)
	}
	return setup.Trial(adapted, socket)
}

// consent has the mailbox's owner consent, unless that was done.
func (d *dialog) consent(ctx context.Context, c *adminClient) error {
	if !d.answers.Consents() {
		return nil
	}
	known, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	if there, err := operate.Consented(known, d.answers.Mailbox); err != nil {
		return fmt.Errorf("the consent of %s: %w", d.answers.Mailbox, err)
	} else if there {
		d.say("ok      consent of %s: there\n", d.answers.Mailbox)
		return nil
	}
	d.say("\nThe owner of %s has to consent.\n", d.answers.Mailbox)
	var status admin.LoginStatus
	if err := c.call(http.MethodPost, admin.AccountPath(d.answers.Mailbox, "login"), nil, admin.LoginRequest{}, &status); err != nil {
		return err
	}
	if err := showLogin(d.cmd, status); err != nil {
		return err
	}
	status, err := awaitLogin(ctx, d.cmd, c, status)
	if err != nil {
		return err
	}
	if status.State != "done" {
		return loginFailure(status.Error, status.Explanation)
	}
	d.say("ok      consent of %s\n", d.answers.Mailbox)
	return nil
}

// verify goes the way of a message up to MAIL FROM.
func (d *dialog) verify(c *adminClient) error {
	var result operate.VerifyResult
	req := admin.VerifyRequest{From: d.answers.Mailbox}
	if err := c.call(http.MethodPost, admin.AccountPath(d.answers.Mailbox, "verify"), nil, req, &result); err != nil {
		return err
	}
	if err := printVerify(d.cmd, result); err != nil {
		return err
	}
	if !result.OK {
		return errors.New("the mailbox cannot send yet; when that is mended, run it again: what was done is kept")
	}
	return nil
}

// mail sends the test mail.
func (d *dialog) mail(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	a := d.answers
	err := operate.SendMail(ctx, a.Mailbox, a.Mailbox, []string{a.To}, func(from string, _ []string) []byte {
		return operate.TestMail(from, a.To, "the mail gateway", time.Now())
	})
	if err != nil {
		return fmt.Errorf("the test mail to %s: %w", a.To, err)
	}
	d.say("ok      a test mail to %s was accepted by the provider\n", a.To)
	return nil
}
