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

package precheck

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddymail/mailgateway/internal/form"
)

// line is a line of words with the heads of the blocks that it stands in.
type line struct {
	first  caddyfile.Token
	words  []string
	blocks [][]string
}

// in reports whether a line stands right within a block of a name.
func (l line) in(name string) bool {
	n := len(l.blocks)
	return n > 0 && len(l.blocks[n-1]) > 0 && l.blocks[n-1][0] == name
}

// kind is what the block says of itself behind its name, or by it: `provider NAME
// KIND` and `upstream NAME PRESET` may be one word.
func (l line) kind() string { return kindOf(l.blocks[len(l.blocks)-1]) }

// isGUID also takes an ID in braces, as programs of Microsoft's show it.
func isGUID(s string) bool {
	return form.IsGUID(strings.TrimSuffix(strings.TrimPrefix(s, "{"), "}"))
}

func kindOf(head []string) string {
	switch len(head) {
	case 0, 1:
		return ""
	case 2:
		return head[1]
	}
	return head[2]
}

// linesOf puts words together to lines.
func linesOf(tokens []caddyfile.Token) (all []line) {
	var open [][]string
	for i := 0; i < len(tokens); {
		l := line{first: tokens[i]}
		for ; i < len(tokens) && tokens[i].Line == l.first.Line && tokens[i].File == l.first.File; i++ {
			l.words = append(l.words, tokens[i].Text)
		}
		if l.words[0] == "}" && len(open) > 0 {
			open = open[:len(open)-1]
			continue
		}
		l.blocks = slices.Clone(open)
		if last := len(l.words) - 1; l.words[last] == "{" {
			l.words = l.words[:last]
			open = append(open, l.words)
		}
		if len(l.words) > 0 {
			all = append(all, l)
		}
	}
	return all
}

var (
	// unfilled is what examples have where a value of one's own goes.
	unfilled = regexp.MustCompile(`(?i)^(<.*>|\[.*\]|your[-_ ].*|.*[-_]here|x{3,}|change[-_ ]?me|todo|\.\.\.)$`)
	windows  = regexp.MustCompile(`^%\w+%$`)
	fileOfIt = regexp.MustCompile(`\{file\.([^}]*)\}`)
)

// rules are what is looked at in a line that Caddy takes. Each says what is hardly
// meant, with the remedy, or nothing.
var rules = []func(l line) string{
	unfilledValue, windowsVariable, openPlaceholder, missingFile, commas,
	secretID, clientID, tenant, providerGrant,
	upstreamPort, upstreamLogin, serverPort, serverAddress, certificateFiles, wideTrust, hostBits, wildcardHostname,
	mailboxName, senderWithName,
}

// forAll is how many of the rules hold whoever the provider is.
const forAll = 5

// checkValues looks for values that are taken and cannot be right.
func checkValues(tokens []caddyfile.Token) (advice []string) {
	lines := linesOf(tokens)
	// A rehearsal has a provider of a known kind at another place.
	elsewhere := make(map[string]bool)
	for _, l := range lines {
		if l.in("provider") && (l.words[0] == "token_url" || l.words[0] == "issuer") {
			elsewhere[strings.Join(l.blocks[len(l.blocks)-1], " ")] = true
		}
	}
	for _, l := range lines {
		if !ofOurs(l) {
			continue // Caddy's own options and sites have their own values
		}
		asked := rules
		if elsewhere[strings.Join(l.blocks[len(l.blocks)-1], " ")] {
			asked = rules[:forAll]
		}
		for _, rule := range asked {
			if text := rule(l); text != "" {
				advice = append(advice, at(l.first, "%s", text).Error())
				break
			}
		}
	}
	return advice
}

// ofOurs reports whether a line stands in one of the gateway's blocks.
func ofOurs(l line) bool {
	return slices.ContainsFunc(l.blocks, func(head []string) bool { return len(head) > 0 && slices.Contains(ours, head[0]) })
}

// value is the only word of an option in a block.
func value(l line, block, option string) string {
	if l.in(block) && len(l.words) == 2 && l.words[0] == option && literal(l.words[1]) {
		return l.words[1]
	}
	return ""
}

func unfilledValue(l line) string {
	for _, w := range l.words[1:] {
		if unfilled.MatchString(w) {
			return fmt.Sprintf("'%s' stands for a value of your own: put that in its place, without the brackets", w)
		}
	}
	return ""
}

func windowsVariable(l line) string {
	for _, w := range l.words[1:] {
		if windows.MatchString(w) {
			return fmt.Sprintf("'%s' is taken as it stands; the variable is {env.%s}", w, strings.Trim(w, "%"))
		}
	}
	return ""
}

func openPlaceholder(l line) string {
	for _, w := range l.words[1:] {
		if (strings.HasPrefix(w, "{env.") || strings.HasPrefix(w, "{file.") || strings.HasPrefix(w, "{$")) && !strings.Contains(w, "}") {
			return fmt.Sprintf("a } is missing: '%s}'; as it stands it is the value itself", w)
		}
	}
	return ""
}

func missingFile(l line) string {
	for _, w := range l.words[1:] {
		for _, m := range fileOfIt.FindAllStringSubmatch(w, -1) {
			if text := unreadable(m[1]); text != "" {
				return fmt.Sprintf("'%s' %s: the gateway reads it at its start", w, text)
			}
		}
	}
	return ""
}

// unreadable says why a file cannot be read, as far as a look tells.
func unreadable(name string) string {
	if name == "" || strings.ContainsAny(name, "{*") {
		return ""
	}
	switch _, err := os.Stat(name); {
	case err == nil:
		return ""
	case os.IsNotExist(err) && isWindowsPath(name) && os.PathSeparator == '/':
		return "is a path of Windows, and this machine is none"
	case os.IsNotExist(err):
		return "names no file"
	case os.IsPermission(err):
		return "names a file that this user may not read"
	}
	return ""
}

func isWindowsPath(s string) bool {
	return len(s) > 2 && s[1] == ':' && (s[2] == '\\' || s[2] == '/') || strings.HasPrefix(s, `\\`)
}

func commas(l line) string {
	lists := []string{"senders", "scopes", "mailbox", "reports"}
	if !slices.Contains(lists, l.words[0]) {
		return ""
	}
	for _, w := range l.words[1:] {
		if strings.ContainsAny(w, ",;") && !strings.Contains(w, `"`) {
			return fmt.Sprintf("'%s' holds a comma: between values stands a blank, and nothing else", w)
		}
	}
	return ""
}

// secretID finds what Entra shows beside the secret's value: the mistake that is
// made most.
func secretID(l line) string {
	if v := value(l, "provider", "client_secret"); isGUID(v) && l.kind() != "generic" && l.kind() != "google" {
		return "client_secret looks like the secret's ID: Entra shows 'Secret ID' beside 'Value', and it is the value that is wanted. It is shown only once, when the secret is made: make a new one under Certificates & secrets, and copy its value"
	}
	return ""
}

func clientID(l line) string {
	v := value(l, "provider", "client_id")
	google := strings.HasSuffix(v, ".apps.googleusercontent.com")
	switch kind := l.blocks; {
	case v == "" || len(kind) == 0:
	case l.kind() == "microsoft" && google:
		return "this client_id is one of Google's, and the provider's kind is microsoft: 'provider NAME google'"
	case l.kind() == "google" && isGUID(v):
		return "this client_id is one of Microsoft's, and the provider's kind is google: 'provider NAME microsoft'"
	case l.kind() == "microsoft" && strings.Contains(v, "~"):
		return "client_id looks like a client secret's value: the ID is 'Application (client) ID' on the app's overview in Entra, as in 11111111-2222-3333-4444-555555555555"
	case l.kind() == "microsoft" && !isGUID(v):
		return fmt.Sprintf("client_id '%s' is no ID: it is 'Application (client) ID' on the app's overview in Entra, as in 11111111-2222-3333-4444-555555555555, not the app's name", v)
	case l.kind() == "google" && !google:
		return fmt.Sprintf("client_id '%s' is none of Google's, which end with .apps.googleusercontent.com", v)
	}
	return ""
}

func tenant(l line) string {
	v := value(l, "provider", "tenant")
	switch {
	case v == "", isGUID(v), slices.Contains([]string{"common", "organizations", "consumers"}, v):
	case strings.Contains(v, "@"):
		_, domain, _ := strings.Cut(v, "@")
		return fmt.Sprintf("tenant '%s' is an address: its domain is wanted, 'tenant %s'", v, domain)
	case !strings.Contains(v, ".") || strings.ContainsAny(v, " \t"):
		return fmt.Sprintf("tenant '%s' is neither a domain nor an ID: it is 'Directory (tenant) ID' on the app's overview in Entra, or a domain of the organization, as in contoso.onmicrosoft.com", v)
	}
	return ""
}

func providerGrant(l line) string {
	known := []string{"refresh_token", "client_credentials", "service_account", "external"}
	if v := value(l, "provider", "grant"); v != "" && !slices.Contains(known, v) {
		return fmt.Sprintf("there is no grant '%s': it is refresh_token (each mailbox's owner consents once) or client_credentials (an administrator consents for all)", v)
	}
	return ""
}

// otherServices are ports of mail that is read.
var otherServices = map[string]string{"143": "IMAP", "993": "IMAP", "110": "POP3", "995": "POP3", "4190": "Sieve"}

func upstreamPort(l line) string {
	v := value(l, "upstream", "dial")
	_, port, err := net.SplitHostPort(v)
	if err != nil {
		return ""
	}
	if service := otherServices[port]; service != "" {
		return fmt.Sprintf("port %s is the one of %s, by which mail is read: mail is sent by port 587 or 465", port, service)
	}
	if port == "465" && strings.HasSuffix(strings.TrimSuffix(v, ":465"), "office365.com") {
		return "smtp.office365.com has no port 465: 'dial smtp.office365.com:587' and 'tls starttls', which the preset microsoft365 has by itself"
	}
	return ""
}

func upstreamLogin(l line) string {
	if !l.in("upstream") || l.words[0] != "auth" || len(l.words) < 2 {
		return ""
	}
	switch kind := l.kind(); {
	case slices.Contains([]string{"microsoft365", "outlook", "hve"}, kind) && slices.Contains([]string{"plain", "login"}, l.words[1]):
		return fmt.Sprintf("Microsoft takes no passwords for sending: 'auth xoauth2 PROVIDER' in place of 'auth %s'", l.words[1])
	case kind == "zoho" && slices.Contains([]string{"xoauth2", "oauthbearer"}, l.words[1]):
		return "Zoho's SMTP service takes no OAuth: 'auth plain', and an application's password as the account's secret"
	}
	return ""
}

// serverPort compares the ports that the world knows with what is said of TLS.
func serverPort(l line) string {
	if !l.in("server") || l.words[0] != "tls" || len(l.words) < 2 {
		return ""
	}
	for _, address := range l.blocks[len(l.blocks)-1][1:] {
		_, port, err := net.SplitHostPort(address)
		switch {
		case err != nil:
		case port == "465" && l.words[1] == "starttls":
			return "port 465 is the one of TLS from the first octet, and clients do so there: 'tls implicit', or port 587"
		case port == "587" && l.words[1] == "implicit":
			return "port 587 is the one of STARTTLS, and clients begin without TLS there: 'tls starttls', or port 465"
		}
	}
	return ""
}

func serverAddress(l line) string {
	if !l.in("smtp") || l.words[0] != "server" {
		return ""
	}
	for _, address := range l.words[1:] {
		host, port, err := net.SplitHostPort(address)
		switch {
		case err != nil:
		case host == "*":
			return fmt.Sprintf("'%s': all addresses are ':%s'", address, port)
		case host != "" && strings.Trim(host, "0123456789") == "":
			return fmt.Sprintf("'%s' is a container's way to name two ports; here it is ':%s'", address, port)
		case otherServices[port] != "":
			return fmt.Sprintf("port %s is the one of %s, by which mail is read: clients send by 587 or 465", port, otherServices[port])
		}
	}
	return ""
}

func certificateFiles(l line) string {
	if !l.in("server") || l.words[0] != "tls" {
		return ""
	}
	for _, w := range l.words[1:] {
		if strings.ContainsAny(w, `/\`) {
			if text := unreadable(w); text != "" {
				return fmt.Sprintf("'%s' %s: the server cannot start without its certificate and key", w, text)
			}
		}
	}
	return ""
}

func wideTrust(l line) string {
	if !l.in("server") || l.words[0] != "trust" {
		return ""
	}
	for _, w := range l.words[1:] {
		if p, err := netip.ParsePrefix(w); err == nil && (p.Bits() == 0 || p.Addr().Is4() && p.Bits() < 8) {
			return fmt.Sprintf("trust %s lets everybody send without a login: an open relay. Name the devices' addresses, one by one if you can", w)
		}
	}
	return ""
}

func hostBits(l line) string {
	if !l.in("server") || !slices.Contains([]string{"trust", "plaintext_auth", "lf_only", "proxy_protocol"}, l.words[0]) {
		return ""
	}
	for _, w := range l.words[1:] {
		if p, err := netip.ParsePrefix(w); err == nil && p.Masked() != p {
			return fmt.Sprintf("'%s' is the whole network %s: the one address is '%s'", w, p.Masked(), p.Addr())
		}
	}
	return ""
}

func wildcardHostname(l line) string {
	switch v := value(l, "smtp", "hostname"); {
	case strings.Contains(v, "*"):
		return fmt.Sprintf("hostname '%s' is a pattern: one name is wanted, which clients connect to and the greeting has", v)
	case strings.Contains(v, "_"):
		return fmt.Sprintf("hostname '%s' holds an underscore, which no certificate may have", v)
	}
	return ""
}

func mailboxName(l line) string {
	v := value(l, "account", "mailbox")
	if v != "" && !strings.Contains(v, "@") {
		return fmt.Sprintf("mailbox '%s' has no domain: it is the whole address that the provider knows, as in scanner@contoso.com", v)
	}
	return ""
}

func senderWithName(l line) string {
	if !l.in("account") || l.words[0] != "senders" {
		return ""
	}
	for _, w := range l.words[1:] {
		if strings.ContainsAny(w, "<>") {
			return fmt.Sprintf("'%s': addresses alone are wanted, as in scanner@contoso.com, without name and brackets", w)
		}
	}
	return ""
}

// checkTwice finds accounts whose names are one to the gateway, and addresses that
// two servers want: loading would refuse them without a line.
func checkTwice(tokens []caddyfile.Token, adapted []byte) error {
	var c config
	if json.Unmarshal(adapted, &c) != nil {
		return nil
	}
	names, addresses := make(map[string]line), make(map[string]line)
	for _, l := range linesOf(tokens) {
		switch {
		case len(l.words) < 2:
		case l.in("accounts") && l.words[0] == "account" && literal(l.words[1]):
			key := strings.ToLower(l.words[1])
			if first, ok := names[key]; ok {
				return at(l.first, "account '%s' is the same as '%s' in line %d: capitals make no difference; delete one, or give it another name", l.words[1], first.words[1], first.first.Line)
			}
			names[key] = l
		case l.in("smtp") && l.words[0] == "server":
			for _, a := range l.words[2:] {
				p, err := caddy.ParseNetworkAddress(a)
				if err != nil || !literal(a) {
					continue
				}
				key := p.String()
				if first, ok := addresses[key]; ok {
					return at(l.first, "server '%s' listens at '%s', where server '%s' in line %d does already: give it another port", l.words[1], a, first.words[1], first.first.Line)
				}
				addresses[key] = l
			}
		}
	}
	return nil
}
