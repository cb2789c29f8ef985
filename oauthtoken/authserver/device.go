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
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// DeviceFlow is a login on another device (RFC 8628).
type DeviceFlow struct {
	// UserCode is what the user types in at VerificationURI.
	UserCode string
	// VerificationURI is the page to open.
	VerificationURI string
	// VerificationURIComplete holds the code already; it may be empty.
	VerificationURIComplete string
	// Expires is when the code ends.
	Expires time.Time

	p        *Provider
	ep       *endpoints
	opts     LoginOptions
	code     string
	interval time.Duration
}

const (
	deviceInterval    = 5 * time.Second // RFC 8628 section 3.2
	maxDeviceInterval = time.Minute
)

// DeviceFlow begins a login with a device code.
func (p *Provider) DeviceFlow(ctx context.Context, o LoginOptions) (*DeviceFlow, error) {
	if p.kind.noDevice != "" && !p.ownServer {
		return nil, fmt.Errorf("provider '%s': %s", p.name, p.kind.noDevice)
	}
	ep, err := p.loginEndpoints(ctx)
	if err != nil {
		return nil, err
	}
	if ep.device == "" {
		return nil, fmt.Errorf("provider '%s': device_auth_url is needed", p.name)
	}
	q := &TokenQuery{url: ep.device, form: url.Values{}}
	q.form.Set("scope", strings.Join(p.consentScopes(), " "))
	if err := p.authenticate(q, ep); err != nil {
		return nil, err.With(p.name, "")
	}
	// RFC 8628 section 3.1 names the client in the form in any case.
	q.form.Set("client_id", p.ClientID)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p.Timeout))
	defer cancel()
	status, header, body, rerr := p.postForm(ctx, q)
	if rerr != nil {
		return nil, rerr.With(p.name, "")
	}
	f, perr := parseDevice(status, header, body, q.secrets)
	if perr != nil {
		return nil, perr.With(p.name, "")
	}
	f.p, f.ep, f.opts = p, ep, o
	return f, nil
}

func parseDevice(status int, header http.Header, body []byte, secrets []string) (*DeviceFlow, *Error) {
	var r struct {
		DeviceCode string  `json:"device_code"`
		UserCode   string  `json:"user_code"`
		URI        string  `json:"verification_uri"`
		URL        string  `json:"verification_url"` // Google's and older drafts' name
		Complete   string  `json:"verification_uri_complete"`
		ExpiresIn  seconds `json:"expires_in"`
		Interval   seconds `json:"interval"`
	}
	if status != http.StatusOK {
		if _, err := parseResponse(status, header, body, secrets...); err != nil {
			return nil, err
		}
	}
	if json.Unmarshal(body, &r) != nil || r.DeviceCode == "" || r.UserCode == "" {
		return nil, &Error{Status: status, Description: "no device code in the answer", Class: ClassTemporary}
	}
	if r.URI == "" {
		r.URI = r.URL
	}
	life := time.Duration(r.ExpiresIn)
	if life == 0 {
		life = 15 * time.Minute
	}
	f := &DeviceFlow{
		UserCode: OneLine(r.UserCode), VerificationURI: OneLine(r.URI), VerificationURIComplete: OneLine(r.Complete),
		Expires: time.Now().Add(min(life, time.Hour)), code: r.DeviceCode, interval: deviceInterval,
	}
	if r.Interval > 0 {
		f.interval = min(time.Duration(r.Interval), maxDeviceInterval)
	}
	return f, nil
}

// ErrDeviceExpired is a device code that nobody has used in time.
var ErrDeviceExpired = errors.New("the device code has expired")

// Wait polls until the user has consented (RFC 8628 section 3.4 and 3.5).
func (f *DeviceFlow) Wait(ctx context.Context) (*Consent, error) {
	timer := time.NewTimer(f.interval)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if time.Now().After(f.Expires) {
			return nil, ErrDeviceExpired
		}
		q := &TokenQuery{url: f.ep.token, form: url.Values{}, secrets: []string{f.code}}
		q.form.Set("grant_type", "urn:ietf:params:oauth:grant-type:device_code")
		q.form.Set("device_code", f.code)
		c, err := f.p.redeem(ctx, q, f.ep, f.opts, "")
		if err == nil {
			return c, nil
		}
		var e *Error
		switch {
		case !errors.As(err, &e):
			return nil, err
		case e.Code == "authorization_pending":
		case e.Code == "slow_down":
			f.interval = min(f.interval+5*time.Second, maxDeviceInterval)
		case e.Code == "expired_token":
			return nil, ErrDeviceExpired
		case e.Class == ClassTransient && ctx.Err() == nil:
			// "exponential backoff ... such as doubling the polling interval"
			f.interval = min(2*f.interval, maxDeviceInterval)
		default:
			return nil, err
		}
		timer.Reset(f.interval)
	}
}
