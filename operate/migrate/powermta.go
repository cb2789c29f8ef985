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

package migrate

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/accounts"
)

// PowerMTA reads a configuration of PowerMTA: each `auth-username` with its
// `auth-password` is an account that keeps the password for the provider, which is where
// `route`, or `smtp-hosts`, of the same block or of one around it leads.
func PowerMTA(r io.Reader) (*Foreign, error) {
	data, err := readForeign(r)
	if err != nil {
		return nil, err
	}
	f := new(Foreign)
	c := pmtaReader{f: f, at: []*pmtaBlock{{}}, seen: make(map[string]int)}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		c.line(n, line)
	}
	for len(c.at) > 1 {
		f.Notes = append(f.Notes, fmt.Sprintf("line %d: <%s> is not closed", c.at[len(c.at)-1].line, clip(c.at[len(c.at)-1].tag)))
		c.leave()
	}
	c.leave()
	if len(f.Accounts) == 0 {
		return nil, errors.New("the file has no `auth-username` with an `auth-password`: is this PowerMTA's configuration?")
	}
	slices.SortStableFunc(f.Accounts, func(a, b Imported) int { return a.Line - b.Line })
	f.finish()
	f.passwordNote("The passwords of the file are the provider's.")
	return f, nil
}

// pmtaBlock is what stands between a tag and its end; the first one is the whole file.
type pmtaBlock struct {
	tag, name string
	line      int // of the tag
	login     int // the line of auth-username
	values    map[string]string
}

// pmtaReader reads lines. The blocks that are open stand in each other.
type pmtaReader struct {
	f    *Foreign
	at   []*pmtaBlock
	seen map[string]int // accounts by login
}

// pmtaWanted are the directives that mean something here.
var pmtaWanted = []string{"auth-username", "auth-password", "route", "smtp-hosts", "smtp-port", "max-smtp-out", "max-msg-rate", "smtp-source-host"}

func (c *pmtaReader) line(n int, line string) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return
	}
	if rest, ok := strings.CutPrefix(line, "</"); ok {
		tag, _, _ := strings.Cut(rest, ">")
		c.close(n, strings.ToLower(strings.TrimSpace(tag)))
		return
	}
	if rest, ok := strings.CutPrefix(line, "<"); ok {
		rest, _, _ = strings.Cut(rest, ">")
		tag, name, _ := strings.Cut(strings.TrimSpace(rest), " ")
		c.at = append(c.at, &pmtaBlock{tag: strings.ToLower(tag), name: pmtaWord(name), line: n})
		return
	}
	word, value := line, ""
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		word, value = line[:i], line[i:]
	}
	word = strings.ToLower(word)
	if word == "include" {
		c.f.Notes = append(c.f.Notes, fmt.Sprintf("line %d: the included file is not read: import it by itself", n))
		return
	}
	if !slices.Contains(pmtaWanted, word) {
		return
	}
	b := c.at[len(c.at)-1]
	if b.values == nil {
		b.values = make(map[string]string)
	}
	b.values[word] = pmtaWord(value)
	if word == "auth-username" {
		b.login = n
	}
}

// close ends the innermost block of that tag, and what was left open in it.
func (c *pmtaReader) close(n int, tag string) {
	i := len(c.at) - 1
	for i > 0 && c.at[i].tag != tag {
		i--
	}
	if i == 0 {
		c.f.Notes = append(c.f.Notes, fmt.Sprintf("line %d: nothing is open that </%s> could close", n, clip(tag)))
		return
	}
	for len(c.at) > i {
		c.leave()
	}
}

// leave makes an account of the innermost block if it has a login, and forgets the block.
func (c *pmtaReader) leave() {
	b := c.at[len(c.at)-1]
	if b.login != 0 {
		c.account(b)
	}
	c.at = c.at[:len(c.at)-1]
}

// value is a directive's of the block, or of one around it.
func (c *pmtaReader) value(word string) string {
	for _, b := range slices.Backward(c.at) {
		if v := b.values[word]; v != "" {
			return v
		}
	}
	return ""
}

func (c *pmtaReader) account(b *pmtaBlock) {
	name, password := b.values["auth-username"], c.value("auth-password")
	im := Imported{Line: b.login, Record: accounts.Record{Name: name}}
	if name == "" || password == "" {
		im.Err = errors.New("want auth-username and auth-password, each with a value")
		c.f.Accounts = append(c.f.Accounts, im)
		return
	}
	p := SuggestedProvider{Password: true}
	if host, port := c.server(); host == "" {
		im.note("no `route` leads anywhere: give the upstream the server that mail of <%s %s> goes to", clip(b.tag), clip(b.name))
		p.Preset = domainPreset(name)
	} else {
		p.at(host, port)
	}
	im.keep(&p, password)
	c.limits(&im)
	if v := c.virtual(); v != "" {
		im.Record.Labels = map[string]string{"virtual_mta": v}
	}
	im.Record.Upstream = "imported"
	if _, err := accounts.Compile(im.Record, "import"); err != nil {
		im.Err = err
		c.f.Accounts = append(c.f.Accounts, im)
		return
	}
	im.Record.Upstream = c.f.use(p, false)
	if i, again := c.seen[name+"\x00"+password]; again && c.f.Accounts[i].Record.Upstream == im.Record.Upstream {
		// One login in several blocks, for several domains mostly.
		c.f.unuse(im.Record.Upstream)
		return
	}
	c.seen[name+"\x00"+password] = len(c.f.Accounts)
	c.f.Accounts = append(c.f.Accounts, im)
}

// server is where the block's mail goes; no host is known where that is each domain's own
// server.
func (c *pmtaReader) server() (host, port string) {
	next := c.value("route")
	if next == "" {
		next = c.value("smtp-hosts")
	}
	// Several are tried in turn; `lookup-mx:` is no server.
	next, _, _ = strings.Cut(strings.ReplaceAll(next, ",", " "), " ")
	if next == "" || strings.HasPrefix(next, "lookup-mx:") || strings.Contains(next, "@") {
		return "", ""
	}
	host, port = postfixServer(next)
	if p := c.value("smtp-port"); p != "" && port == "25" && !strings.HasSuffix(next, ":25") {
		port = p
	}
	return host, port
}

// virtual is the virtual MTA that the block stands in.
func (c *pmtaReader) virtual() string {
	for _, b := range c.at {
		if b.tag == "virtual-mta" {
			return b.name
		}
	}
	return ""
}

// pmtaPeriods are the units of max-msg-rate.
var pmtaPeriods = map[string]time.Duration{
	"s": time.Second, "sec": time.Second, "second": time.Second, "m": time.Minute, "min": time.Minute, "minute": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "d": 24 * time.Hour, "day": 24 * time.Hour,
}

// limits carries over what the gateway counts as well.
func (c *pmtaReader) limits(im *Imported) {
	var l accounts.Limits
	if v := c.value("max-smtp-out"); v != "" {
		if n, err := strconv.Atoi(v); err == nil && n > 0 && n < 1<<20 {
			l.MaxConns = n
		} else {
			im.note("max-smtp-out is not carried over: it is no number")
		}
	}
	if v := c.value("max-msg-rate"); v != "" && !strings.EqualFold(v, "unlimited") {
		count, unit, _ := strings.Cut(v, "/")
		n, err := strconv.ParseInt(strings.TrimSpace(count), 10, 64)
		per := pmtaPeriods[strings.ToLower(strings.TrimSpace(unit))]
		switch {
		case err != nil || n <= 0 || per == 0:
			im.note("max-msg-rate is not carried over: it is no number by a period")
		case per >= time.Hour:
			l.Messages = accounts.Rate{Count: n, Per: per}
		default:
			l.Rate = accounts.Rate{Count: n, Per: per}
		}
	}
	if l != (accounts.Limits{}) {
		im.Record.Limits = &l
	}
	if c.value("smtp-source-host") != "" {
		im.note("smtp-source-host is not carried over: set `source_ip` if the address is this machine's")
	}
}

// pmtaWord takes the quotes off a value.
func pmtaWord(s string) string {
	s = strings.TrimSpace(s)
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}
