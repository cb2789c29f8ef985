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

package smtpclient

import (
	"net"
	"net/http"
	"net/url"
	"testing"
)

// configFor returns the configuration of a provider at the listener's address.
func configFor(t *testing.T, ln net.Listener) *Config {
	t.Helper()
	host, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return &Config{Host: host, Port: port}
}

func TestProxyRefuses(t *testing.T) {
	s := &Config{Host: "127.0.0.1", Port: "1"}
	for _, u := range []string{"ftp://127.0.0.1:1", "http://127.0.0.1:1", "socks5://127.0.0.1:1"} {
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		s.Proxy = func(*http.Request) (*url.URL, error) { return parsed, nil }
		if nc, err := dialTCP(t.Context(), s, ""); err == nil {
			_ = nc.Close()
			t.Errorf("%s: connected without the proxy", u)
		}
	}
}

// TestSourceIPv6 dials from an IPv6 address, and never falls back to the other
// family or to another address.
func TestSourceIPv6(t *testing.T) {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	six := configFor(t, ln)
	nc, derr := dialTCP(t.Context(), six, "::1")
	if derr != nil {
		t.Fatal(derr)
	}
	defer nc.Close()
	if got := nc.LocalAddr().(*net.TCPAddr).IP.String(); got != "::1" {
		t.Errorf("from %s", got)
	}
	ln4, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln4.Close()
	four := configFor(t, ln4)
	for _, c := range []struct {
		s      *Config
		source string
		class  Class
	}{
		{six, "2001:db8::1", FailLocal}, // not of this machine
		{six, "127.0.0.1", FailConnect},
		{four, "::1", FailConnect},
	} {
		nc, derr := dialTCP(t.Context(), c.s, c.source)
		if derr == nil {
			_ = nc.Close()
			t.Errorf("from %s to %s: connected from %v", c.source, c.s.Address(), nc.LocalAddr())
			continue
		}
		if derr.Class != c.class {
			t.Errorf("from %s to %s: %v, class %d, want %d", c.source, c.s.Address(), derr, derr.Class, c.class)
		}
	}
}
