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
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddymail/mailgateway/explain"
)

// checkClient asks the authorization server whether it knows the application and its
// secret. A tenant of Microsoft's is asked for a token of the application's own; others
// with a refresh token that does not exist, which they say of only to a client that they
// know. Of Microsoft's personal accounts that is not certain: what it says first is of
// the refresh token.
func checkClient(ctx context.Context, a *Answers, secret string) (r Result, token string) {
	r = Result{Name: "application " + a.ClientID}
	own := a.Provider == Microsoft && a.Way != Personal
	form := url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {"mailgateway-setup"}, "client_id": {a.ClientID}, "client_secret": {strings.TrimSpace(secret)},
	}
	if own {
		form.Set("grant_type", "client_credentials")
		form.Set("scope", "https://outlook.office365.com/.default")
		if a.Graph() {
			form.Set("scope", graphURL+"/.default")
		}
		form.Del("refresh_token")
	}
	token, code, text, err := askToken(ctx, a, form)
	switch {
	case err != nil:
		r.Err, r.Remedy = err, "See what is said of the authorization server above."
	case code == "" && own:
		r.Said = "known, and its secret is right"
	case code == "invalid_grant" && a.Provider != Microsoft:
		r.Said = "known, and its secret is right"
	case code == "invalid_client", code == "unauthorized_client", own:
		r.Err, r.Remedy = fmt.Errorf("%s: %s", code, text), "Compare the ID and the secret with the application's page; a secret is shown there once, and can be made anew."
		if e, ok := explain.Of(code + ": " + text); ok {
			r.Err, r.Remedy = fmt.Errorf("%s (%s: %s)", e.Cause, code, text), e.Remedy
		}
	default:
		r.Said = "the server does not say (" + code + "); the consent will show it"
	}
	return r, token
}

const maxTokenAnswer = 64 << 10

// askToken returns the token or the error that a token endpoint answers with.
func askToken(ctx context.Context, a *Answers, form url.Values) (token, code, text string, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	client, err := httpClient(a)
	if err != nil {
		return "", "", "", err
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.TokenServer(), strings.NewReader(form.Encode()))
	if err != nil {
		return "", "", "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		return "", "", "", err
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
		Error string `json:"error"`
		Text  string `json:"error_description"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxTokenAnswer)).Decode(&answer)
	switch {
	case err != nil:
		return "", "", "", fmt.Errorf("%s answers %s, and no JSON", req.URL.Host, resp.Status)
	case answer.Error == "" && answer.Token == "":
		return "", "", "", errors.New(req.URL.Host + " answers with neither a token nor an error")
	}
	return answer.Token, answer.Error, answer.Text, nil
}
