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

package graph

import (
	"bytes"
	"encoding/base64"
	"io"
	"strings"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/transports/internal/envelope"
	"github.com/caddymail/mailgateway/transports/internal/mailapi"
)

// prepare reads the message and makes it fit its envelope.
func (t *Transport) prepare(a *accounts.Account, rcpts []string, body io.Reader) (*mailapi.Body, *relay.Reply) {
	msg, err := io.ReadAll(io.LimitReader(body, t.MaxSize+1))
	switch {
	case err != nil:
		return nil, mailapi.Misfit(err)
	case int64(len(msg)) > t.MaxSize:
		return nil, relay.ReplyAPITooBig(t.MaxSize)
	}
	fit, err := envelope.Fit(msg, rcpts, t.Rewrite)
	if err != nil {
		return nil, mailapi.Misfit(err)
	}
	t.notice(a, fit)
	return mailapi.Whole(encode(fit)), nil
}

// notice says in the log what the provider or the gateway changes about the
// message without telling the client.
func (t *Transport) notice(a *accounts.Account, fit *envelope.Message) {
	if len(fit.Rewritten) > 0 {
		t.logger.Info("recipients taken out of the header: the envelope does not name them",
			zap.String("upstream", t.Name()), zap.String("account", a.Name), zap.Strings("recipients", fit.Rewritten))
	}
	for _, from := range fit.From {
		if !strings.EqualFold(from, a.Mailbox) {
			t.logger.Info("the From field is not the mailbox: Exchange replaces an alias and refuses others' addresses",
				zap.String("upstream", t.Name()), zap.String("account", a.Name), zap.String("from", from))
		}
	}
}

// encode is the request's body.
func encode(m *envelope.Message) []byte {
	var b bytes.Buffer
	b.Grow(base64.StdEncoding.EncodedLen(m.Len()))
	w := base64.NewEncoder(base64.StdEncoding, &b)
	_, _ = w.Write(m.Head)
	_, _ = w.Write(m.Rest)
	_ = w.Close()
	return b.Bytes()
}
