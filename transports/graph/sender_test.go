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
	"context"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/sandbox"
	"github.com/caddymail/mailgateway/transports/internal/apitest"
)

// scoped is a source of tokens of one user that are good for some scopes.
type scoped struct {
	*apitest.Tokens
	of, scope string
}

func (s scoped) Token(context.Context, grant.Request) (*oauth2.Token, error) {
	s.Asked.Add(1)
	return &oauth2.Token{AccessToken: s.Sandbox.IssueScoped(s.of, s.scope)}, nil
}

// TestSender holds who may send as whom, from which mailbox it leaves, and what the
// recipient sees
// (https://learn.microsoft.com/graph/outlook-send-mail-from-other-user): the account's
// mailbox or no one's.
func TestSender(t *testing.T) {
	const (
		own    = "https://graph.microsoft.com/Mail.Send"
		shared = "https://graph.microsoft.com/Mail.Send.Shared"
		alias  = "alias@example.com"
		team   = "team@example.com"
	)
	for _, tc := range []struct {
		name           string
		of, scope      string // the token's
		app            bool
		from           string
		alias          bool // the tenant lets aliases stay
		want, gets     string
		tokens, notice int
	}{
		{name: "its own", of: apitest.Box, scope: own, from: apitest.Box, want: "250 2.0.0", gets: apitest.Box, tokens: 1},
		{name: "in capitals", of: apitest.Box, scope: own, from: "Box@Example.COM", want: "250 2.0.0", gets: "Box@Example.COM", tokens: 1},
		{name: "an alias", of: apitest.Box, scope: own, from: alias, want: "250 2.0.0", gets: apitest.Box, tokens: 1, notice: 1},
		{name: "an alias that stays", of: apitest.Box, scope: own, from: alias, alias: true, want: "250 2.0.0", gets: alias, tokens: 1, notice: 1},
		{name: "another's", of: apitest.Box, scope: own, from: "other@example.com", want: "550 5.7.60 ErrorSendAsDenied", tokens: 1, notice: 1},
		{name: "one that it is a delegate of, without the permission", of: apitest.Box, scope: own, from: team, want: "550 5.7.60 ErrorSendAsDenied", tokens: 1, notice: 1},
		{name: "one that it is a delegate of", of: apitest.Box, scope: own + " " + shared, from: team, want: "250 2.0.0", gets: team, tokens: 1, notice: 1},
		{name: "by a delegate's token", of: "delegate@example.com", scope: shared, from: apitest.Box, want: "250 2.0.0", gets: apitest.Box, tokens: 1},
		{name: "by a delegate's token without the permission", of: "delegate@example.com", scope: own, from: apitest.Box, want: "550 5.7.1 ErrorAccessDenied", tokens: 1},
		{name: "by another's token", of: "other@example.com", scope: own + " " + shared, from: apitest.Box, want: "550 5.7.1 ErrorAccessDenied", tokens: 1},
		{name: "by an application", scope: "https://graph.microsoft.com/.default", app: true, from: apitest.Box, want: "250 2.0.0", gets: apitest.Box, tokens: 1},
		{name: "by an application, another's", scope: "https://graph.microsoft.com/.default", app: true, from: "other@example.com", want: "550 5.7.60", tokens: 1, notice: 1},
		{name: "by a token for SMTP", of: apitest.Box, scope: "https://outlook.office.com/SMTP.Send", from: apitest.Box, want: "454 4.7.0 The provider wants the user to consent or log in again: InvalidAuthenticationToken", tokens: 2},
		{name: "by a token that may read", of: apitest.Box, scope: "https://graph.microsoft.com/User.Read", from: apitest.Box, want: "550 5.7.1 ErrorAccessDenied", tokens: 1},
		{name: "scopes without their resource", of: apitest.Box, scope: "Mail.Send openid", from: apitest.Box, want: "250 2.0.0", gets: apitest.Box, tokens: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sb, src := apitest.Start(t, &sandbox.App{
				Aliases: map[string]string{alias: apitest.Box}, SendFromAlias: tc.alias,
				Delegates: map[string]string{team: apitest.Box, apitest.Box: "Delegate@example.com"},
			})
			core, logs := observer.New(zap.InfoLevel)
			tr := attach(t, &Transport{AppOnly: tc.app}, sb, src)
			tr.Upstream.Tokens, tr.tokens, tr.Logger = scoped{src, tc.of, tc.scope}, scoped{src, tc.of, tc.scope}, zap.New(core)
			reply, err := apitest.Send(t, tr, []string{"a@example.org", "b@example.org"}, "From: "+tc.from+"\r\nTo: a@example.org\r\n\r\nhello\r\n")
			got := reply.Error()
			if err != nil {
				got = err.Error()
			}
			if !strings.HasPrefix(got, tc.want) {
				t.Errorf("%s, want %s", got, tc.want)
			}
			if n := int(src.Asked.Load()); n != tc.tokens {
				t.Errorf("%d tokens, want %d", n, tc.tokens)
			}
			// What the provider may make of From is said in the log.
			if n := logs.FilterMessageSnippet("the From field is not the mailbox: Exchange replaces an alias").Len(); n != tc.notice {
				t.Errorf("%d lines of From in the log, want %d", n, tc.notice)
			}
			all, sent := sb.Messages(), sb.Web().Sent(apitest.Box)
			if tc.gets == "" {
				if len(all)+len(sent) > 0 {
					t.Errorf("%d messages, %d in Sent Items", len(all), len(sent))
				}
				return
			}
			if len(all) != 1 || all[0].Mailbox != apitest.Box || !strings.Contains(string(all[0].Body), "From: "+tc.gets+"\r\n") || strings.Contains(string(all[0].Body), "Bcc") {
				t.Errorf("delivered: %+v\n%s", all, all[0].Body)
			}
			// MIME always files a copy, and Bcc stays there.
			if len(sent) != 1 || !strings.Contains(string(sent[0].Body), "Bcc: b@example.org\r\n") {
				t.Errorf("in Sent Items: %+v", sent)
			}
		})
	}
}
