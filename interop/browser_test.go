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

package interop

import (
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// browse does what a person at a browser does on an authorization server's
// pages: it follows redirects, logs in as the mailbox, and agrees to whatever
// a form asks, until it is sent away from the server, or until there is
// nothing left to answer. It returns where it was sent, if it was.
func browse(t testing.TB, start, mailbox string) (away *url.URL) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	first, err := url.Parse(start)
	if err != nil {
		t.Fatal(err)
	}
	errAway := errors.New("redirected away")
	client := &http.Client{
		Jar: jar,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if req.URL.Host != first.Host {
				away = req.URL
				return errAway
			}
			if len(via) > 20 {
				return errors.New("too many redirects")
			}
			return nil
		},
	}
	res, err := client.Get(start)
	for range 10 {
		if errors.Is(err, errAway) {
			return away
		}
		if err != nil {
			t.Fatal(err)
		}
		page, readErr := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if readErr != nil || res.StatusCode >= 400 {
			t.Fatalf("%s: %s, %v\n%s", res.Request.URL, res.Status, readErr, page)
		}
		action, fields, ok := firstForm(string(page))
		if !ok {
			return nil
		}
		if fields.Has("login") {
			fields.Set("login", mailbox)
			fields.Set("password", "any")
		}
		target, err2 := res.Request.URL.Parse(action)
		if err2 != nil {
			t.Fatal(err2)
		}
		res, err = client.PostForm(target.String(), fields)
	}
	t.Fatalf("no end of forms at %s", start)
	return nil
}

// firstForm is the action and the named inputs of a page's first form.
func firstForm(page string) (action string, fields url.Values, ok bool) {
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		return "", nil, false
	}
	attr := func(n *html.Node, key string) string {
		for _, a := range n.Attr {
			if a.Key == key {
				return a.Val
			}
		}
		return ""
	}
	fields = make(url.Values)
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "form":
			if ok {
				return action, fields, true
			}
			action, ok = attr(n, "action"), true
		case "input", "button":
			if name := attr(n, "name"); ok && name != "" && name != "abort" {
				fields.Set(name, attr(n, "value"))
			}
		}
	}
	return action, fields, ok
}
