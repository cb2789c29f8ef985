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
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pages is a browser in front of the console or of the owners' pages.
type pages struct {
	*chromium
	base string
	// inspected are the names of the pages that were looked at.
	inspected map[string]bool
}

// pagesSite adds a site with both to a gateway's configuration, and loads it.
func pagesSite(g *gateway, connect, console string) (base string) {
	g.t.Helper()
	return pagesSiteAt(g, "http://"+freeAddrs(g.t, 1)[0], connect, console)
}

func pagesSiteAt(g *gateway, base, connect, console string) string {
	g.t.Helper()
	config, err := os.ReadFile(g.conf)
	if err != nil {
		g.t.Fatal(err)
	}
	config = fmt.Appendf(config, `
%[1]s {
	bind 127.0.0.1
	smtp_connect {
		url %[1]s/connect
		name "Example Mail"
		contact it@example.com
		%[2]s
	}
	smtp_console {
		url %[1]s/console
		name "Example Mail"
		%[3]s
	}
}
`, base, connect, console)
	if err := os.WriteFile(g.conf, config, 0o600); err != nil {
		g.t.Fatal(err)
	}
	g.reload()
	g.waitListening(strings.TrimPrefix(base, "http://"))
	return base
}

func (p *pages) in(t *testing.T) *pages { return &pages{p.chromium.in(t), p.base, p.inspected} }

// first opens the first page, in a window of its own.
func (p *pages) first(path string) {
	p.t.Helper()
	p.open(p.base+path, "light", 1280, 900)
}

// inspect checks the page that is open, as it is: everything that a program can
// check of it in light and dark, wide and on a phone, and that the keyboard reaches all
// of it. Nothing is loaded again, so that what is shown once is still there. With
// MAILGATEWAY_SCREENSHOTS it makes the manual's picture of the page.
func (p *pages) inspect(name string) {
	p.t.Helper()
	p.inspected[name] = true
	p.t.Run(strings.ReplaceAll(name, "-", " "), func(t *testing.T) {
		p := p.in(t)
		light := p.accessible(3)
		var tabs struct{ Reached, Problems []string }
		p.do("tabs", nil, &tabs)
		for _, problem := range tabs.Problems {
			t.Errorf("keyboard: %s", problem)
		}
		p.do("media", object{"scheme": "dark"}, nil)
		if dark := p.accessible(3); dark == light {
			t.Errorf("light and dark have the same background %s", light)
		}
		p.none("still")
		// A window of 1280 at 200 % and at 400 %, which is a phone too (WCAG 1.4.10).
		for _, width := range []int{640, 320} {
			p.do("size", object{"width": width, "height": 800}, nil)
			p.none("overflow")
			p.none("head")
			p.none("spacing")
		}
		p.do("media", object{"scheme": "light"}, nil)
		p.none("forced")
		p.do("size", object{"width": 1280, "height": 900}, nil)
		p.none("spacing")
		p.do("size", object{"width": 1000, "height": 700}, nil)
		if dir := os.Getenv("MAILGATEWAY_SCREENSHOTS"); dir != "" {
			p.do("screenshot", object{"path": filepath.Join(dir, name+".png"), "full": true}, nil)
		}
		p.do("size", object{"width": 1280, "height": 900}, nil)
	})
}

// undisturbed checks that the browser had nothing to complain about (a violation of
// the Content-Security-Policy is a complaint), and asked no other host. `but` are
// complaints that are meant.
func (p *pages) undisturbed(but ...string) {
	p.t.Helper()
	var s seen
	p.do("seen", nil, &s)
	for _, m := range s.Console {
		meant := false
		for _, b := range but {
			meant = meant || strings.Contains(m, b)
		}
		if !meant {
			p.t.Errorf("the browser's console: %s", m)
		}
	}
	for _, r := range s.Requests {
		if !strings.HasPrefix(r, p.base+"/") && !slices.ContainsFunc(but, func(b string) bool { return strings.HasPrefix(r, b) }) {
			p.t.Errorf("a request to %s", r)
		}
	}
}
