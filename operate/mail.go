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

package operate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/upstreamapp"
)

// SendMail sends a message of the gateway's own through one of its accounts,
// as a client of the account would. from is empty for the account's mailbox.
// Of several recipients those that the provider refuses for good are left out, and
// message is told of them.
func SendMail(ctx context.Context, account, from string, to []string, message func(from string, refused []string) []byte) error {
	smtpApp, err := App[*smtpapp.App]("smtp")
	if err != nil {
		return err
	}
	upstreams, err := App[*upstreamapp.App]("smtp_upstreams")
	if err != nil {
		return err
	}
	a, err := smtpApp.Directory().Get(ctx, account)
	if err != nil {
		return err
	}
	from = cmp.Or(from, a.Mailbox, a.Name)
	switch {
	case a.Paused:
		return errors.New("the account is paused")
	case !a.MaySend(from):
		return fmt.Errorf("the account may not send as %s", from)
	}
	tx, err := upstreams.Begin(ctx, a, from, new(smtp.MailOptions))
	if err != nil {
		return outcome("connecting", err)
	}
	defer tx.Abort()
	var refused []string
	for _, rcpt := range to {
		err := tx.Rcpt(ctx, rcpt, new(smtp.RcptOptions))
		if reply, ok := errors.AsType[*relay.Reply](err); ok && reply.Code/100 == 5 && len(to) > 1 && len(refused) < len(to)-1 {
			refused = append(refused, rcpt) // one who has left keeps it from nobody else
			continue
		}
		if err != nil {
			return outcome("recipient "+rcpt, err)
		}
	}
	_, err = tx.Data(ctx, bytes.NewReader(message(from, refused)))
	return outcome("message", err)
}

// TestMail is a mail that shows that an account can send. The addresses hold no
// line end; gateway is what the gateway is called.
func TestMail(from, to, gateway string, now time.Time) []byte {
	name := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, gateway)
	_, domain, _ := strings.Cut(from, "@")
	return fmt.Appendf(nil, "From: <%s>\r\nTo: <%s>\r\nSubject: Test mail of %s\r\nDate: %s\r\nMessage-ID: <%s@%s>\r\n"+
		"Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"+
		"This is a test mail. If you can read it, %s can send as %s.\r\n", from, to, name, now.Format(time.RFC1123Z), rand.Text(), domain, name, from)
}

// outcome keeps to the reply that a client would have been told.
func outcome(what string, err error) error {
	if reply, ok := errors.AsType[*relay.Reply](err); ok {
		return fmt.Errorf("%s: %w", what, reply)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
