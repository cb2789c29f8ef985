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

package mailapi

import (
	"errors"
	"io"
	"strings"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/transports/internal/envelope"
)

// Fit makes a message fit its envelope: it reads the header, and returns the whole
// as it shall leave. The log says what the client is not told: whom the header named
// and does no more, and that the From field is not the mailbox, of which becomes
// what foreign says.
func (u *Upstream) Fit(a *accounts.Account, rcpts []string, body io.Reader, rewrite bool, foreign string) (io.Reader, *relay.Reply) {
	fit, whole, err := envelope.FitStream(body, rcpts, rewrite)
	if err != nil {
		return nil, Misfit(err)
	}
	if len(fit.Rewritten) > 0 {
		u.Logger.Info("recipients taken out of the header: the envelope does not name them",
			zap.String("upstream", u.name), zap.String("account", a.Name), zap.Strings("recipients", fit.Rewritten))
	}
	for _, from := range fit.From {
		if !strings.EqualFold(from, a.Mailbox) {
			u.Logger.Info("the From field is not the mailbox: "+foreign,
				zap.String("upstream", u.name), zap.String("account", a.Name), zap.String("from", from))
		}
	}
	return whole, nil
}

// Misfit is what the client is told of a message that was not made to fit its
// envelope, or could not be read.
func Misfit(err error) *relay.Reply {
	if r, ok := errors.AsType[*relay.Reply](err); ok {
		return r
	}
	if p, ok := errors.AsType[*envelope.ParseError](err); ok {
		if p.From {
			return relay.ReplyAPIFrom(err.Error())
		}
		return relay.ReplyAPIHeader(err.Error())
	}
	if _, ok := errors.AsType[*envelope.BeyondError](err); ok {
		return relay.ReplyAPIHeader(err.Error())
	}
	return relay.ReplyInternal
}

// bounded is a message that must not be larger than a limit.
type bounded struct {
	r           io.Reader
	left, limit int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	// One more than is left shows that there is more.
	n, err := b.r.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return 0, relay.ReplyAPITooBig(b.limit)
	}
	return n, err
}
