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

package setup

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/internal/mscloud"
	"github.com/caddymail/mailgateway/internal/printable"
)

// graphURL is Microsoft Graph; scopes and tokens are for it, wherever it is asked.
const graphURL = "https://graph.microsoft.com"

// reachGraph asks Graph for nothing, without a token, which it asks for then.
func reachGraph(ctx context.Context, a *Answers) Result {
	r := Result{Name: "Microsoft Graph " + strings.TrimPrefix(a.API(), "https://")}
	status, told, said, err := askGraph(ctx, a, http.MethodGet, "/v1.0/me", "", "")
	switch {
	case err != nil:
		r.Err, r.Remedy = err, "Check the address, and that this machine may go out by HTTPS, through a proxy if need be (HTTPS_PROXY)."
	case status == http.StatusUnauthorized && told != nil:
		r.Said = "answers"
	default:
		r.Err = fmt.Errorf("it answers %s, where Graph asks for a token", said)
		r.Remedy = "Something else answers at this address: check it, and the proxies on the way."
	}
	return r
}

// checkMailbox asks Graph, with the application's own token, whether it may send as the
// mailbox: with a request that cannot become a message, whose refusal for that alone
// shows that another would be taken.
func checkMailbox(ctx context.Context, a *Answers, token string) Result {
	r := Result{Name: "mailbox " + a.Mailbox}
	status, told, said, err := askGraph(ctx, a, http.MethodPost, "/v1.0/users/"+url.PathEscape(a.Mailbox)+"/sendMail", token, mscloud.GraphProbe)
	switch {
	case err != nil:
		r.Err, r.Remedy = err, "See what is said of Microsoft Graph above."
	case told.Has(mscloud.GraphProbed):
		r.Said = "the application may send as it (a request without a message was refused for that alone)"
		if slices.Contains(rolesOf(token), "Mail.Send") {
			r.Said += ". It may send as every other mailbox of the tenant too: it has Mail.Send among its API permissions in Entra, beside which the script's scope is void. Remove it there"
		}
	case status < 400:
		r.Err = fmt.Errorf("%s for a request without a message", said)
	case told.Has("erroraccessdenied"):
		r.Err = fmt.Errorf("the application may not send as it yet (%s)", said)
		r.Remedy = fmt.Sprintf("Run the script; what it grants takes from 30 minutes to 2 hours to arrive. `Test-ServicePrincipalAuthorization -Identity %s -Resource %s` does not wait for that: InScope has to be True there.",
			a.ClientID, a.Mailbox)
	default:
		r.Err, r.Remedy = errors.New(said), "See what Microsoft says of it."
		if e, ok := (explain.About{Mailbox: a.Mailbox, AppOnly: true}).Of(said); ok {
			r.Err, r.Remedy = fmt.Errorf("%s (%s)", e.Cause, said), e.Remedy
		}
	}
	return r
}

// rolesOf are the permissions in an application's token, as far as it can be read.
func rolesOf(token string) []string {
	_, payload, _ := strings.Cut(token, ".")
	payload, _, _ = strings.Cut(payload, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	var claims struct {
		Roles []string `json:"roles"`
	}
	if err != nil || json.Unmarshal(text, &claims) != nil {
		return nil
	}
	return claims.Roles
}

const maxGraphAnswer = 64 << 10

// askGraph sends a request to Graph. told is the error that it answers with, if any;
// said is the answer in words.
func askGraph(ctx context.Context, a *Answers, method, path, token, body string) (status int, told *mscloud.GraphError, said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	client, err := httpClient(a)
	if err != nil {
		return 0, nil, "", err
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, a.API()+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "text/plain")
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	said = fmt.Sprintf("HTTP %d", resp.StatusCode)
	// What breaks off is no error in Graph's form.
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxGraphAnswer))
	if told = mscloud.ReadGraphError(text); told != nil {
		said += " " + printable.Line(told.Said())
	}
	return resp.StatusCode, told, said, nil
}
