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

// Package site is what the pages of this module have in common as guests of a
// site: the address that they are served at, and who is let in to them at all.
package site

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/net/idna"
)

// Address reads the configured address of pages: https, or http to loopback. Its
// errors name the field `url`, and example is one that would do.
func Address(configured, example string) (text string, u *url.URL, err error) {
	text = strings.TrimSuffix(caddy.NewReplacer().ReplaceAll(configured, ""), "/")
	u, err = url.Parse(text)
	if err == nil && u.Host != "" {
		u.Host = asBrowsers(u)
		if u.User == nil {
			text = u.String()
		}
	}
	switch {
	case text == "":
		return "", nil, errors.New("url: must be set: where browsers find the pages, as in " + example)
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", nil, fmt.Errorf("url: '%s' is no URL of a page", text)
	case u.Scheme != "https" && (u.Scheme != "http" || !Loopback(u.Hostname())):
		return "", nil, fmt.Errorf("url: '%s' must be https; http is for loopback only", text)
	}
	return text, u, nil
}

// asBrowsers is a host and port as browsers ask for it and call it in Origin: in ASCII and
// small letters, an address in its shortest form, without the scheme's own port.
func asBrowsers(u *url.URL) string {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.String()
	} else if ascii, err := idna.Lookup.ToASCII(host); err == nil {
		host = ascii
	}
	if port == map[string]string{"https": "443", "http": "80"}[u.Scheme] {
		port = ""
	}
	switch {
	case port != "":
		return net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		return "[" + host + "]"
	}
	return host
}

// Loopback reports whether a host is this machine.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Peer is the address that a request's connection comes from, never what a header claims.
func Peer(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}

// Client is the address of who asks: the connection's, or what a proxy says of it that the
// server is told to trust (`trusted_proxies`).
func Client(r *http.Request) string {
	if _, served := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any); served {
		if client, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); client != "" {
			return client
		}
	}
	return Peer(r)
}

// trusted reports whether the connection comes from a proxy that the server is told to trust.
func trusted(r *http.Request) bool {
	if _, served := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any); !served {
		return false
	}
	t, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return t
}

// Admit refuses, with an HTTP status, what comes in the clear over a network, and
// what asks for another host than that of the pages: another name for the same
// address is a rebinding attack, and cookies would not come back. A proxy that the
// server trusts says what its client has said to it.
func Admit(r *http.Request, pages *url.URL) (status int, err error) {
	host, proxied := r.Host, trusted(r)
	if asked := r.Header.Values("X-Forwarded-Host"); proxied && len(asked) == 1 {
		host = asked[0]
	}
	switch {
	case r.TLS == nil && !Loopback(Peer(r)) && (!proxied || r.Header.Get("X-Forwarded-Proto") != "https"):
		return http.StatusForbidden, errors.New("without TLS only loopback is served, and proxies in `trusted_proxies` that say X-Forwarded-Proto: https")
	case !same(host, pages):
		return http.StatusMisdirectedRequest, fmt.Errorf("the host '%s' is not that of `url`, '%s'", host, pages.Host)
	}
	return http.StatusOK, nil
}

// same reports whether a host is that of the pages. A port is the scheme's own where none
// is said.
func same(host string, pages *url.URL) bool {
	return strings.EqualFold(host, pages.Host) || strings.EqualFold(asBrowsers(&url.URL{Scheme: pages.Scheme, Host: host}), pages.Host)
}

// Below returns a request with its path below that of the pages, if it has one. It is the
// path that the browser has asked for: a site may have taken the front of it away
// (handle_path, uri strip_prefix), and the pages are at `url` all the same.
func Below(r *http.Request, pages *url.URL) (below *http.Request, path string, ok bool) {
	root := strings.TrimSuffix(pages.Path, "/")
	if path, ok = strings.CutPrefix(r.URL.Path, root+"/"); ok || r.URL.Path == root && root != "" {
		return r, path, true
	}
	asked, _ := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if asked.URL == nil || root == "" || !strings.HasSuffix(asked.URL.Path, r.URL.Path) {
		return r, "", false
	}
	if path, ok = strings.CutPrefix(asked.URL.Path, root+"/"); !ok && asked.URL.Path != root {
		return r, "", false
	}
	below = r.Clone(r.Context())
	below.URL.Path, below.URL.RawPath = asked.URL.Path, asked.URL.RawPath
	return below, path, true
}

// forwarding are headers by which proxies say that a request came to them first.
var forwarding = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Real-Ip", "Via"}

// Forwarded reports whether a request came through a proxy, which may be this machine's
// own and let the world in. One that does not say so is not found out.
func Forwarded(r *http.Request) bool {
	return slices.ContainsFunc(forwarding, func(name string) bool { return r.Header.Get(name) != "" })
}

// ForeignOrigin reports whether a browser says that a request comes from a page of
// another origin than the pages': also of one that is taken for theirs by its host alone.
func ForeignOrigin(r *http.Request, pages *url.URL) bool {
	o := r.Header.Get("Origin")
	return o != "" && !strings.EqualFold(o, pages.Scheme+"://"+pages.Host)
}

// formPatience and slowest bound the time that the body of a form may take: a browser on
// a poor line sends a long list, and who sends it octet by octet holds nothing for long.
const (
	formPatience = 30 * time.Second
	slowest      = 16 << 10 // octets a second
)

// ParseForm reads a form of up to limit octets, within a bounded time.
func ParseForm(w http.ResponseWriter, r *http.Request, limit int64) error {
	return parseForm(w, r, limit, formPatience+time.Duration(limit/slowest)*time.Second)
}

func parseForm(w http.ResponseWriter, r *http.Request, limit int64, patience time.Duration) error {
	c := http.NewResponseController(w)
	bounded := c.SetReadDeadline(time.Now().Add(patience)) == nil
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	if err := r.ParseForm(); err != nil {
		return err // the server reads what is left, by the same deadline
	}
	if bounded {
		// Left behind, it would end the request's context.
		_ = c.SetReadDeadline(time.Time{})
	}
	return nil
}
