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
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"
)

const checkTimeout = 15 * time.Second

// Result is what a check showed.
type Result struct {
	// Name says what was looked at, Said what was seen.
	Name, Said string
	// Err is what is wrong; Remedy says what to do about it.
	Err    error
	Remedy string
}

// Check asks whether the provider's servers can be reached from here, and whether
// its authorization server knows the application; secret is the application's. Where the
// application itself may send, it is asked for that too.
func Check(ctx context.Context, a *Answers, secret string) []Result {
	reach, token := reachSMTP, ""
	if a.Graph() {
		reach = reachGraph
	}
	checks := []func() Result{
		func() Result { return reach(ctx, a) },
		func() Result { return reachOAuth(ctx, a) },
	}
	if a.NeedsSecret() {
		checks = append(checks, func() (r Result) { r, token = checkClient(ctx, a, secret); return r })
	}
	results := make([]Result, len(checks))
	var wait sync.WaitGroup
	for i, check := range checks {
		wait.Go(func() { results[i] = check() })
	}
	wait.Wait()
	if a.Graph() && a.Way == App && results[0].Err == nil && token != "" {
		results = append(results, checkMailbox(ctx, a, token))
	}
	return results
}

func reachSMTP(ctx context.Context, a *Answers) Result {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	r := Result{Name: "mail server " + a.Server()}
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", a.Server())
	if err != nil {
		r.Err = err
		r.Remedy = "Check the name, and open the port outwards in the firewall; hosting companies close 25, and some 465 and 587, until they are asked."
		return r
	}
	r.Said = "reached at " + nc.RemoteAddr().String()
	_ = nc.Close()
	return r
}

// reachOAuth asks the token endpoint for nothing: any answer shows that it is there.
func reachOAuth(ctx context.Context, a *Answers) Result {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	r := Result{Name: "authorization server"}
	endpoint, err := url.Parse(a.TokenServer())
	if err != nil {
		r.Err = err
		return r
	}
	r.Name += " " + endpoint.Host
	client, err := httpClient(a)
	if err != nil {
		r.Err = err
		return r
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint.String(), http.NoBody)
	if err != nil {
		r.Err = err
		return r
	}
	resp, err := client.Do(req)
	if err != nil {
		r.Err, r.Remedy = err, "Check the address, and that this machine may go out by HTTPS, through a proxy if need be (HTTPS_PROXY)."
		return r
	}
	_ = resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound:
		r.Err = fmt.Errorf("%s answers %s", endpoint, resp.Status)
		r.Remedy = "The endpoint is not there: check its address, and the tenant's name."
	case resp.StatusCode >= 500:
		r.Err, r.Remedy = fmt.Errorf("%s answers %s", endpoint, resp.Status), "The provider has trouble; try again later."
	default:
		r.Said = "answers"
	}
	return r
}

func httpClient(a *Answers) (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if a.CAFile != "" {
		pem, err := os.ReadFile(a.CAFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, errors.New("ca-file: it holds no certificate")
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}
