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
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// chromium is a browser, driven by browser/browser.mjs.
type chromium struct {
	t     *testing.T
	stdin io.WriteCloser
	lines *bufio.Reader
}

func startChromium(t *testing.T) *chromium {
	t.Helper()
	node, path := needNode(t, "browser"), need(t, "chromium")[0]
	cmd := exec.Command(node, "browser/browser.mjs", path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	messages := newOutput()
	cmd.Stderr = messages
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close() // it closes the browser, then ends
		if err := cmd.Wait(); err != nil {
			t.Errorf("browser.mjs: %v", err)
		}
		if t.Failed() {
			t.Logf("browser.mjs: %s", tail(messages.String(), 20))
		}
	})
	return &chromium{t, stdin, bufio.NewReader(stdout)}
}

// do carries out a command; what it answers goes into `into`, if not nil.
func (c *chromium) do(command string, args object, into any) {
	c.t.Helper()
	line := object{"do": command}
	for k, v := range args {
		line[k] = v
	}
	b, err := json.Marshal(line)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.stdin.Write(append(b, '\n')); err != nil {
		c.t.Fatal(err)
	}
	reply, err := c.lines.ReadBytes('\n')
	if err != nil {
		c.t.Fatalf("%s: %v", b, err)
	}
	var answer struct {
		Value json.RawMessage
		Error string
	}
	if err := json.Unmarshal(reply, &answer); err != nil {
		c.t.Fatalf("%s: %v\n%s", b, err, reply)
	}
	if answer.Error != "" {
		c.t.Fatalf("%s: %s", b, answer.Error)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(answer.Value, into); err != nil {
		c.t.Fatalf("%s: %v\n%s", b, err, answer.Value)
	}
}

// in is the browser for a subtest.
func (c *chromium) in(t *testing.T) *chromium { return &chromium{t, c.stdin, c.lines} }

func (c *chromium) open(url, scheme string, width, height int) {
	c.t.Helper()
	var status int
	c.do("open", object{"url": url, "scheme": scheme, "width": width, "height": height}, &status)
	if status != http.StatusOK {
		c.t.Fatalf("%s: status %d", url, status)
	}
}

// is waits until the element's text is this.
func (c *chromium) is(selector, text string) {
	c.t.Helper()
	c.do("text", object{"selector": selector, "is": text}, nil)
}

// matches waits until the element's text matches this.
func (c *chromium) matches(selector, expr string) {
	c.t.Helper()
	c.do("text", object{"selector": selector, "matches": expr}, nil)
}

// none is for checks that answer with what is wrong.
func (c *chromium) none(check string) {
	c.t.Helper()
	var problems []string
	c.do(check, nil, &problems)
	for _, p := range problems {
		c.t.Errorf("%s: %s", check, p)
	}
}

// seen is what the browser said and did since the page was opened.
type seen struct {
	Console, Requests   []string
	Events, Navigations int
}

// count is how many elements there are.
func (c *chromium) count(selector string) (n int) {
	c.t.Helper()
	c.do("countOf", object{"selector": selector}, &n)
	return n
}

// goes opens another page in the same window, which has this status.
func (c *chromium) goes(url string, want int) {
	c.t.Helper()
	var status int
	c.do("go", object{"url": url}, &status)
	if status != want {
		c.t.Fatalf("%s: status %d, want %d", url, status, want)
	}
}

func (c *chromium) click(selector string) {
	c.t.Helper()
	c.do("click", object{"selector": selector}, nil)
}

func (c *chromium) doubleClick(selector string) {
	c.t.Helper()
	c.do("click", object{"selector": selector, "twice": true}, nil)
}

func (c *chromium) fill(selector, value string) {
	c.t.Helper()
	c.do("fill", object{"selector": selector, "value": value}, nil)
}

// text is that of an element, once it is there.
func (c *chromium) text(selector string) (text string) {
	c.t.Helper()
	c.do("text", object{"selector": selector, "matches": ""}, &text)
	return text
}

// at is the page's address.
func (c *chromium) at() (address string) {
	c.t.Helper()
	c.do("address", nil, &address)
	return address
}

// quiet checks that the browser had nothing to complain about, went nowhere
// else and loaded the page once. `but` are complaints that are meant.
func (c *chromium) quiet(base string, but ...string) {
	c.t.Helper()
	var s seen
	c.do("seen", nil, &s)
	for _, m := range s.Console {
		if !slices.ContainsFunc(but, func(b string) bool { return strings.Contains(m, b) }) {
			c.t.Errorf("the browser's console: %s", m)
		}
	}
	if len(s.Requests) < 4 {
		c.t.Errorf("requests %q, want page, style, script and events", s.Requests)
	}
	for _, r := range s.Requests {
		if !strings.HasPrefix(r, base) {
			c.t.Errorf("a request to %s", r)
		}
	}
	if s.Navigations != 1 {
		c.t.Errorf("the page was loaded %d times", s.Navigations)
	}
}

// accessible checks structure, contrast and, with axe, everything that can be
// checked by a program. A page has at least so many texts.
func (c *chromium) accessible(texts int) (background string) {
	c.t.Helper()
	c.none("structure")
	var contrast struct {
		Lowest     float64
		Texts      int
		Background string
		Bad        []string
	}
	c.do("contrast", nil, &contrast)
	if contrast.Texts < texts {
		c.t.Errorf("only %d texts on the page", contrast.Texts)
	}
	for _, b := range contrast.Bad {
		c.t.Errorf("contrast below 4.5: %s", b)
	}
	c.t.Logf("background %s: lowest contrast of %d texts %.2f", contrast.Background, contrast.Texts, contrast.Lowest)
	var violations []struct {
		Impact, ID, Help string
		Nodes            []string
	}
	c.do("axe", nil, &violations)
	for _, v := range violations {
		report := c.t.Logf
		if v.Impact == "serious" || v.Impact == "critical" {
			report = c.t.Errorf
		}
		report("axe: %s: %s: %s: %q", v.Impact, v.ID, v.Help, v.Nodes)
	}
	return contrast.Background
}
