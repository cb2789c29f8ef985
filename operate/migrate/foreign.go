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
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize/english"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/plaintext"
)

// maxForeign bounds another program's file: it is read as a whole.
const maxForeign = 256 << 20

// Foreign is what an importer made of another program's file. Nothing in it
// but the records holds a secret.
type Foreign struct {
	// Accounts are the file's accounts in their order, good and bad.
	Accounts []Imported
	// Notes are what concerns the file as a whole.
	Notes []string
	// Providers are the client registrations that the accounts need in
	// `oauth_tokens`, each with its upstream.
	Providers []SuggestedProvider

	byIdentity map[string]int // the providers
	taken      map[string]int // how often a name was asked for
}

// Imported is one account of another program's file.
type Imported struct {
	// Record is the account, if Err is nil.
	Record accounts.Record
	// Notes say what was not carried over, or needs a decision.
	Notes []string
	// Line is where the account begins, from 1.
	Line int
	// Err says why there is no account. It holds no secret.
	Err error
}

// SuggestedProvider is a provider that the configuration needs for imported
// accounts. The client secret is the operator's to put in its place.
type SuggestedProvider struct {
	Name     string
	Upstream string // the upstream's name in the records
	Preset   string // of the upstream; empty if there is none
	Dial     string // of the upstream, if it has no preset
	TLS      string // of the upstream, if it is not the default
	Kind     string
	Grant    string
	Tenant   string
	ClientID string
	TokenURL string
	AuthURL  string
	Scopes   []string
	// NeedsSecret says that the file had a client secret.
	NeedsSecret bool
	// Certificate and Key are the files of a client certificate, which takes
	// the place of the secret. Key is empty where one file holds both.
	Certificate, Key string
	// Password says that the upstream takes passwords and needs no provider.
	Password bool
	// Accounts is the number of accounts.
	Accounts int
}

// Advice is what the accounts need in the configuration.
func (p *SuggestedProvider) Advice() string {
	provider, upstream := p.Caddyfile()
	needs := english.Plural(p.Accounts, "account needs", "accounts need")
	if p.Kind == "" {
		return fmt.Sprintf("%s in smtp_upstreams:\n%s", needs, upstream)
	}
	return fmt.Sprintf("%s in oauth_tokens:\n%s\nand in smtp_upstreams:\n%s", needs, provider, upstream)
}

// Caddyfile returns the provider's block for `oauth_tokens` and the upstream's
// for `smtp_upstreams`.
func (p *SuggestedProvider) Caddyfile() (provider, upstream string) {
	var b strings.Builder
	head := func(word, name, kind string) {
		b.WriteString(word + " " + quoteToken(name))
		if kind != "" && kind != name {
			b.WriteString(" " + kind)
		}
		b.WriteString(" {\n")
	}
	line := func(name string, values ...string) {
		b.WriteString("\t" + name)
		for _, v := range values {
			b.WriteString(" " + quoteToken(plainToken(v)))
		}
		b.WriteString("\n")
	}
	head("provider", p.Name, p.Kind)
	if p.Tenant != "" {
		line("tenant", p.Tenant)
	}
	if p.TokenURL != "" {
		line("token_url", p.TokenURL)
	}
	if p.AuthURL != "" {
		line("auth_url", p.AuthURL)
	}
	if len(p.Scopes) > 0 {
		line("scopes", p.Scopes...)
	}
	if p.ClientID != "" {
		line("client_id", p.ClientID)
	}
	if p.NeedsSecret {
		b.WriteString("\tclient_secret {file./etc/mailgateway/credentials/" + p.Name + ".secret}\n")
	}
	if p.Certificate != "" {
		line("client_certificate", p.Certificate)
	}
	if p.Key != "" {
		line("client_key", p.Key)
	}
	if p.Grant != "" {
		line("grant", p.Grant)
	}
	b.WriteString("}\n")
	provider = b.String()

	b.Reset()
	head("upstream", p.Upstream, p.Preset)
	if p.Dial != "" {
		line("dial", p.Dial)
	}
	if p.TLS != "" {
		line("tls", p.TLS)
	}
	switch {
	case p.Kind != "":
		line("auth", "xoauth2", p.Name)
	case p.Password:
		line("auth", "plain")
	}
	b.WriteString("}\n")
	return provider, b.String()
}

// plainToken takes out what would be a placeholder or a line of its own: the
// values come from somebody else's file.
func plainToken(s string) string {
	return strings.Map(func(r rune) rune {
		if isControl(r) || r == '{' || r == '}' {
			return '?'
		}
		return r
	}, s)
}

// quoteToken quotes what the Caddyfile would not read as one word.
func quoteToken(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\"`#\\") && !strings.HasPrefix(s, "<<") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// identity is what two accounts of one provider have in common.
func (p *SuggestedProvider) identity() string {
	return strings.Join(append([]string{
		p.Kind, p.Preset, strconv.FormatBool(p.Password), p.Grant, p.Tenant, p.ClientID, p.TokenURL, p.Dial, p.TLS, p.Certificate, p.Key,
	}, p.Scopes...), "\x00")
}

// use finds the provider for an account, or adds it, and returns the name of
// its upstream. p has all but the names.
func (f *Foreign) use(p SuggestedProvider, needsSecret bool) (upstream string) {
	identity := p.identity()
	i, ok := f.byIdentity[identity]
	if !ok {
		name, up := p.Kind, p.Preset
		if name == "generic" {
			name = "imported"
		}
		if up == "" {
			up = "imported"
		}
		p.Name, p.Upstream = f.free("provider", name), f.free("upstream", up)
		if f.byIdentity == nil {
			f.byIdentity = make(map[string]int)
		}
		i = len(f.Providers)
		f.byIdentity[identity] = i
		f.Providers = append(f.Providers, p)
	}
	q := &f.Providers[i]
	q.Accounts++
	q.NeedsSecret = q.NeedsSecret || needsSecret
	return q.Upstream
}

// unuse takes an account back that use has counted.
func (f *Foreign) unuse(upstream string) {
	for i := range f.Providers {
		if f.Providers[i].Upstream == upstream {
			f.Providers[i].Accounts--
		}
	}
	f.Providers = slices.DeleteFunc(f.Providers, func(p SuggestedProvider) bool { return p.Accounts == 0 })
	clear(f.byIdentity)
	for i := range f.Providers {
		f.byIdentity[f.Providers[i].identity()] = i
	}
}

// free returns a name that nobody has yet: the second is name2.
func (f *Foreign) free(what, name string) string {
	if f.taken == nil {
		f.taken = make(map[string]int)
	}
	key := what + " " + name
	f.taken[key]++
	if n := f.taken[key]; n > 1 {
		return name + strconv.Itoa(n)
	}
	return name
}

// finish checks the records as the directory will.
func (f *Foreign) finish() {
	seen := make(map[string]int)
	for i := range f.Accounts {
		im := &f.Accounts[i]
		if im.Err != nil {
			im.Record = accounts.Record{}
			continue
		}
		if _, err := accounts.Compile(im.Record, "import"); err != nil {
			im.Err, im.Record = err, accounts.Record{}
			continue
		}
		key := accounts.FoldName(im.Record.Name)
		if line, dup := seen[key]; dup {
			im.Err = &accounts.FieldError{Account: im.Record.Name, Field: "name", Err: fmt.Errorf("duplicate of the account at line %d", line)}
			im.Record = accounts.Record{}
			continue
		}
		seen[key] = im.Line
	}
}

func readForeign(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(plaintext.NewReader(r), maxForeign+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxForeign {
		return nil, fmt.Errorf("the file is larger than %d MiB", maxForeign>>20)
	}
	if !utf8.Valid(data) {
		return nil, errors.New("the file is not UTF-8 text")
	}
	return data, nil
}

// consumerDomains are Microsoft's own, whose mailboxes have another host and
// other limits than those of an organization.
var consumerDomains = []string{"outlook", "hotmail", "live", "msn", "passport", "windowslive"}

// microsoftPreset chooses between `outlook` and `microsoft365`.
func microsoftPreset(address string) string {
	_, domain, _ := accounts.SplitAddress(address)
	first, _, _ := strings.Cut(accounts.FoldName(domain), ".")
	if slices.Contains(consumerDomains, first) {
		return "outlook"
	}
	return "microsoft365"
}

// microsoftTenant returns the tenant of a Microsoft endpoint's URL, or "" for
// the default, `common`.
func microsoftTenant(u *url.URL) string {
	tenant, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if tenant == "common" {
		return ""
	}
	return tenant
}

// knownEndpoint tells whose token endpoint a URL is. The kind is empty for
// anybody else's.
func knownEndpoint(raw string) (kind string, u *url.URL, err error) {
	u, err = url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil {
		return "", nil, errors.New("not a URL")
	}
	if u.Scheme != "https" {
		return "", nil, errors.New("not an https URL")
	}
	switch accounts.FoldName(u.Hostname()) {
	case "oauth2.googleapis.com", "accounts.google.com", "www.googleapis.com":
		return "google", u, nil
	case "login.microsoftonline.com", "login.live.com":
		return "microsoft", u, nil
	case "api.login.yahoo.com":
		return "yahoo", u, nil
	case "api.fastmail.com":
		return "fastmail", u, nil
	}
	return "", u, nil
}

// presetOf returns the upstream preset for an account of a known provider.
func presetOf(kind, address string) string {
	switch kind {
	case "google":
		return "gmail"
	case "microsoft":
		return microsoftPreset(address)
	case "yahoo", "fastmail":
		return kind
	}
	return ""
}

// isControl reports whether a character would break a line or hide something.
func isControl(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
}
