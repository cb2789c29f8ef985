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

// Package outproxy connects through proxies, and looks at their addresses first: Go
// takes a malformed one for none, and goes out directly.
package outproxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

var schemes = []string{"http", "https", "socks5", "socks5h"}

// Environment says what is wrong with the proxies that the environment names for
// https, nil if nothing is. Their values, which may hold passwords, are not told.
func Environment() error {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy"} {
		if v := os.Getenv(name); v != "" {
			// The first that is set counts.
			if err := check(v, true); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		}
	}
	return nil
}

// Module says what is wrong with the address in a network_proxy module's
// configuration. One with a placeholder is known only when it is used.
func Module(raw json.RawMessage) error {
	var m struct {
		From string `json:"from"`
		URL  string `json:"url"`
	}
	if json.Unmarshal(raw, &m) != nil || m.From != "url" || strings.Contains(m.URL, "{") {
		return nil
	}
	return check(m.URL, false)
}

// check looks at one; bare: host and port will do.
func check(v string, bare bool) error {
	u, err := url.Parse(v)
	if bare && (err != nil || u.Scheme == "" || u.Host == "") {
		u, err = url.Parse("http://" + v)
	}
	switch {
	case err != nil || u.Hostname() == "" || u.Path != "" && u.Path != "/":
		return errors.New("malformed address of a proxy: it looks like http://proxy.example.com:3128")
	case !slices.Contains(schemes, u.Scheme):
		return fmt.Errorf("scheme '%s' of a proxy's address is none of %s", u.Scheme, strings.Join(schemes, ", "))
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return fmt.Errorf("port %s of a proxy's address is none", p)
		}
	}
	return nil
}
