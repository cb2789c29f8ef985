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

package admin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/operate"
)

const (
	loginTimeout = 10 * time.Minute
	maxLogins    = 100
	maxLoginWait = 30 * time.Second
)

// LoginRequest says how an account's owner is to consent.
type LoginRequest struct {
	// Device asks for a device code in place of a browser redirect.
	Device bool `json:"device,omitempty"`
	// AnyIdentity takes the consent of another identity than the mailbox:
	// the delegate of a shared mailbox.
	AnyIdentity bool `json:"any_identity,omitempty"`
	// RedirectURL is where the browser is sent back to. Default: a
	// listener of the gateway's on a free loopback port.
	RedirectURL string `json:"redirect_url,omitempty"`
	// Listen is the loopback listener's address.
	Listen string `json:"listen,omitempty"`
}

// LoginStatus is a login as the admin API shows it. It holds no secret but the
// code that the user is meant to type.
type LoginStatus struct {
	ID       string `json:"id"`
	Account  string `json:"account"`
	Provider string `json:"provider"`
	// State is `pending`, `done` or `failed`.
	State   string    `json:"state"`
	Expires time.Time `json:"expires"`

	// URL is what the user opens, RedirectURL where the browser goes then.
	URL         string `json:"url,omitempty"`
	RedirectURL string `json:"redirect_url,omitempty"`
	// UserCode is what the user types at VerificationURI.
	UserCode                string `json:"user_code,omitempty"`
	VerificationURI         string `json:"verification_uri,omitempty"`
	VerificationURIComplete string `json:"verification_uri_complete,omitempty"`

	// Identity is who consented, as far as the server said.
	Identity    string               `json:"identity,omitempty"`
	Error       string               `json:"error,omitempty"`
	Explanation *explain.Explanation `json:"explanation,omitempty"`
}

// login is one consent under way. It belongs to the process, not to a
// configuration: a reload does not end it.
type login struct {
	code   *oauthtoken.AuthCodeFlow
	grant  grant.Request
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended

	mu     sync.Mutex
	status LoginStatus
}

// logins are the consents under way, and those that ended in the last minutes.
var logins = struct {
	sync.Mutex
	byID map[string]*login
}{byID: make(map[string]*login)}

// startLogin answers POST /smtp/accounts/{name}/login.
func startLogin(w http.ResponseWriter, r *http.Request) error {
	a, provider, app, err := loginAccount(r)
	if err != nil {
		return err
	}
	var req LoginRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	opts := oauthtoken.LoginOptions{
		Mailbox:       a.Mailbox,
		AnyIdentity:   req.AnyIdentity,
		RedirectURL:   req.RedirectURL,
		ListenAddress: req.Listen,
	}
	p, ok := app.Provider(provider)
	if !ok {
		return &apiError{http.StatusConflict, errors.New("the upstream's provider is not configured in oauth_tokens"), "upstream"}
	}

	l := &login{grant: operate.GrantOf(provider, a), done: make(chan struct{})}
	l.status = LoginStatus{
		ID:       rand.Text(),
		Account:  a.Name,
		Provider: provider,
		State:    "pending",
		Expires:  time.Now().Add(loginTimeout),
	}
	// The flow outlives this request.
	ctx, cancel := context.WithTimeout(context.Background(), loginTimeout)
	l.cancel = cancel
	wait, err := l.begin(ctx, p, opts, req.Device)
	if err == nil {
		err = l.register()
	}
	if err != nil {
		l.close()
		if errors.Is(err, oauthtoken.ErrOptions) {
			return &apiError{http.StatusBadRequest, err, ""}
		}
		return withExplanation(http.StatusBadGateway, err)
	}
	go func() { l.finish(wait(ctx)) }()
	return writeJSON(w, http.StatusCreated, l.snapshot())
}

// loginAccount finds the account, its provider and the token app.
func loginAccount(r *http.Request) (*accounts.Account, string, *oauthtoken.App, error) {
	dir, err := operate.Directory()
	if err != nil {
		return nil, "", nil, err
	}
	a, err := dir.Get(r.Context(), r.PathValue("name"))
	if err != nil {
		return nil, "", nil, err
	}
	provider, err := operate.ProviderOf(a.Upstream)
	if err != nil {
		return nil, "", nil, err
	}
	app, err := operate.App[*oauthtoken.App]("oauth_tokens")
	return a, provider, app, err
}

// begin starts the flow and returns what waits for its end.
func (l *login) begin(ctx context.Context, p *oauthtoken.Provider, opts oauthtoken.LoginOptions, device bool) (func(context.Context) (*oauthtoken.Consent, error), error) {
	if device {
		flow, err := p.DeviceFlow(ctx, opts)
		if err != nil {
			return nil, err
		}
		l.status.UserCode, l.status.VerificationURI, l.status.VerificationURIComplete = flow.UserCode, flow.VerificationURI, flow.VerificationURIComplete
		if flow.Expires.Before(l.status.Expires) {
			l.status.Expires = flow.Expires
		}
		return flow.Wait, nil
	}
	flow, err := p.AuthCodeFlow(ctx, opts)
	if err != nil {
		return nil, err
	}
	l.code = flow
	l.status.URL, l.status.RedirectURL = flow.URL, flow.RedirectURL
	return flow.Wait, nil
}

// register adds the login to those under way.
func (l *login) register() error {
	logins.Lock()
	defer logins.Unlock()
	if len(logins.byID) >= maxLogins {
		return &apiError{http.StatusTooManyRequests, errors.New("too many logins are under way"), ""}
	}
	id := l.status.ID
	logins.byID[id] = l
	// Whoever polls shall learn the end, even if it came late.
	time.AfterFunc(loginTimeout+time.Minute, func() {
		logins.Lock()
		defer logins.Unlock()
		delete(logins.byID, id)
	})
	return nil
}

// finish keeps the consent. The first to finish counts: the browser, or what
// the user pasted.
func (l *login) finish(c *oauthtoken.Consent, err error) {
	defer l.close()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.status.State != "pending" {
		return
	}
	if err == nil {
		// The app of now: the one of the beginning may be gone.
		var app *oauthtoken.App
		if app, err = operate.App[*oauthtoken.App]("oauth_tokens"); err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			err = app.StoreLogin(ctx, l.grant, c)
			cancel()
		}
	}
	if err != nil {
		l.status.State, l.status.Error = "failed", err.Error()
		if errors.Is(err, context.DeadlineExceeded) {
			l.status.Error = "nobody has consented in time"
		} else if e, ok := explain.Of(err.Error()); ok {
			l.status.Explanation = &e
		}
	} else {
		l.status.State, l.status.Identity = "done", c.Identity
	}
	close(l.done)
}

func (l *login) close() {
	l.cancel()
	if l.code != nil {
		_ = l.code.Close()
	}
}

func (l *login) snapshot() LoginStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

func findLogin(r *http.Request) (*login, error) {
	logins.Lock()
	defer logins.Unlock()
	l := logins.byID[r.PathValue("id")]
	if l == nil {
		return nil, &apiError{http.StatusNotFound, errors.New("no such login"), ""}
	}
	return l, nil
}

// getLogin answers GET /smtp/logins/{id}. It waits for the end as long as the
// caller wants, up to half a minute.
func getLogin(w http.ResponseWriter, r *http.Request) error {
	l, err := findLogin(r)
	if err != nil {
		return err
	}
	if err := onlyQuery(r, "wait"); err != nil {
		return err
	}
	var wait time.Duration
	if s := r.URL.Query().Get("wait"); s != "" {
		if wait, err = time.ParseDuration(s); err != nil || wait < 0 {
			return badRequest("wait", "want a duration, as in 20s")
		}
	}
	timer := time.NewTimer(min(wait, maxLoginWait))
	defer timer.Stop()
	select {
	case <-l.done:
	case <-timer.C:
	case <-r.Context().Done():
	}
	return writeJSON(w, http.StatusOK, l.snapshot())
}

// pasteLogin answers POST /smtp/logins/{id}: the address that the browser was
// sent to, for browsers that cannot reach the gateway's listener.
func pasteLogin(w http.ResponseWriter, r *http.Request) error {
	l, err := findLogin(r)
	if err != nil {
		return err
	}
	var req struct {
		Redirected string `json:"redirected"`
	}
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	if l.code == nil {
		return &apiError{http.StatusConflict, errors.New("a login with a device code takes no address"), "redirected"}
	}
	ctx, cancel := context.WithTimeout(r.Context(), 30*time.Second)
	defer cancel()
	if c, err := l.code.Finish(ctx, req.Redirected); err != nil {
		// The address may have been pasted badly; the login goes on.
		return withExplanation(http.StatusBadRequest, err)
	} else {
		l.finish(c, nil)
	}
	return writeJSON(w, http.StatusOK, l.snapshot())
}

// readJSON decodes a request body strictly; no body is an empty object.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRecordSize))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	return jsonBodyError(err)
}
