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

package statuspage

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/printable"
)

func init() {
	caddy.RegisterModule(new(Page))
}

// Page is an HTTP handler that shows what the gateway does: throughput,
// latency, replies, upstreams and their pools, accounts by state with what to
// do, and limits near exhaustion. It is live, read-only, and has no access
// control of its own: put it behind the site's. Without TLS it answers
// only to loopback, and only by the host localhost or an IP address.
type Page struct {
	// ShowAccounts names the accounts that need attention; otherwise they
	// are only counted. Default: false.
	ShowAccounts bool `json:"show_accounts,omitempty"`

	// Interval is the time between two updates. Default: 2s, at least 1s.
	Interval caddy.Duration `json:"interval,omitempty"`

	feed *statusFeed
	// ended is closed when the server begins to shut down, which waits for
	// its requests: those for events would last for ever.
	ended chan struct{}
	end   func()
}

// CaddyModule returns the Caddy module information.
func (*Page) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.smtp_status",
		New: func() caddy.Module { return new(Page) },
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *Page) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, p) }

// Provision sets up the handler.
func (s *Page) Provision(ctx caddy.Context) error {
	if s.Interval == 0 {
		s.Interval = caddy.Duration(2 * time.Second)
	}
	if time.Duration(s.Interval) < time.Second {
		return fmt.Errorf("interval: %s is less than 1s", time.Duration(s.Interval))
	}
	s.feed = &statusFeed{registry: ctx.GetMetricsRegistry(), interval: time.Duration(s.Interval), accounts: s.ShowAccounts}
	s.ended = make(chan struct{})
	s.end = sync.OnceFunc(func() { close(s.ended) })
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		server.RegisterOnShutdown(s.end)
	}
	return nil
}

// Cleanup ends what is left of the events.
func (s *Page) Cleanup() error {
	if s.end != nil {
		s.end()
	}
	return nil
}

//go:embed status_page
var statusFiles embed.FS

// statusTypes are the page's files; nothing else is served.
var statusTypes = map[string]string{
	"index.html": "text/html; charset=utf-8",
	"status.css": "text/css; charset=utf-8",
	"status.js":  "text/javascript; charset=utf-8",
	"icon.svg":   "image/svg+xml",
}

// ServeHTTP implements caddyhttp.MiddlewareHandler. What it serves is chosen by
// the query, so that it works at any path: `?file=`, `?events`, `?json`.
func (s *Page) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if r.TLS == nil && !loopbackClient(r) {
		return caddyhttp.Error(http.StatusForbidden, errors.New("smtp_status: without TLS only loopback is served"))
	}
	if r.TLS == nil && !ownHost(r.Host) {
		return caddyhttp.Error(http.StatusForbidden, errors.New("smtp_status: without TLS only the hosts localhost and IP addresses are served"))
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return caddyhttp.Error(http.StatusMethodNotAllowed, fmt.Errorf("smtp_status: method %s", r.Method))
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	query := r.URL.Query()
	switch {
	case query.Has("events"):
		return s.serveEvents(w, r)
	case query.Has("json"):
		h.Set("Content-Type", "application/json")
		if r.Method == http.MethodHead {
			return nil
		}
		return json.NewEncoder(printable.Writer{W: w}).Encode(s.feed.snapshot())
	}
	name := query.Get("file")
	if name == "" {
		name = "index.html"
	}
	contentType, ok := statusTypes[name]
	if !ok {
		return caddyhttp.Error(http.StatusNotFound, errors.New("smtp_status: no such file"))
	}
	body, err := statusFiles.ReadFile("status_page/" + name)
	if err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodHead {
		return nil
	}
	_, err = w.Write(body)
	return err
}

// eventPatience is how long a client may take to read an event.
const eventPatience = 30 * time.Second

// serveEvents sends a snapshot at each interval as server-sent events, until
// the client goes or the configuration is replaced; the page then asks again.
func (s *Page) serveEvents(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return nil
	}
	ctl := http.NewResponseController(w)
	tick := time.NewTicker(time.Duration(s.Interval))
	defer tick.Stop()
	// Browsers wait for 3 s or more by themselves.
	prefix := "retry: 1000\n"
	for {
		data, err := json.Marshal(s.feed.snapshot())
		if err != nil {
			return err
		}
		// Not the site's write timeout, which is for a whole response. Where
		// deadlines are not supported there is none to lift.
		_ = ctl.SetWriteDeadline(time.Now().Add(time.Duration(s.Interval) + eventPatience))
		if _, err := fmt.Fprintf(w, "%sdata: %s\n\n", prefix, data); err != nil {
			return nil //nolint:nilerr // the client is gone, and nobody needs to know
		}
		prefix = ""
		if err := ctl.Flush(); err != nil {
			return nil //nolint:nilerr // as above
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-s.ended:
			return nil
		case <-tick.C:
		}
	}
}

// ownHost reports whether a browser that asks for the host cannot have been sent
// here by a foreign name: a page of somebody else's site may give its own name
// the address 127.0.0.1 (DNS rebinding), and then read what is served to that
// name. With TLS the certificate stands in the way.
func ownHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || net.ParseIP(strings.Trim(host, "[]")) != nil
}

// loopbackClient looks at the connection, never at what a header claims.
func loopbackClient(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Page)(nil)
	_ caddy.CleanerUpper          = (*Page)(nil)
	_ caddyhttp.MiddlewareHandler = (*Page)(nil)
)
