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
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Address reads the configured address of pages: https, or http to loopback. Its
// errors name the field `url`, and example is one that would do.
func Address(configured, example string) (text string, u *url.URL, err error) {
	text = strings.TrimSuffix(caddy.NewReplacer().ReplaceAll(configured, ""), "/")
	u, err = url.Parse(text)
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

// Loopback reports whether a host is this machine.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Client is the address that a request's connection comes from, never what a
// header claims.
func Client(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}

// Admit refuses, with an HTTP status, what comes in the clear over a network, and
// what asks for another host than that of the pages: another name for the same
// address is a rebinding attack, and cookies would not come back.
func Admit(r *http.Request, pages *url.URL) (status int, err error) {
	switch {
	case r.TLS == nil && !Loopback(Client(r)):
		return http.StatusForbidden, errors.New("without TLS only loopback is served")
	case !strings.EqualFold(r.Host, pages.Host):
		return http.StatusMisdirectedRequest, errors.New("the host is not that of `url`")
	}
	return http.StatusOK, nil
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
