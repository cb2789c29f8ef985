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

package dialer

import (
	"context"
	"errors"

	"golang.org/x/oauth2"

	oauthgrant "github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// A Get is a method of a token source.
type Get func(context.Context, oauthgrant.Request) (*oauth2.Token, error)

// Token asks for a token, with one of the methods of the settings' source.
func Token(ctx context.Context, s *Settings, id Credentials, get Get) (*oauth2.Token, *smtpclient.Error) {
	ctx, cancel := context.WithTimeout(ctx, s.DialTimeout)
	defer cancel()
	token, err := get(ctx, id.Grant(s.Provider))
	if err == nil && (token == nil || token.AccessToken == "") {
		err = errors.New("empty token")
	}
	if err == nil {
		return token, nil
	}
	reply := relay.ReplyTokenUnavailable
	if r, ok := errors.AsType[oauthgrant.Refusal](err); ok {
		if text := r.Reply(); text != "" {
			reply = relay.ReplyToken(text)
		} else if r.ReauthRequired() {
			reply = relay.ReplyReauthRequired
		}
	}
	return nil, &smtpclient.Error{Class: smtpclient.FailToken, Stage: "token", Reply: reply, Err: err}
}
