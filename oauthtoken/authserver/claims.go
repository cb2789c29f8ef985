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
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// claimNames are the claims that something is decided by.
var claimNames = []string{
	"iss", "sub", "aud", "azp", "exp", "iat", "nbf", "nonce", "tid", "oid", "idp", "email", "email_verified", "preferred_username", "upn", "groups",
}

// checkClaimNames refuses an ID token in which one of those claims stands twice,
// or under a name that differs in case only: encoding/json takes the last of them,
// and a tenant's administrator may add claims of names that he chooses. RFC 7519
// section 4 has such a token refused.
func checkClaimNames(raw string) error {
	errMalformed := errors.New("malformed ID token")
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return errMalformed
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return errMalformed
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errMalformed
	}
	seen := make(map[string]bool)
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return errMalformed
		}
		for _, known := range claimNames {
			if strings.EqualFold(name, known) && (name != known || seen[known]) {
				return errors.New("it holds the claim '" + known + "' twice, or under another name")
			}
		}
		seen[name] = true
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return errMalformed
		}
	}
	return nil
}

// boundedClient is the provider's client for who reads answers to their end,
// however long that lasts: a set of keys is fetched under no caller's context.
func (p *Provider) boundedClient() *http.Client {
	c := *p.client
	c.Transport, c.Timeout = bounded{c.Transport}, time.Duration(p.Timeout)
	return &c
}

// bounded cuts answers off that are larger than any of use.
type bounded struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = boundedBody{io.LimitReader(resp.Body, maxResponse), resp.Body}
	}
	return resp, err
}

type boundedBody struct {
	io.Reader
	io.Closer
}
