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

package authserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// readExternalToken reads an access token that another program keeps fresh:
// bare, or JSON with access_token and expiry (RFC 3339) or token and expireTime.
func readExternalToken(path string, now time.Time) (token string, expiry time.Time, err error) {
	b, err := readBounded(path, maxTokenFile)
	if err != nil {
		return "", time.Time{}, err
	}
	b = bytes.TrimSpace(b)
	token = string(b)
	if bytes.HasPrefix(b, []byte("{")) {
		var j struct {
			AccessToken string    `json:"access_token"`
			Token       string    `json:"token"`
			Expiry      time.Time `json:"expiry"`
			ExpireTime  time.Time `json:"expireTime"`
		}
		if json.Unmarshal(b, &j) != nil {
			return "", time.Time{}, errors.New("malformed JSON")
		}
		token, expiry = j.AccessToken, j.Expiry
		if token == "" {
			token = j.Token
		}
		if expiry.IsZero() {
			expiry = j.ExpireTime
		}
	}
	if token == "" {
		return "", time.Time{}, errors.New("the file holds no token")
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", time.Time{}, errors.New("the token holds characters that are not allowed")
	}
	if !expiry.IsZero() && !now.Before(expiry) {
		return "", time.Time{}, errors.New("the token has expired and was not replaced")
	}
	return token, expiry, nil
}

// ExternalToken serves the grant `external`.
func (p *Provider) ExternalToken() (*oauth2.Token, error) {
	t, expiry, err := readExternalToken(p.ExternalTokenFile, time.Now())
	if err != nil {
		return nil, &Error{Provider: p.name, Description: "external_token_file: " + OneLine(err.Error()), Class: ClassTemporary, Err: err}
	}
	return &oauth2.Token{AccessToken: t, TokenType: "Bearer", Expiry: expiry}, nil
}
