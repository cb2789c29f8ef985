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
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/accounts"
)

// Predecessor reads the accounts.json of the Python proxy: an array of
// accounts, or an object with an array `accounts`. Keys that begin with an
// underscore are comments. One bad account stops none of the others.
func Predecessor(r io.Reader) (*Foreign, error) {
	data, err := readForeign(r)
	if err != nil {
		return nil, err
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	f := new(Foreign)
	dec := json.NewDecoder(bytes.NewReader(data))
	tok, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("accounts.json: %w", jsonPlace(data, dec, err))
	}
	found := false
	switch tok {
	case json.Delim('['):
		found = true
		err = f.readPredecessor(data, dec)
	case json.Delim('{'):
		for err == nil && dec.More() {
			var key json.Token
			if key, err = dec.Token(); err != nil {
				break
			}
			if key == "accounts" && !found {
				found = true
				if tok, err = dec.Token(); err == nil && tok != json.Delim('[') {
					return nil, errors.New("accounts.json: field 'accounts': want an array")
				}
				if err == nil {
					err = f.readPredecessor(data, dec)
				}
				continue
			}
			var skipped json.RawMessage
			if err = dec.Decode(&skipped); err == nil && !strings.HasPrefix(key.(string), "_") {
				f.Notes = append(f.Notes, fmt.Sprintf("field '%s' beside the accounts is not carried over", clip(key.(string))))
			}
		}
	default:
		return nil, errors.New("accounts.json: want an array of accounts, or an object with an array 'accounts'")
	}
	if err != nil {
		if len(f.Accounts) == 0 {
			return nil, fmt.Errorf("accounts.json: %w", jsonPlace(data, dec, err))
		}
		f.Accounts = append(f.Accounts, Imported{Line: jsonLine(data, dec, err), Err: jsonPlace(data, dec, err)})
	}
	if !found {
		return nil, errors.New("accounts.json: there is no array 'accounts'")
	}
	if err == nil {
		f.readNoMore(data, dec)
	}
	f.finish()
	f.passwordNote("The predecessor accepted any password.")
	return f, nil
}

// readNoMore tells of what follows the accounts: two files that were put together, say.
func (f *Foreign) readNoMore(data []byte, dec *json.Decoder) {
	tok, err := dec.Token()
	if err == nil && tok == json.Delim('}') { // of the object
		_, err = dec.Token()
	}
	if errors.Is(err, io.EOF) {
		return
	}
	line := 1 + bytes.Count(data[:min(dec.InputOffset(), int64(len(data)))], []byte("\n"))
	f.Accounts = append(f.Accounts, Imported{Line: line, Err: errors.New("something follows the accounts, and is not read: is the file two that were put together?")})
}

// passwordNote says what all importers leave open.
func (f *Foreign) passwordNote(why string) {
	if slices.ContainsFunc(f.Accounts, func(im Imported) bool { return im.Err == nil }) {
		f.Notes = append(f.Notes, why+" Here each account needs one of the gateway's: nobody can log in without it.")
	}
}

// readPredecessor reads the array's elements; its bracket is read already.
func (f *Foreign) readPredecessor(data []byte, dec *json.Decoder) error {
	line, counted := 1, int64(0)
	for dec.More() {
		// The next value begins after what separates it from the last.
		at := dec.InputOffset()
		at += int64(bytes.IndexFunc(data[at:], func(r rune) bool { return !strings.ContainsRune(" \t\r\n,", r) }))
		line += bytes.Count(data[counted:at], []byte("\n"))
		counted = at
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		im := f.predecessorAccount(raw)
		im.Line = line
		f.Accounts = append(f.Accounts, im)
	}
	_, err := dec.Token() // the bracket
	return err
}

// predecessorAccount translates one account. Its values are read one by one,
// since the file was never checked for their types.
func (f *Foreign) predecessorAccount(raw json.RawMessage) (im Imported) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		im.Err = &accounts.FieldError{Err: errors.New("want a JSON object")}
		return im
	}
	p := fieldReader{fields: fields, im: &im}
	email := p.text("email")
	p.account = email
	id := p.text("account_id")
	provider := accounts.FoldName(p.text("provider"))
	clientID := p.text("client_id")
	secret := p.text("client_secret") != ""
	refresh := p.text("refresh_token")
	tokenURL := p.text("oauth_token_url")
	endpoint := p.text("oauth_endpoint")
	ip := p.text("ip_address")
	vmta := p.text("vmta_name")
	limits := p.limits()
	p.rest("")
	if im.Err != nil {
		return im
	}
	for _, required := range []struct{ name, value string }{
		{"email", email}, {"provider", provider}, {"client_id", clientID}, {"refresh_token", refresh},
	} {
		if required.value == "" {
			im.Err = &accounts.FieldError{Account: email, Field: required.name, Err: errors.New("must not be empty")}
			return im
		}
	}

	s := SuggestedProvider{ClientID: clientID}
	switch provider {
	case "gmail":
		s.Kind = "google"
	case "outlook":
		s.Kind = "microsoft"
	default:
		im.Err = &accounts.FieldError{Account: email, Field: "provider", Err: errors.New("want gmail or outlook")}
		return im
	}
	s.Preset = presetOf(s.Kind, email)
	if tokenURL != "" {
		kind, u, err := knownEndpoint(tokenURL)
		switch {
		case err != nil:
			im.Err = &accounts.FieldError{Account: email, Field: "oauth_token_url", Err: err}
			return im
		case kind == s.Kind && kind == "microsoft":
			s.Tenant = microsoftTenant(u)
			if accounts.FoldName(u.Hostname()) == "login.live.com" {
				s.Tenant = "consumers"
			}
		case kind != s.Kind:
			s.TokenURL = u.String()
			im.note("field 'oauth_token_url': %s is not the provider's own token endpoint; make sure that it may have the refresh token", u.Host)
		}
	}
	if s.Kind == "google" && !secret {
		im.note("field 'client_secret': it is empty, and Google wants one")
	}
	if endpoint != "" && endpoint != "smtp.gmail.com:587" && endpoint != "smtp.office365.com:587" && endpoint != "smtp-mail.outlook.com:587" {
		im.note("field 'oauth_endpoint': the upstream says where mail goes; the predecessor ignored the field too")
	}

	im.Record = accounts.Record{Name: email, RefreshToken: refresh, Limits: limits}
	if ip != "" {
		addr, err := netip.ParseAddr(ip)
		switch {
		case err != nil || addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast():
			im.note("field 'ip_address': not an address of an interface, not carried over; the predecessor sent from the default address then")
		default:
			im.Record.SourceIP = addr.Unmap().String()
			if netip.MustParsePrefix("192.168.1.0/24").Contains(addr.Unmap()) {
				im.note("field 'ip_address': the predecessor's CSV tool made up addresses of 192.168.1.0/24; remove source_ip unless this host has it")
			}
		}
	}
	im.Record.Labels = make(map[string]string)
	if id != "" {
		im.Record.Labels["account_id"] = id
	}
	if vmta != "" {
		im.Record.Labels["vmta_name"] = vmta
	}
	if len(im.Record.Labels) == 0 {
		im.Record.Labels = nil
	}
	im.Record.Upstream = s.Preset
	if _, err := accounts.Compile(im.Record, "import"); err != nil {
		im.Err = err
		return im
	}
	im.Record.Upstream = f.use(s, secret)
	return im
}

func (im *Imported) note(format string, args ...any) {
	im.Notes = append(im.Notes, fmt.Sprintf(format, args...))
}

// fieldReader takes the known fields out of an object whose types nobody
// checked.
type fieldReader struct {
	fields  map[string]json.RawMessage
	im      *Imported
	account string
}

func (p *fieldReader) take(name string) (json.RawMessage, bool) {
	raw, ok := p.fields[name]
	delete(p.fields, name)
	return raw, ok && string(raw) != "null"
}

func (p *fieldReader) text(name string) string {
	raw, ok := p.take(name)
	if !ok {
		return ""
	}
	var s string
	if json.Unmarshal(raw, &s) != nil && p.im.Err == nil {
		p.im.Err = &accounts.FieldError{Account: p.account, Field: name, Err: errors.New("want a string")}
	}
	return strings.TrimSpace(s)
}

// positive returns a whole number above 0, or 0. One that is not is worth a
// note only: the account works without it.
func (p *fieldReader) positive(prefix, name string) int64 {
	raw, ok := p.take(name)
	if !ok {
		return 0
	}
	var n int64
	if json.Unmarshal(raw, &n) != nil || n <= 0 {
		p.im.note("field '%s': not a whole number above 0, not carried over", prefix+name)
		return 0
	}
	return n
}

// limits translates what the predecessor had for limits, most of which it
// never enforced.
func (p *fieldReader) limits() *accounts.Limits {
	var conns, hourly int64
	least := func(n int64, to *int64) {
		if n > 0 && (*to == 0 || n < *to) {
			*to = n
		}
	}
	least(p.positive("", "max_concurrent_messages"), &conns)
	least(p.positive("", "max_messages_per_hour"), &hourly)
	if sub, ok := p.object("connection_settings"); ok {
		least(sub.positive("connection_settings.", "max_connections_per_account"), &conns)
		least(sub.positive("connection_settings.", "max_concurrent_messages"), &conns)
		sub.rest("connection_settings.")
	}
	if sub, ok := p.object("rate_limiting"); ok {
		raw, given := sub.take("enabled")
		if given && string(raw) == "false" {
			clear(sub.fields)
			hourly = 0
		}
		least(sub.positive("rate_limiting.", "messages_per_hour"), &hourly)
		sub.rest("rate_limiting.")
	}
	if conns == 0 && hourly == 0 {
		return nil
	}
	l := &accounts.Limits{MaxConns: int(min(conns, 1_000_000))}
	if hourly > 0 {
		l.Messages = accounts.Rate{Count: hourly, Per: time.Hour}
	}
	p.im.note("limits: %s; the predecessor did not enforce them, this gateway does", describeLimits(l))
	return l
}

func describeLimits(l *accounts.Limits) string {
	var parts []string
	if l.MaxConns > 0 {
		parts = append(parts, fmt.Sprintf("max_conns %d", l.MaxConns))
	}
	if !l.Messages.IsZero() {
		parts = append(parts, "messages "+l.Messages.String())
	}
	return strings.Join(parts, ", ")
}

func (p *fieldReader) object(name string) (*fieldReader, bool) {
	raw, ok := p.take(name)
	if !ok {
		return nil, false
	}
	sub := &fieldReader{im: p.im, account: p.account}
	if json.Unmarshal(raw, &sub.fields) != nil {
		p.im.note("field '%s': not an object, not carried over", name)
		return nil, false
	}
	return sub, true
}

// rest notes the fields that have no equivalent.
func (p *fieldReader) rest(prefix string) {
	for _, name := range slices.Sorted(maps.Keys(p.fields)) {
		if strings.HasPrefix(name, "_") {
			continue
		}
		hint := ""
		switch name {
		case "max_messages_per_connection":
			hint = "; the upstream's max_messages_per_conn is for all its accounts"
		case "connection_idle_timeout_seconds", "idle_connection_reuse_timeout":
			hint = "; the upstream's idle_timeout is for all its accounts"
		case "connection_max_age_seconds":
			hint = "; the upstream's max_age is for all its accounts"
		case "connection_acquire_timeout_seconds":
			hint = "; the upstream's max_wait is for all its accounts"
		case "messages_per_minute_per_connection":
			hint = "; limits.rate counts an account's messages on all its connections"
		case "retry":
			hint = "; the provider's max_attempts is for all its accounts"
		}
		p.im.note("field '%s' is not carried over%s", clip(prefix+name), hint)
	}
}

// clip keeps foreign names from filling the report.
func clip(s string) string {
	if len(s) > 64 {
		s = strings.ToValidUTF8(s[:64], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return '?'
		}
		return r
	}, s)
}

func jsonLine(data []byte, dec *json.Decoder, err error) int {
	at := dec.InputOffset()
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		at = max(at, syntax.Offset)
	}
	return 1 + bytes.Count(data[:min(at, int64(len(data)))], []byte("\n"))
}

// jsonPlace says where JSON is malformed, without quoting it.
func jsonPlace(data []byte, dec *json.Decoder, err error) error {
	return fmt.Errorf("line %d: malformed JSON", jsonLine(data, dec, err))
}
