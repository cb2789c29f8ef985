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

package console_test

import (
	"net"
	"net/http"
	"net/url"
	"testing"
)

// TestDoubleClick has the first of two clicks left by its browser.
func TestDoubleClick(t *testing.T) {
	c := newConsole(t, "")
	form := c.get(t, "/console/accounts/new").fill(url.Values{"name": {"double@example.com"}, "upstream": {"sandbox"}})
	r := c.request(t, http.MethodPost, "/console/accounts", form)
	for _, cookie := range c.browser.Jar.Cookies(r.URL) {
		r.AddCookie(cookie)
	}
	conn, err := net.Dial("tcp", r.URL.Host)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	card := c.do(t, http.MethodPost, "/console/accounts", form)
	if card.address != "/console/accounts/double@example.com/card" || !shownPassword.MatchString(card.body) {
		t.Errorf("the second click leads to %s:\n%s", card.address, card.body)
	}
}
