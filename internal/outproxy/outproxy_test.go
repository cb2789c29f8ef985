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

package outproxy

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http/httpproxy"
)

// TestEnvironment names what Go takes for no proxy, or cannot use, and nothing that
// it can.
func TestEnvironment(t *testing.T) {
	for v, good := range map[string]bool{
		"":                                    true,
		"http://proxy.example.com:3128":       true,
		"http://user:p%40ss@proxy.example:1/": true,
		"proxy.example.com:3128":              true,
		"proxy":                               true,
		"192.0.2.1:3128":                      true,
		"http://[2001:db8::1]:3128":           true,
		"socks5h://127.0.0.1:1080":            true,
		"http://proxy example:3128":           false,
		"http://user:p%zz-s3cret@proxy:3128":  false,
		"http://proxy:notaport":               false,
		"http://proxy:99999":                  false,
		"http//proxy.example.com:3128":        false,
		"http:/proxy.example.com:3128":        false,
		"ftp://proxy.example.com:3128":        false,
		"://proxy":                            false,
	} {
		t.Setenv("HTTPS_PROXY", v)
		err := Environment()
		if (err == nil) != good {
			t.Errorf("%q: %v", v, err)
		}
		if err != nil && (strings.Contains(err.Error(), "s3cret") || !strings.HasPrefix(err.Error(), "HTTPS_PROXY: ")) {
			t.Errorf("%q: said %q", v, err)
		}
		req, _ := http.NewRequest(http.MethodGet, "https://api.example.com/", nil)
		u, perr := httpproxy.FromEnvironment().ProxyFunc()(req.URL)
		if good && v != "" && (u == nil || perr != nil) {
			t.Errorf("%q: Go takes no proxy of it: %v", v, perr)
		}
	}
}

// TestModule looks at what stands in the configuration.
func TestModule(t *testing.T) {
	for v, good := range map[string]bool{
		`{"from": "none"}`: true,
		`{"from": "url", "url": "http://proxy:3128"}`:   true,
		`{"from": "url", "url": "{env.PROXY}"}`:         true,
		`{"from": "url", "url": "proxy:3128"}`:          false,
		`{"from": "url", "url": "http://proxy:3128:1"}`: false,
		`{"from": "url", "url": ""}`:                    false,
	} {
		if err := Module(json.RawMessage(v)); (err == nil) != good {
			t.Errorf("%s: %v", v, err)
		}
	}
}
