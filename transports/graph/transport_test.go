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
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/sandbox"
	"github.com/caddymail/mailgateway/transports/internal/apitest"
)

// start returns a transport in front of a sandbox.
func start(t *testing.T, cfg Transport) (*Transport, *sandbox.Sandbox, *apitest.Tokens) {
	t.Helper()
	sb, src := apitest.Start(t, new(sandbox.App))
	return attach(t, &cfg, sb, src), sb, src
}

// attach makes a transport effective.
func attach(t *testing.T, tr *Transport, sb *sandbox.Sandbox, src *apitest.Tokens) *Transport {
	t.Helper()
	tr.Endpoint = sb.HTTPURL()
	tr.logger = zap.NewNop()
	tr.tokens = src
	if err := tr.fill(); err != nil {
		t.Fatal(err)
	}
	// What a mailbox may not do until a time outlives the transport, and so a
	// test that is run again.
	if err := tr.Bind(t.Name() + " " + sb.HTTPURL()); err != nil {
		t.Fatal(err)
	}
	if err := tr.Attach(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Detach() })
	return tr
}

const plain = "From: box@example.com\r\nTo: a@example.org\r\n\r\nhello\r\n"

// claims is what continuous access evaluation answers with
// (https://learn.microsoft.com/entra/identity-platform/app-resilience-continuous-access-evaluation).
const claims = `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="`

// TestFaults holds for each way in which Graph fails: what was acknowledged is
// there, nothing is there twice, and the client is told what is known.
func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		name      string
		fault     sandbox.Fault
		want      string // how the reply begins
		delivered int
		asked     int32 // tokens, one for each request
	}{
		{"reset after the last octet, and sent", sandbox.Fault{Stage: "api_end", Action: "reset"}, "451 4.4.2", 1, 1},
		{"reset after the last octet, and not sent", sandbox.Fault{Stage: "api", Action: "reset"}, "451 4.4.2", 0, 1},
		{"closed after the last octet", sandbox.Fault{Stage: "api_end", Action: "close"}, "451 4.4.2", 1, 1},
		{"504 that sends", sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "504 <html>Gateway Timeout</html>"}, "451 4.4.2", 1, 1},
		{"504 that does not", sandbox.Fault{Stage: "api", Action: "reply", Reply: "504 <html>Gateway Timeout</html>"}, "451 4.4.2", 0, 1},
		{"500 that sends", sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "500 ErrorInternalServerError An internal error"}, "451 4.4.2", 1, 1},
		{"503 without a word", sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "503"}, "451 4.4.2", 1, 1},
		{"503 with a code", sandbox.Fault{Stage: "api", Action: "reply", Reply: "503 ErrorServerBusy The server is busy"}, "451 4.3.2", 0, 1},
		{"408", sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "408"}, "451 4.4.2", 1, 1},
		{"202 with Retry-After", sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "202", RetryAfter: 30}, "250 2.0.0", 1, 1},
		{"429 with Retry-After", sandbox.Fault{Stage: "api", Action: "reply", Reply: "429 ApplicationThrottled over its limit", RetryAfter: 30}, "451 4.7.1 ApplicationThrottled over its limit, try again in 30 s", 0, 1},
		{"429 without", sandbox.Fault{Stage: "api", Action: "reply", Reply: "429 <html></html>"}, "451 4.7.1 HTTP 429, try again in 25 s", 0, 1},
		{"the day's limit", sandbox.Fault{Stage: "api", Action: "reply", Reply: "400 ErrorExceededMessageLimit Cannot send mail"}, "451 4.7.1 ErrorExceededMessageLimit Cannot send mail, try again in 3600 s", 0, 1},
		{"413 as HTML", sandbox.Fault{Stage: "api_head", Action: "reply", Reply: "413 <html></html>"}, "552 5.3.4", 0, 1},
		{"507", sandbox.Fault{Stage: "api", Action: "reply", Reply: "507 ErrorQuotaExceeded The mailbox is full"}, "452 4.2.2", 0, 1},
		{"suspended", sandbox.Fault{Stage: "api", Action: "reply", Reply: "403 ErrorAccountSuspend The account is suspended"}, "550 5.7.1 ErrorAccountSuspend", 0, 1},
		{"blocked, at a consumer account", sandbox.Fault{Stage: "api", Action: "reply", Reply: "400 ErrorMessageSubmissionBlockedShowTierUpgrade Blocked"}, "550 5.7.1 ErrorMessageSubmissionBlocked", 0, 1},
		{"SendAs", sandbox.Fault{Stage: "api", Action: "reply", Reply: "403 ErrorSendAsDenied Not yours"}, "550 5.7.60", 0, 1},
		{"a precise code within", sandbox.Fault{Stage: "api", Action: "reply", Reply: `404 {"error":{"code":"generalException","innerError":{"code":"ErrorInvalidUser"}}}`}, "550 5.1.8", 0, 1},
		{"an unknown code", sandbox.Fault{Stage: "api", Action: "reply", Reply: "400 ErrorNew Something"}, "554 5.0.0 ErrorNew Something", 0, 1},
		{"401 once", sandbox.Fault{Stage: "api", Action: "reply", Reply: "401 InvalidAuthenticationToken expired", Times: 1}, "250 2.0.0", 1, 2},
		{"401 always", sandbox.Fault{Stage: "api", Action: "reply", Reply: "401 InvalidAuthenticationToken expired"}, "454 4.7.0", 0, 2},
		{"a policy that wants the user", sandbox.Fault{Stage: "api", Action: "reply", Reply: "401 InvalidAuthenticationToken Continuous access evaluation resulted in challenge", Challenge: claims}, "454 4.7.0 The provider wants the user", 0, 1},
		{"a policy that wants the user, as 403", sandbox.Fault{Stage: "api", Action: "reply", Reply: "403 ErrorAccessDenied Access is denied", Challenge: claims}, "454 4.7.0 The provider wants the user", 0, 1},
		{"no answer", sandbox.Fault{Stage: "api_end", Action: "hang"}, "451 4.4.2", 1, 1},
		{"slow", sandbox.Fault{Stage: "api", Action: "delay", Delay: caddy.Duration(50 * time.Millisecond)}, "250 2.0.0", 1, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr, sb, src := start(t, Transport{MaxWait: 1, Timeout: caddy.Duration(time.Second)})
			if _, err := sb.AddFault(tc.fault); err != nil {
				t.Fatal(err)
			}
			reply, err := apitest.Send(t, tr, []string{"a@example.org"}, plain)
			got := reply.Error()
			if err != nil {
				got = err.Error()
			}
			if !strings.HasPrefix(got, tc.want) {
				t.Errorf("reply %q, want %q", got, tc.want)
			}
			if n := len(sb.MessagesAfter(0, 10)); n != tc.delivered {
				t.Errorf("%d messages are in the mailbox, want %d", n, tc.delivered)
			}
			if n := src.Asked.Load(); n != tc.asked {
				t.Errorf("%d requests, want %d", n, tc.asked)
			}
		})
	}
}

// TestEndpointIsDown holds that a message whose request never began is not said
// to be unknown.
func TestEndpointIsDown(t *testing.T) {
	tr, sb, _ := start(t, Transport{})
	sb.Close()
	if _, err := apitest.Send(t, tr, []string{"a@example.org"}, plain); !errors.Is(err, relay.ReplyUpstreamDown) {
		t.Errorf("%v", err)
	}
}

func TestRefusedBeforeTheBody(t *testing.T) {
	tr, sb, src := start(t, Transport{MaxSize: 100})
	for _, tc := range []struct {
		name string
		from string
		opts smtp.MailOptions
		want string
	}{
		{"null sender", "", smtp.MailOptions{}, "550 5.7.1"},
		{"RET", "box@example.com", smtp.MailOptions{Return: smtp.DSNReturnFull}, "555 5.5.4"},
		{"ENVID", "box@example.com", smtp.MailOptions{EnvelopeID: "x"}, "555 5.5.4"},
		{"SIZE", "box@example.com", smtp.MailOptions{Size: 101}, "552 5.3.4"},
	} {
		if _, err := tr.Begin(t.Context(), apitest.Account(), tc.from, &tc.opts); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
		}
	}
	tx, err := tr.Begin(t.Context(), apitest.Account(), "box@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort()
	for to, want := range map[string]string{"a": "501 5.1.3", "a@b\r\nCc: x@y": "501 5.1.3", "é@example.org": "550 5.6.7"} {
		if err := tx.Rcpt(t.Context(), to, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("RCPT %q: %v, want %s", to, err, want)
		}
	}
	for _, tc := range []struct {
		opts smtp.RcptOptions
		want error
	}{
		{smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyNever}}, relay.ReplyAPIDSN},
		{smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyFailure}}, relay.ReplyAPIDSN},
		{smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyDelayed}}, relay.ReplyAPIDSN},
		// What every Postfix says, and what happens without it.
		{smtp.RcptOptions{OriginalRecipientType: smtp.DSNAddressTypeRFC822, OriginalRecipient: "a@example.org"}, nil},
		{smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed}}, nil},
	} {
		if err := tx.Rcpt(t.Context(), "a@example.org", &tc.opts); !errors.Is(err, tc.want) {
			t.Errorf("%+v: %v, want %v", tc.opts, err, tc.want)
		}
	}
	if _, err := apitest.Send(t, tr, []string{"a@example.org"}, plain+strings.Repeat("x", 100)); err == nil || !strings.Contains(err.Error(), "limit of 100 octets") {
		t.Errorf("an undeclared size: %v", err)
	}
	if _, err := apitest.Send(t, tr, []string{"b@example.org"}, plain); err == nil || !strings.HasPrefix(err.Error(), "554 5.6.0") || !strings.Contains(err.Error(), "a@example.org") {
		t.Errorf("a header beyond the envelope: %v", err)
	}
	if n := len(sb.MessagesAfter(0, 1)); n != 0 || src.Asked.Load() != 0 {
		t.Errorf("%d messages, %d requests", n, src.Asked.Load())
	}
}

// TestRandomEnvelopes holds the promise of the envelope; apitest says how.
func TestRandomEnvelopes(t *testing.T) {
	if testing.Short() {
		t.Skip("10,000 messages")
	}
	many := accounts.Rate{Count: 1 << 40, Per: time.Minute}
	apitest.RandomEnvelopes(t, func(t *testing.T, app *sandbox.App) (*sandbox.Sandbox, relay.Upstream, relay.Upstream) {
		sb, src := apitest.Start(t, app)
		both := func(rewrite bool) *Transport {
			return attach(t, &Transport{RatePerAccount: many, RecipientsPerAccount: many, Rewrite: rewrite}, sb, src)
		}
		return sb, both(false), both(true)
	})
}

// TestStopped holds that a mailbox which the provider has stopped is left alone,
// and that the client hears how long.
func TestStopped(t *testing.T) {
	tr, sb, src := start(t, Transport{MaxWait: 1})
	if _, err := sb.AddFault(sandbox.Fault{Stage: "api", Action: "reply", Reply: "403 ErrorAccountSuspend The account is suspended", Times: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := apitest.Send(t, tr, []string{"a@example.org"}, plain); err == nil {
		t.Fatal("sent")
	}
	_, err := apitest.Send(t, tr, []string{"a@example.org"}, plain)
	r, _ := errors.AsType[*relay.Reply](err)
	if r == nil || !r.Temporary() || r.After <= 50*time.Minute || src.Asked.Load() != 1 {
		t.Errorf("%v, %d requests", err, src.Asked.Load())
	}
}

// TestLimitsAfterTheAnswer holds why a mailbox's limits have to be kept here: what
// is beyond them has its 202 and comes back as a report.
func TestLimitsAfterTheAnswer(t *testing.T) {
	many := accounts.Rate{Count: 1 << 40, Per: time.Minute}
	for name, tc := range map[string]struct {
		cfg   Transport
		acked int
	}{
		"kept":     {Transport{RatePerAccount: accounts.Rate{Count: 3, Per: time.Minute}, MaxWait: 1}, 3},
		"not kept": {Transport{RatePerAccount: many, MaxWait: caddy.Duration(time.Second)}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			sb, src := apitest.Start(t, &sandbox.App{MessagesPerMinute: 3})
			tr := attach(t, &tc.cfg, sb, src)
			acked := 0
			for range 5 {
				if _, err := apitest.Send(t, tr, []string{"a@example.org"}, plain); err == nil {
					acked++
				}
			}
			delivered, reports := len(sb.MessagesAfter(0, 10)), len(sb.Web().Reports())
			if acked != tc.acked || delivered != 3 || reports != tc.acked-3 {
				t.Errorf("%d acknowledged, %d delivered, %d reports", acked, delivered, reports)
			}
		})
	}
}

// TestVerify holds that a test says what a message would meet, and sends none.
func TestVerify(t *testing.T) {
	tr, sb, src := start(t, Transport{})
	verify := func() (steps []string, err error) {
		err = tr.Verify(t.Context(), apitest.Account(), "box@example.com", func(s relay.VerifyStep) { steps = append(steps, s.Name) })
		return steps, err
	}
	steps, err := verify()
	if err != nil || strings.Join(steps, " ") != "token api" {
		t.Errorf("%v, %v", steps, err)
	}
	src.Of = "other@example.com"
	if _, err := verify(); err == nil || !strings.HasPrefix(err.Error(), "550 5.7.1 ErrorAccessDenied") {
		t.Errorf("with another's token: %v", err)
	}
	if n := len(sb.MessagesAfter(0, 1)); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// clouds is a token source whose provider logs in at a cloud.
type clouds struct {
	*apitest.Tokens
	login string
}

func (c clouds) Cloud(string) string { return c.login }

func TestCloud(t *testing.T) {
	for name, tc := range map[string]struct{ own, login, endpoint, err string }{
		"public":            {endpoint: "https://graph.microsoft.com"},
		"the provider's":    {login: "usdod", endpoint: "https://dod-graph.microsoft.us"},
		"both":              {own: "us_gov", login: "usgov", endpoint: "https://graph.microsoft.us"},
		"an unknown server": {own: "china", endpoint: "https://microsoftgraph.chinacloudapi.cn"},
		"another":           {own: "public", login: "china", err: "cloud: 'public', and OAuth provider 'microsoft' is of cloud 'china': want the same"},
		"misspelt":          {own: "uzgov", err: "did you mean 'usgov'?"},
	} {
		tr := &Transport{Cloud: tc.own, tokens: clouds{new(apitest.Tokens), tc.login}}
		err := tr.fill()
		switch {
		case tc.err != "":
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: %v", name, err)
			}
		case err != nil || tr.Endpoint != tc.endpoint || tr.Scopes[0] != tc.endpoint+"/Mail.Send":
			t.Errorf("%s: %v, %s, %s", name, err, tr.Endpoint, tr.Scopes)
		}
	}
}

func TestMaxRecipients(t *testing.T) {
	tr, sb, _ := start(t, Transport{MaxRecipients: 2})
	_, err := apitest.Send(t, tr, []string{"a@example.org", "b@example.org", "c@example.org"}, "To: a@example.org, b@example.org\r\n\r\nhello\r\n")
	if !errors.Is(err, relay.ReplyTooManyRcpts) || len(sb.Messages()) != 0 {
		t.Errorf("%v", err)
	}
	for n, ok := range map[int]bool{-1: false, 1: true, 1000: true, 1001: false} {
		if err := (&Transport{MaxRecipients: n}).fill(); (err == nil) != ok {
			t.Errorf("%d: %v", n, err)
		}
	}
}

// TestMe holds what `user me` is: a message leaves as the mailbox or not at all, and
// whose a token is gets asked once for each.
func TestMe(t *testing.T) {
	const other = "other@example.com"
	for _, tc := range []struct {
		name  string
		of    string // whose token it is
		id    string // of whom the consent says that it was
		fault string // what /me answers, if not the truth
		want  string
		asked int32
	}{
		{"the mailbox's own", "", "", "", "250 2.0.0", 1},
		{"the mailbox's own, by a consent through the gateway", "", apitest.Box, "", "250 2.0.0", 1},
		{"somebody else's", other, "", "", "454 4.7.0 The access token is another user's", 1},
		{"somebody else's, whatever the consent said", other, apitest.Box, "", "454 4.7.0 The access token is another user's", 1},
		{"a user who was renamed", other, other, "", "250 2.0.0", 1},
		{"no User.Read, and the consent says it", "", apitest.Box, "403 ErrorAccessDenied Access is denied", "250 2.0.0", 1},
		{"no User.Read, and nothing says it", "", "", "403 ErrorAccessDenied Access is denied", "454 4.7.0 The provider does not say whose", 1},
		{"the token is refused", "", "", "401 InvalidAuthenticationToken expired", "454 4.7.0 The provider wants the user to consent or log in again: HTTP 401", 2},
		{"no answer", "", "", "503", "451 4.4.1 The provider's API did not say whose the access token is", 1},
		{"nobody", "", "", `200 {"id":"1"}`, "454 4.7.0 The provider does not say whose", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sb, src := apitest.Start(t, new(sandbox.App))
			src.Of = tc.of
			tr := attach(t, &Transport{User: "me"}, sb, src)
			if tc.id != "" {
				tr.tokens = renamed{src, objectID(t, sb, tc.id)}
			}
			if tc.fault != "" {
				if _, err := sb.AddFault(sandbox.Fault{Stage: "api_user", Action: "reply", Reply: tc.fault}); err != nil {
					t.Fatal(err)
				}
			}
			msg := "To: a@example.org\r\n\r\nhello\r\n"
			for range 2 { // a mailbox is no more the token's at the second time
				reply, err := apitest.Send(t, tr, []string{"a@example.org"}, msg)
				got := reply.Error()
				if err != nil {
					got = err.Error()
				}
				if !strings.HasPrefix(got, tc.want) {
					t.Errorf("%s, want %s", got, tc.want)
				}
			}
			if n := src.Asked.Load(); n != 2*tc.asked {
				t.Errorf("%d tokens for two messages, want %d", n, 2*tc.asked)
			}
			for _, m := range sb.Messages() {
				if m.Mailbox != cmp.Or(tc.of, apitest.Box) || !strings.HasPrefix(tc.want, "250") {
					t.Errorf("sent from %s", m.Mailbox)
				}
			}
			steps := ""
			verr := tr.Verify(t.Context(), apitest.Account(), apitest.Box, func(s relay.VerifyStep) { steps += s.Name + " " })
			if want := strings.HasPrefix(tc.want, "250"); (verr == nil) != want || !strings.HasPrefix(steps, "token identity ") {
				t.Errorf("the test says %v, at %s", verr, steps)
			}
		})
	}
	if err := (&Transport{User: "me", AppOnly: true}).fill(); err == nil {
		t.Error("an application has no `me`")
	}
}

// TestPinned holds that an address that comes to another user is not sent from by
// the tokens of both.
func TestPinned(t *testing.T) {
	sb, src := apitest.Start(t, new(sandbox.App))
	tr := attach(t, &Transport{User: "me"}, sb, src)
	msg := "To: a@example.org\r\n\r\nhello\r\n"
	if _, err := apitest.Send(t, tr, []string{"a@example.org"}, msg); err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`200 {"id":"00000000-0000-0000-0000-000000000001","mail":%q}`, apitest.Box)
	if _, err := sb.AddFault(sandbox.Fault{Stage: "api_user", Action: "reply", Reply: body}); err != nil {
		t.Fatal(err)
	}
	if _, err := apitest.Send(t, tr, []string{"a@example.org"}, msg); !errors.Is(err, relay.ReplyAPIForeign) {
		t.Errorf("%v", err)
	}
	if n := len(sb.Messages()); n != 1 {
		t.Errorf("%d messages", n)
	}
}

// renamed is a token source that knows whose consent it has, by the object ID.
type renamed struct {
	*apitest.Tokens
	id string
}

func (s renamed) ObjectID(grant.Request) string { return s.id }

// TestRenamed sends as a user whose sign-in name has changed since the consent: the
// object ID goes on to be the mailbox's, the old name does not.
func TestRenamed(t *testing.T) {
	const now = "new@example.com"
	for whose, want := range map[string]string{now: "250 ", "": "550 5.7.1", "other@example.com": "550 5.7.1"} {
		sb, src := apitest.Start(t, new(sandbox.App))
		src.Of = now
		id := ""
		if whose != "" {
			id = objectID(t, sb, whose)
		}
		tr := attach(t, new(Transport), sb, src)
		tr.tokens = renamed{src, id}
		reply, err := apitest.Send(t, tr, []string{"a@example.org"}, "To: a@example.org\r\n\r\nhello\r\n")
		got := reply.Error()
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("by '%s': %s, want %s", id, got, want)
		}
		for _, m := range sb.Messages() {
			if m.Mailbox != now {
				t.Errorf("sent from %s", m.Mailbox)
			}
		}
	}
	tr := &Transport{Endpoint: "https://graph.test", AppOnly: true, tokens: renamed{new(apitest.Tokens), "id"}}
	if u := tr.url(apitest.Account()); u != "https://graph.test/v1.0/users/box@example.com/sendMail" {
		t.Errorf("an application's own: %s", u)
	}
}

// objectID asks Graph for the ID of a user.
func objectID(t *testing.T, sb *sandbox.Sandbox, user string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, sb.HTTPURL()+"/v1.0/me", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+sb.IssueToken(user))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var who struct{ ID string }
	if err := json.NewDecoder(resp.Body).Decode(&who); err != nil || who.ID == "" {
		t.Fatalf("%v: %+v", err, who)
	}
	return who.ID
}
