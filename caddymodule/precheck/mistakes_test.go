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
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddymail/mailgateway/caddymodule"
)

// good is a Caddyfile without a mistake; those of the table change it.
const good = `{
	oauth_tokens {
		provider entra microsoft {
			tenant contoso.example
			client_id 11111111-2222-3333-4444-555555555555
			client_secret hello
		}
	}
	smtp_upstreams {
		upstream office microsoft365 {
			auth xoauth2 entra
		}
	}
	smtp {
		hostname gateway.example.com
		accounts {
			account scanner@contoso.example {
				upstream office
			}
		}
		server submission :2587 {
			tls starttls
			max_message_size 25MiB
			auth_failures 5 per 10m ban 15m
		}
	}
}
`

const (
	lineTenant   = 4
	lineSecret   = 6
	lineUpstream = 10
	lineAuth     = 11
	lineSMTP     = 14
	lineHostname = 15
	lineAccounts = 16
	lineAccount  = 17
	lineUses     = 18
	lineServer   = 21
	lineTLS      = 22
	lineSize     = 23
	lineFailures = 24
	lineLast     = 27
)

// mistakes are what newcomers write. Each changes the first place of `from`
// into `to`; what is told has the line and all the words.
var mistakes = []struct {
	name, from, to string
	line           int
	words          []string
}{
	// Misspelt.
	{"global option", "\tsmtp {", "\tsmpt {", lineSMTP, []string{"'smpt'", "did you mean 'smtp'?"}},
	{"global option, plural", "smtp_upstreams {", "smtp_upstream {", 9, []string{"did you mean 'smtp_upstreams'?"}},
	{"option of smtp", "hostname", "hostnme", lineHostname, []string{"'hostnme'", "did you mean 'hostname'?"}},
	{"block", "accounts {", "acounts {", lineAccounts, []string{"did you mean 'accounts'?"}},
	{"named block", "server sub", "sever sub", lineServer, []string{"did you mean 'server'?"}},
	{"option with hyphen", "client_secret", "client-secret", lineSecret, []string{"did you mean 'client_secret'?"}},
	{"option in capitals", "tls starttls", "TLS starttls", lineTLS, []string{"did you mean 'tls'?"}},
	{"half a name", "max_message_size", "message_size", lineSize, []string{"did you mean 'max_message_size'?"}},
	{"another program's word", "client_id", "application_id", 5, []string{"did you mean 'client_id'?"}},
	{"preset", "office microsoft365", "office microsft365", lineUpstream, []string{"no preset 'microsft365'", "did you mean 'microsoft365'?"}},
	{"preset by its trade name", "office microsoft365", "office office365", lineUpstream, []string{"did you mean 'microsoft365'?"}},
	{"preset and name exchanged", "office microsoft365", "microsoft365 office", lineUpstream, []string{"no preset 'office'", "there are "}},
	{"kind", "entra microsoft", "entra micosoft", 3, []string{"'micosoft'", "did you mean 'microsoft'?"}},
	{"kind by its trade name", "entra microsoft", "entra azure", 3, []string{"did you mean 'microsoft'?"}},
	{"kind and name exchanged", "entra microsoft", "microsoft contoso", 3, []string{"'contoso'", "behind the provider's name"}},
	{"mechanism", "auth xoauth2", "auth xoath2", lineAuth, []string{"did you mean 'xoauth2'?"}},
	{"mechanism left out", "auth xoauth2 entra", "auth entra", lineAuth, []string{"'auth xoauth2 PROVIDER'"}},
	{"mechanism and provider exchanged", "auth xoauth2 entra", "auth entra xoauth2", lineAuth, []string{"the mechanism stands before the provider"}},
	{"transport", "auth xoauth2 entra", "transport grph", lineAuth, []string{"no 'grph'", "did you mean 'graph'?"}},
	{"source", "\t\taccounts {", "\t\taccounts {\n\t\t\tdynamc", 17, []string{"did you mean 'dynamic'?"}},
	{"value", "tls starttls", "bare_newline normalise", lineTLS, []string{"want reject or normalize", "did you mean 'normalize'?"}},

	// Braces and marks.
	{"blank before the brace of a server", ":2587 {", ":2587{", lineServer, []string{"a blank is missing before the {", "':2587 {'"}},
	{"blank before the brace of an account", "contoso.example {", "contoso.example{", lineAccount, []string{"'scanner@contoso.example {'"}},
	{"blank before the brace of smtp", "\tsmtp {", "\tsmtp{", lineSMTP, []string{"'smtp {'"}},
	{"blank before the brace of a block", "accounts {", "accounts{", lineAccounts, []string{"'accounts {'"}},
	{"line end after the first brace", "{\n\toauth", "{oauth", 1, []string{"'oauth_tokens' stands on a line of its own"}},
	{"brace on the next line", "submission :2587 {", "submission :2587\n\t\t{", lineServer + 1, []string{"place the '{' on the previous line?"}},
	{"last brace lost", "\t}\n}\n", "\t}\n", 1, []string{"a } is missing"}},
	{"brace within lost", "\t\t\t}\n\t\t}\n\t\tserver", "\t\t\t}\n\t\tserver", lineAccounts, []string{"'accounts' has no end", "a } is missing"}},
	{"brace too many", "15m\n\t\t}\n", "15m\n\t\t}\n\t\t}\n", lineLast + 1, []string{"this } closes nothing"}},
	{"equals sign", "hostname ", "hostname = ", lineHostname, []string{"stands a blank, and nothing else"}},
	{"equals sign, glued", "hostname ", "hostname=", lineHostname, []string{"'hostname gateway.example.com'"}},
	{"colon", "hostname ", "hostname: ", lineHostname, []string{"between an option and its value stands a blank"}},
	{"semicolon", "tls starttls", "tls starttls;", lineTLS, []string{"'starttls;'", "did you mean 'starttls'?"}},
	{"comment of C", "tls starttls", "// tls", lineTLS, []string{"a comment begins with #"}},
	{"quotes of an office program", "client_secret hello", "client_secret “hello world”", lineSecret, []string{"quotes are the straight ones"}},
	{"quotes of an office program, one word", "gateway.example.com", "“gateway.example.com”", lineHostname, []string{"quotes are the straight ones"}},
	{"invisible character", "hostname", "\u200bhostname", lineHostname, []string{"U+200B", "type the word anew"}},
	{"quote without end", "client_secret hello", "client_secret \"hello", lineSecret, []string{"a quote that begins here has no end"}},

	// Addresses.
	{"port without colon", ":2587", "2587", lineServer, []string{"a port without its colon", "did you mean ':2587'?"}},
	{"port too large", ":2587", ":258700", lineServer, []string{"ports end at 65535"}},
	{"host without port", ":2587", "gateway.example.com", lineServer, []string{"lacks its port", "'gateway.example.com:587'"}},
	{"URL", ":2587", "smtp://0.0.0.0:2587", lineServer, []string{"is a URL", "did you mean '0.0.0.0:2587'?"}},
	{"name of the server left out", "submission :2587", ":2587", lineServer, []string{"a name is missing", "'server submission :2587'"}},
	{"name and address exchanged", "submission :2587", ":2587 submission", lineServer, []string{"a name is missing before the address ':2587'"}},
	{"provider's address without port", "auth xoauth2 entra", "dial smtp.example.com", lineAuth, []string{"lacks its port", "'smtp.example.com:587'"}},
	{"host name with port", "gateway.example.com", "192.168.1.5:25", lineHostname, []string{"a name alone is wanted"}},
	{"interface for an address", "auth xoauth2 entra", "source_ip eth0", lineAuth, []string{"'eth0' is not an IP address"}},
	{"network with star", "tls starttls", "trust 192.168.1.*", lineTLS, []string{"did you mean '192.168.1.0/24'?"}},
	{"network with mask", "tls starttls", "trust 192.168.1.0/255.255.255.0", lineTLS, []string{"192.168.1.0/24"}},
	{"network as range", "tls starttls", "trust 192.168.1.1-192.168.1.20", lineTLS, []string{"a range is a prefix"}},
	{"tenant as URL", "tenant contoso.example", "tenant https://login.microsoftonline.com/x", lineTenant, []string{"the domain or the directory's ID alone"}},

	// Values.
	{"duration without unit", "per 10m", "per 10", lineFailures, []string{"a unit is missing", "'10m' minutes"}},
	{"duration in words", "per 10m", "per 10 minutes", lineFailures, []string{"a unit is missing"}},
	{"duration with a long unit", "tls starttls", "command_timeout 5min", lineTLS, []string{"did you mean '5m'?"}},
	{"percent", "tls starttls", "max_conns_before_login 50%", lineTLS, []string{"'50%'", "give the number itself"}},
	{"size with a blank", "25MiB", "25 MB", lineSize, []string{"a unit stands at its number"}},
	{"size without unit", "25MiB", "25", lineSize, []string{"did you mean '25MiB'?"}},
	{"number in words", "max_message_size 25MiB", "max_recipients unlimited", lineSize, []string{"without the line the default holds"}},
	{"thousands", "max_message_size 25MiB", "max_recipients 1,000", lineSize, []string{"did you mean '1000'?"}},
	{"rate in words", "auth xoauth2 entra", "messages_per_account 30 per minute", lineAuth, []string{"COUNT/PERIOD", "30/1m"}},
	{"rate without period", "auth xoauth2 entra", "messages_per_account 30", lineAuth, []string{"did you mean '30/1m'?"}},
	{"rate with a word", "auth xoauth2 entra", "messages_per_account 30/min", lineAuth, []string{"did you mean '30/1m'?"}},
	{"switch with a value", "tls starttls", "strict yes", lineTLS, []string{"the option's name alone turns it on"}},
	{"tls on", "tls starttls", "tls on", lineTLS, []string{"did you mean 'starttls'?"}},
	{"tls ssl", "tls starttls", "tls ssl", lineTLS, []string{"did you mean 'implicit'"}},
	{"certificate before the mode", "tls starttls", "tls /etc/c.pem /etc/k.pem starttls", lineTLS, []string{"stand behind the mode"}},
	{"date of another order", "client_secret hello", "secret_expires 31.12.2026", lineSecret, []string{"as in 2027-12-31"}},
	{"no value", "hostname gateway.example.com", "hostname", lineHostname, []string{"a value is missing"}},
	{"variable that is not set", "client_secret hello", "client_secret {$MAILGATEWAY_NOT_SET}", lineSecret, []string{"environment variable", "empty"}},
	{"secret with a blank", "client_secret hello", "client_secret hello geheim", lineSecret, []string{"stands in quotes"}},
	{"secret that begins with a brace", "client_secret hello", "client_secret { abc", lineSecret, []string{"stands in quotes"}},
	{"secret that looks like a placeholder", "client_secret hello", "client_secret {geheim}", lineSecret, []string{"{env.NAME}"}},
	{"password for its hash", "upstream office\n", "upstream office\n\t\t\t\tpassword_hash geheim\n", lineUses + 1, nil},
	{"option password", "upstream office\n", "upstream office\n\t\t\t\tpassword geheim\n", lineUses + 1, []string{"'password_hash'", "caddy hash-password"}},

	// In the wrong block, twice, or not at all.
	{"server's option in smtp", "hostname gat", "max_message_size 25MiB\n\t\thostname gat", lineHostname, []string{"belongs into the block server"}},
	{"account's option in a server", "tls starttls", "mailbox a@b.example", lineTLS, []string{"belongs into the block account"}},
	{"provider's option in an upstream", "auth xoauth2 entra", "client_id x", lineAuth, []string{"belongs into the block provider"}},
	{"account outside of accounts", "\t\taccounts {", "\t\taccount a {\n\t\t}\n\t\taccounts {", lineAccounts, []string{"accounts { account NAME"}},
	{"server at the top", "\tsmtp {", "\tserver x :25\n\tsmtp {", lineSMTP, []string{"belongs into the block smtp"}},
	{"smtp without the global block", good, "smtp {\n\tserver a :2525\n}\n", 1, []string{"an option of the global block"}},
	{"a site first", good, "example.com {\n\trespond ok\n}\n" + good, 4, []string{"move it above 'example.com'"}},
	{"server twice", "\t\tserver submission", "\t\tserver submission :2525\n\t\tserver submission", lineServer + 1, []string{"duplicate", "'submission'", "another name"}},
	{"upstream twice", "\t\tupstream office", "\t\tupstream office gmail\n\t\tupstream office", lineUpstream + 1, []string{"duplicate", "'office'"}},
	{"account twice", "\t\t\taccount s", "\t\t\taccount scanner@contoso.example {\n\t\t\t\tupstream office\n\t\t\t}\n\t\t\taccount s", lineAccount + 3, []string{"duplicate", "'scanner@contoso.example'"}},
	{"option twice", "tls starttls", "tls starttls\n\t\t\ttls implicit", lineTLS + 1, []string{"duplicate server option 'tls'", "delete one"}},
	{"account without upstream", "\t\t\t\tupstream office\n", "", lineAccount, []string{"option 'upstream' is missing"}},
	{"account of an unknown upstream", "\t\t\t\tupstream office\n", "\t\t\t\tupstream ofice\n", lineUses, []string{"'ofice' is not in the block smtp_upstreams", "did you mean 'office'?"}},
	{"upstream of an unknown provider", "xoauth2 entra", "xoauth2 entre", lineAuth, []string{"'entre' is not in the block oauth_tokens", "did you mean 'entra'?"}},
	{"trust without account", "tls starttls", "trust 10.0.0.0/8", lineTLS, []string{"option 'account' is missing"}},
	{"trust of an unknown account", "tls starttls", "trust 10.0.0.0/8 {\n\t\t\t\taccount scaner@contoso.example\n\t\t\t}", lineTLS + 1, []string{"did you mean 'scanner@contoso.example'?"}},
	{"provider without client_id", "\t\t\tclient_id 11111111-2222-3333-4444-555555555555\n", "", 3, []string{"'client_id' is missing"}},

	// Names.
	{"account with a blank", "account scanner@contoso.example", "account scanner room 2", lineAccount, []string{"unexpected argument 'room'"}},
	{"account with a quoted blank", "account scanner@contoso.example", "account \"scanner room 2\"", lineAccount, []string{"must not hold a blank"}},
	{"account in brackets", "account scanner@contoso.example", "account <scanner@contoso.example>", lineAccount, []string{"the address alone is wanted"}},
	{"account twice with capitals", "\t\t\taccount s", "\t\t\taccount Scanner@Contoso.example {\n\t\t\t\tupstream office\n\t\t\t}\n\t\t\taccount s", lineAccount + 3, []string{"'Scanner@Contoso.example' in line 17", "capitals make no difference"}},
	{"two servers at one address", "\t\tserver submission", "\t\tserver second :2587\n\t\tserver submission", lineServer + 1, []string{"where server 'second' in line 21 does", "another port"}},
	{"addresses with a comma", "tls starttls", "trust 192.168.1.5, 192.168.1.6", lineTLS, []string{"'192.168.1.5,'", "between addresses stands a blank"}},
	{"address with leading zeros", "tls starttls", "plaintext_auth 192.168.001.005", lineTLS, []string{"did you mean '192.168.1.5'?"}},
	{"blank within an address", ":2587", ": 2587", lineServer, []string{"':' lacks its port, as in ':587'"}},
	{"limits on one line", "upstream office\n", "upstream office\n\t\t\t\tlimits 30/1m\n", lineUses + 1, []string{"a rate stands on a line of its own in the block", "'rate 30/1m'"}},
	{"rate outside of limits", "upstream office\n", "upstream office\n\t\t\t\trate 30/1m\n", lineUses + 1, []string{"'rate' in the block limits"}},
	{"grant with a blank", "client_secret hello", "grant client credentials", lineSecret, []string{"did you mean 'client_credentials'?"}},
	{"account without name", "account scanner@contoso.example", "account", lineAccount, []string{"'account NAME'"}},

	// Forms: each says what is right.
	{"failures without their form", "auth_failures 5 per 10m ban 15m", "auth_failures few", lineFailures, []string{"'few'", "the form is 'auth_failures 5 per 10m ban 15m'"}},
	{"failures with another word", "auth_failures 5 per 10m ban 15m", "auth_failures 5 in 10m", lineFailures, []string{"'in'", "the form is 'auth_failures 5 per 10m ban 15m'"}},
	{"rate in two words", "upstream office\n", "upstream office\n\t\t\t\tlimits {\n\t\t\t\t\trate 20 1m\n\t\t\t\t}\n", lineUses + 2, []string{"did you mean '20/1m'?"}},
	{"two host names", "hostname gateway", "hostname a gateway", lineHostname, []string{"the form is 'hostname mail.example.com'"}},
	{"switch with a version", "tls starttls", "legacy_tls tls1.0", lineTLS, []string{"'tls1.0'", "the option's name alone turns it on"}},
	{"two modes", "tls starttls", "tls starttls implicit", lineTLS, []string{"'starttls' and 'implicit' are two modes"}},
	{"trust with the account on its line", "tls starttls", "trust 10.0.0.1 scanner@contoso.example", lineTLS, []string{"the form is 'trust 192.0.2.7 {' 'account scanner@example.com' '}'"}},
	{"IPv6 address without brackets", ":2587", "::1:2525", lineServer, []string{"did you mean '[::1]:2525'?"}},
	{"provider's IPv6 address", "auth xoauth2 entra", "dial 2001:db8::1:587", lineAuth, []string{"did you mean '[2001:db8::1]:587'?"}},
	{"provider's port apart", "auth xoauth2 entra", "dial smtp.example.com 587", lineAuth, []string{"did you mean 'smtp.example.com:587'?"}},
	{"duration of a clock", "tls starttls", "login_timeout 1:30", lineTLS, []string{"did you mean '1m30s', or '1h30m'?"}},
	{"duration apart from its unit", "tls starttls", "login_timeout 90 seconds", lineTLS, []string{"did you mean '90s'?"}},
	{"hash that was cut", "upstream office\n", "upstream office\n\t\t\t\tpassword_hash $2a$10$geheim\n", lineUses + 1, []string{"want 60 characters", "`caddy hash-password`"}},
	{"hash of another kind", "upstream office\n", "upstream office\n\t\t\t\tpassword_hash $1$geheim$geheim\n", lineUses + 1, []string{"md5crypt", "`caddy hash-password`"}},
	{"sender of a domain", "upstream office\n", "upstream office\n\t\t\t\tsenders @contoso.example\n", lineUses + 1, []string{"did you mean '*@contoso.example'?"}},
	{"senders with a comma", "upstream office\n", "upstream office\n\t\t\t\tsenders a@contoso.example, b@contoso.example\n", lineUses + 1, []string{"stands a blank"}},
	{"sender with a name", "upstream office\n", "upstream office\n\t\t\t\tsenders \"Scanner <a@contoso.example>\"\n", lineUses + 1, []string{"without name and brackets"}},
	{"kind misspelt in the place of the name", "provider entra microsoft", "provider microsft", 3, []string{"did you mean 'microsoft'?"}},
	{"kind left out", "provider entra microsoft", "provider entra", 3, []string{"did you mean 'provider entra microsoft'?"}},
	{"grant by another name", "client_secret hello", "grant app_only", lineSecret, []string{"did you mean 'client_credentials'?"}},
	{"tenant in braces", "tenant contoso.example", "tenant {11111111-2222-3333-4444-555555555555}", lineTenant, []string{"without braces", "did you mean '11111111-2222-3333-4444-555555555555'?"}},
	{"tenant with blanks", "tenant contoso.example", `tenant "Contoso Ltd."`, lineTenant, []string{"the domain or the directory's ID"}},
	{"secret in an office program's quotes", "client_secret hello", "client_secret “geheim”", lineSecret, []string{"quotes of an office program"}},
	{"secret in single quotes", "client_secret hello", "client_secret 'geheim'", lineSecret, []string{"take them away"}},
	{"upstreams within smtp", "\t\taccounts {", "\t\tupstreams {\n\t\t}\n\t\taccounts {", lineAccounts, []string{"did you mean the global option 'smtp_upstreams'?", "beside the one of smtp"}},
	{"smtp_upstreams within smtp", "\t\taccounts {", "\t\tsmtp_upstreams {\n\t\t}\n\t\taccounts {", lineAccounts, []string{"beside the block smtp, not in it"}},
	{"oauth", "oauth_tokens {", "oauth {", 2, []string{"did you mean 'oauth_tokens'?"}},
	{"upstreams", "smtp_upstreams {", "upstreams {", 9, []string{"did you mean 'smtp_upstreams'?"}},
	{"oauth in an upstream", "auth xoauth2 entra", "oauth entra", lineAuth, []string{"'auth xoauth2 PROVIDER'"}},
	{"page in the global block", "\tsmtp {", "\tsmtp_console\n\tsmtp {", lineSMTP, []string{"stands in a site, behind the global block"}},
	{"smtp in a site", "\t}\n}\n", "\t}\n}\nmail.example.com {\n\tsmtp {\n\t}\n}\n", lineLast + 2, []string{"'smtp' stands in a site", "global block"}},
	{"upstreams in a site", "\t}\n}\n", "\t}\n}\nmail.example.com {\n\tupstreams {\n\t}\n}\n", lineLast + 2, []string{"'upstreams' stands in a site", "'smtp_upstreams {'"}},
	{"server in a site", "\t}\n}\n", "\t}\n}\nmail.example.com {\n\tserver submission :587\n}\n", lineLast + 2, []string{"belongs into the block smtp"}},

	// No text.
	{"empty", good, " \n", 1, []string{"this file is empty"}},
	{"UTF-16", good, inUTF16(true, good), 1, []string{"UTF-16", "UTF-8"}},
	{"UTF-16 without mark", good, inUTF16(false, good), 1, []string{"UTF-16", "UTF-8"}},
	{"Windows-1252", "client_secret hello", "client_secret h\xe4llo", lineSecret, []string{"not UTF-8", "Windows-1252"}},
	{"CR line ends", good, strings.ReplaceAll(good, "\n", "\r"), 1, []string{"CR alone"}},
	{"RTF", good, `{\rtf1\ansi ` + good + "}", 1, []string{"word processor"}},
	{"document", good, "PK\x03\x04 and so on", 1, []string{"office program"}},
	{"JSON", good, `{"apps": {"smtp": {}}}`, 1, []string{"JSON, not a Caddyfile", ".json"}},
	{"web page", good, "<!DOCTYPE html>\n<title>Caddyfile</title>\n", 1, []string{"a web page"}},
}

func inUTF16(mark bool, s string) string {
	units := utf16.Encode([]rune(s))
	if mark {
		units = append([]uint16{0xfeff}, units...)
	}
	var b bytes.Buffer
	for _, u := range units {
		b.Write([]byte{byte(u), byte(u >> 8)})
	}
	return b.String()
}

const file = "/etc/mailgateway/Caddyfile"

// told is what the binary tells of a Caddyfile before it loads anything.
func told(body string) ([]string, error) {
	advice, err := Check(file, []byte(body))
	if err == nil {
		_, _, err = caddyconfig.GetAdapter("caddyfile").Adapt([]byte(body), map[string]any{"filename": file})
	}
	return advice, err
}

var lineIn = regexp.MustCompile(regexp.QuoteMeta(file) + `:(\d+)`)

func TestMistakes(t *testing.T) {
	if len(mistakes) < 75 {
		t.Errorf("%d mistakes", len(mistakes))
	}
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			body := strings.Replace(good, m.from, m.to, 1)
			if body == good {
				t.Fatal("it is no mistake")
			}
			_, err := told(body)
			if err == nil {
				t.Fatal("no error")
			}
			text := err.Error()
			places := lineIn.FindAllStringSubmatch(text, -1)
			if len(places) != 1 || places[0][1] != fmt.Sprint(m.line) {
				t.Errorf("line %d is not told, and no other: %s", m.line, text)
			}
			for _, w := range m.words {
				if !strings.Contains(text, w) {
					t.Errorf("%q is not told: %s", w, text)
				}
			}
			if strings.Contains(text, "geheim") {
				t.Errorf("the password is told: %s", text)
			}
			if strings.Contains(text, "strconv") || strings.Contains(text, "module not registered") {
				t.Errorf("it speaks Go: %s", text)
			}
		})
	}
}

// TestTaken has what looks like a mistake and is none.
func TestTaken(t *testing.T) {
	for name, body := range map[string]string{
		"good":                   good,
		"mark":                   "\ufeff" + good,
		"Windows line ends":      strings.ReplaceAll(good, "\n", "\r\n"),
		"spaces":                 strings.ReplaceAll(good, "\t", "  "),
		"no indentation":         strings.ReplaceAll(good, "\t", ""),
		"wide blank":             strings.Replace(good, "hostname ", "hostname\u00a0", 1),
		"secret with marks":      strings.Replace(good, "hello", "a#b{c;d", 1),
		"secret in quotes":       strings.Replace(good, "hello", `"a #b {c}"`, 1),
		"placeholder":            strings.Replace(good, "hello", "{env.CLIENT_SECRET} # of the vault", 1),
		"upstream from a file":   strings.Replace(good, "upstream office\n", "upstream {env.UPSTREAM}\n", 1),
		"accounts from a source": strings.Replace(good, "tls starttls", "trust 10.0.0.0/8 {\n\t\t\t\taccount a@b.example\n\t\t\t}", 1) + "",
		"a site of Caddy's":      "example.com {\n\trespond \"{ok\"\n}\n",
		"a snippet's argument":   "(secret) {\n\tclient_secret {args[0]}\n}\n" + good,
		"a snippet's block":      "(secret) {\n\tclient_secret {block}\n}\n" + good,
		"a snippet":              "(x) {\n\trespond ok\n}\nexample.com {\n\timport x\n}\n",
		"a rehearsal":            strings.Replace(good, "client_id 11111111-2222-3333-4444-555555555555", "client_id rehearsal\n\t\t\ttoken_url http://127.0.0.1:8025/token", 1),
		"two sites":              good + "example.com {\n\trespond ok\n}\n",
	} {
		if name == "accounts from a source" {
			body = strings.Replace(body, "\t\taccounts {", "\t\taccounts {\n\t\t\tdynamic", 1)
		}
		advice, err := told(body)
		if err != nil || len(advice) > 0 {
			t.Errorf("%s: %v, %q", name, err, advice)
		}
	}
}

// TestAdvice has what is taken and hardly meant.
func TestAdvice(t *testing.T) {
	for _, tc := range []struct {
		from, to string
		line     int
		words    string
	}{
		{"client_secret hello", "client_secret a #b", lineSecret, "stands in quotes"},
		{"client_secret hello", "client_secret $SECRET", lineSecret, "client_secret: the value looks like a variable of the shell"},
		{"client_secret hello", "client_secret ${SECRET}", lineSecret, "{env.NAME} (or {$NAME}"},
		{"client_secret hello", "client_secret \"$SECRET\"", lineSecret, "{env.NAME}"},
		{"submission :2587", "submission", lineServer, "listens nowhere"},
		{good[strings.Index(good, "\t\tserver"):], "\t}\n}\n", lineSMTP, "nothing listens"},

		// Entra shows the secret's ID beside its value.
		{"client_secret hello", "client_secret 8f3c2a1e-5b7d-4c9a-9e1f-0a2b3c4d5e6f", lineSecret, "'Secret ID' beside 'Value'"},
		{"client_secret hello", `client_secret "8F3C2A1E-5B7D-4C9A-9E1F-0A2B3C4D5E6F"`, lineSecret, "make a new one"},
		{"client_id 11111111-2222-3333-4444-555555555555", `client_id "Mail gateway"`, 5, "'Application (client) ID'"},
		{"client_id 11111111-2222-3333-4444-555555555555", "client_id abc8Q~abcdefghijklmnop", 5, "a client secret's value"},
		{"client_id 11111111-2222-3333-4444-555555555555", "client_id 123-abc.apps.googleusercontent.com", 5, "one of Google's"},
		{"entra microsoft", "entra google", 5, "one of Microsoft's"},
		{"tenant contoso.example", "tenant contoso", lineTenant, "'Directory (tenant) ID'"},
		{"tenant contoso.example", "tenant admin@contoso.example", lineTenant, "'tenant contoso.example'"},
		{"client_secret hello", "client_secret <your-secret>", lineSecret, "a value of your own"},
		{"client_secret hello", "client_secret YOUR_CLIENT_SECRET", lineSecret, "a value of your own"},
		{"client_secret hello", "client_secret %SECRET%", lineSecret, "{env.SECRET}"},
		{"client_secret hello", "client_secret {env.SECRET", lineSecret, "'{env.SECRET}'"},
		{"client_secret hello", "client_secret {file./no/such/file}", lineSecret, "names no file"},
		{"client_secret hello", `client_secret {file.C:\secrets\entra.txt}`, lineSecret, "a path of Windows"},
		{"client_secret hello", "scopes https://outlook.office.com/SMTP.Send,offline_access", lineSecret, "stands a blank"},
		{"auth xoauth2 entra", "dial smtp.office365.com:465", lineAuth, "has no port 465"},
		{"auth xoauth2 entra", "dial mail.example.com:993", lineAuth, "IMAP"},
		{"auth xoauth2 entra", "auth plain", lineAuth, "no passwords"},
		{"submission :2587", "submission :465", lineTLS, "'tls implicit', or port 587"},
		{":2587 {\n\t\t\ttls starttls", ":587 {\n\t\t\ttls implicit", lineTLS, "'tls starttls', or port 465"},
		{":2587", "*:2587", lineServer, "':2587'"},
		{":2587", "2587:2587", lineServer, "here it is ':2587'"},
		{":2587", ":993", lineServer, "mail is read"},
		{"tls starttls", "tls starttls /no/such/cert.pem /no/such/key.pem", lineTLS, "cannot start without its certificate"},
		{"tls starttls", "trust 0.0.0.0/0 {\n\t\t\t\taccount scanner@contoso.example\n\t\t\t}", lineTLS, "open relay"},
		{"tls starttls", "plaintext_auth 192.168.1.5/24", lineTLS, "the one address is '192.168.1.5'"},
		{"gateway.example.com", "*.example.com", lineHostname, "is a pattern"},
		{"gateway.example.com", "mail_gateway.example.com", lineHostname, "underscore"},
		{"upstream office\n", "upstream office\n\t\t\t\tmailbox scanner\n", lineUses + 1, "no domain"},
	} {
		advice, err := told(strings.Replace(good, tc.from, tc.to, 1))
		want := fmt.Sprintf("%s:%d: ", file, tc.line)
		if err != nil || len(advice) != 1 || !strings.HasPrefix(advice[0], want) || !strings.Contains(advice[0], tc.words) {
			t.Errorf("%s: %v, %q", tc.to, err, advice)
		}
	}
}

func TestFileOf(t *testing.T) {
	for line, want := range map[string]string{
		"mailgateway run":                                "Caddyfile",
		"mailgateway run --config x.caddyfile":           "x.caddyfile",
		"mailgateway run --config=/etc/m/Caddyfile":      "/etc/m/Caddyfile",
		"mailgateway validate -c Caddyfile.new":          "Caddyfile.new",
		"mailgateway reload -c x --adapter caddyfile":    "x",
		"mailgateway run --config x.json":                "",
		"mailgateway run --config Caddyfile.json":        "",
		"mailgateway run --resume":                       "",
		"mailgateway run --config - --adapter caddyfile": "-",
		"mailgateway smtp test a":                        "",
		"mailgateway fmt":                                "",
	} {
		if got := fileOf(strings.Fields(line)); got != want {
			t.Errorf("%s: %q", line, got)
		}
	}
	if err := Run(strings.Fields("mailgateway run --config /there/is/none/Caddyfile"), new(bytes.Buffer)); err != nil {
		t.Error(err)
	}
}
