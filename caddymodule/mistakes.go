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

package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/internal/nearest"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/upstreamapp"
	"github.com/caddymail/mailgateway/upstreampool"
)

// unrecognized is the error for a word that is no option of a block: with what
// it was meant to be, where that can be told, and else with what there is.
func unrecognized(d *caddyfile.Dispenser, what, name string, names []string) error {
	return d.Errf("unrecognized %s option '%s'%s", what, name, meantOption(what, name, names))
}

func meantOption(what, name string, names []string) string {
	if hint := mistyped(name); hint != "" {
		return "; " + hint
	}
	if word := strings.TrimSuffix(name, "{"); word != name && slices.Contains(names, word) {
		return fmt.Sprintf("; a blank is missing before the {: '%s {'", word)
	}
	if word, value, ok := cutAny(name, "=:"); ok && slices.Contains(names, word) {
		if value == "" {
			value = "VALUE"
		}
		return fmt.Sprintf("; between an option and its value stands a blank: '%s %s'", word, value)
	}
	if word := otherWords[what][strings.ToLower(name)]; word != "" {
		return "; did you mean " + word + "?"
	}
	if homes := homesOf(name); len(homes) > 0 && !slices.Contains(homes, what) {
		return "; it belongs into the block " + strings.Join(homes, " or ")
	}
	if hint := nearest.Hint(name, names); hint != "" {
		return hint
	}
	return "; the options here are " + strings.Join(names, ", ")
}

func cutAny(s, chars string) (before, after string, found bool) {
	i := strings.IndexAny(s, chars)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// mistyped says what the form of a word tells, whatever it stands for; "" for
// nothing.
func mistyped(word string) string {
	switch {
	case strings.HasPrefix(word, "//"), strings.HasPrefix(word, "/*"), strings.HasPrefix(word, "--"), strings.HasPrefix(word, ";"):
		return "a comment begins with #"
	case strings.ContainsAny(word, "“”„‟«»‘’‚"):
		return "quotes are the straight ones here, as in \"a b\": an office program has put others in their place"
	}
	for _, r := range word {
		if r == '\ufeff' || unicode.Is(unicode.Cf, r) || unicode.IsSpace(r) && r > unicode.MaxLatin1 {
			return fmt.Sprintf("it holds the invisible character %U: type the word anew", r)
		}
	}
	return ""
}

// otherWords are what options are called elsewhere, by block, with what stands
// in their place here.
var otherWords = map[string]map[string]string{
	"account": {
		"password": "'password_hash', with what `caddy hash-password` prints", "user": "'mailbox'", "username": "'mailbox'", "login": "'mailbox'",
		"email": "'mailbox'", "from": "'senders'", "sender": "'senders'", "token": "'refresh_token'",
		"rate": "'rate' in the block limits, as in 'limits { ... }'", "messages": "'messages' in the block limits", "recipients": "'recipients' in the block limits",
	},
	"server": {
		"listen": "an address behind the server's name, as in 'server submission :587'", "port": "an address behind the server's name, as in 'server submission :587'",
		"bind": "an address behind the server's name, as in 'server submission :587'", "ssl": "'tls implicit'", "starttls": "'tls starttls'",
		"cert": "'tls CERTIFICATE KEY'", "certificate": "'tls CERTIFICATE KEY'", "mynetworks": "'trust'", "allow": "'trust'", "timeout": "'command_timeout'",
		"max_size": "'max_message_size'", "size": "'max_message_size'",
	},
	"upstream": {
		"host": "'dial', as in 'dial smtp.example.com:587'", "server": "'dial', as in 'dial smtp.example.com:587'", "address": "'dial', as in 'dial smtp.example.com:587'",
		"smarthost": "'dial', as in 'dial smtp.example.com:587'", "port": "'dial', as in 'dial smtp.example.com:587'", "ssl": "'tls implicit'", "starttls": "'tls starttls'",
		"provider": "'auth xoauth2 PROVIDER'", "rate": "'rate_per_account'", "proxy": "'network_proxy'",
	},
	"provider": {
		"secret": "'client_secret'", "id": "'client_id'", "app_id": "'client_id'", "application_id": "'client_id'", "tenant_id": "'tenant'",
		"directory_id": "'tenant'", "scope": "'scopes'", "certificate": "'client_certificate'",
	},
	"smtp": {
		"listen": "'server NAME :587'", "account": "'accounts { account NAME { ... } }'", "name": "'hostname'",
	},
	"smtp_upstreams": {"provider": "'provider' in the block oauth_tokens", "relay": "'upstream'", "smarthost": "'upstream'"},
}

// blocksOfOptions are the options by the block that holds them, for a word
// that stands in another. Made at init, since blocks hold blocks.
var blocksOfOptions map[string]options

func init() {
	blocksOfOptions = map[string]options{
		"oauth_tokens": oauthTokensOptions(new(oauthtoken.App)), "provider": providerOptions(new(authserver.Provider)),
		"smtp_upstreams": smtpUpstreamsOptions(new(upstreamapp.App)), "upstream": upstreamOptions(new(upstreampool.SMTPTransport)),
		"smtp": smtpOptions(new(smtpapp.App)), "server": serverOptions(new(smtpapp.Server), new(bool)),
		"account":  accountOptions(new(accounts.Record)),
		"accounts": {"account": {}, "dynamic": {}, "file": {}},
	}
}

func homesOf(name string) []string {
	var homes []string
	for what, opts := range blocksOfOptions {
		if _, ok := opts[name]; ok {
			homes = append(homes, what)
		}
	}
	slices.Sort(homes)
	return homes
}

// unexpectedArg is the error for a word too many.
func unexpectedArg(arg string) error {
	return fmt.Errorf("unexpected argument '%s'%s", arg, meantArg(arg))
}

func meantArg(arg string) string {
	if hint := mistyped(arg); hint != "" {
		return "; " + hint
	}
	switch strings.ToLower(strings.TrimRight(arg, ";,")) {
	case "=", ":":
		return "; between an option and its value stands a blank, and nothing else"
	case "on", "yes", "true", "enable", "enabled", "1":
		return "; the option's name alone turns it on"
	case "off", "no", "false", "disable", "disabled", "0", "none":
		return "; without this line it is off"
	case "b", "kb", "mb", "gb", "kib", "mib", "gib":
		return "; a unit stands at its number, as in 25MiB"
	case "s", "sec", "second", "seconds", "m", "min", "minute", "minutes", "h", "hour", "hours", "d", "day", "days":
		return "; a unit stands at its number, as in 90s, 10m or 24h"
	case "credentials":
		return "; did you mean 'client_credentials'?"
	case "per", "/":
		return "; a rate is COUNT/PERIOD, as in 30/1m"
	}
	if strings.HasSuffix(arg, "{") {
		return "; a blank is missing before the {"
	}
	if _, err := accounts.ParseRate(arg); err == nil {
		return "; a rate stands on a line of its own in the block, as in 'rate " + arg + "'"
	}
	return "; a value with blanks stands in quotes, as in \"a b\""
}

// oneOf is one of a few words. Placeholders are let through: what they hold
// is not known yet.
func oneOf(p *string, values ...string) option {
	return checked(text(p), func(arg string) error {
		if slices.Contains(values, strings.ToLower(arg)) {
			return nil
		}
		return fmt.Errorf("unrecognized value '%s', want %s%s", arg, orList(values), nearest.Hint(arg, values))
	})
}

// checked is an option of one word that is looked at where it stands, so that
// the message has its line. What a placeholder gives is looked at later.
func checked(o option, check func(arg string) error) option {
	set := o.args
	o.args = func(args []string) error {
		if err := set(args); err != nil {
			return err
		}
		for _, arg := range args {
			if arg == "" || strings.Contains(arg, "{") {
				continue
			}
			if err := check(arg); err != nil {
				return err
			}
		}
		return nil
	}
	return o
}

func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// checkDial refuses what is no host with a port.
func checkDial(arg string) error {
	if scheme, rest, ok := strings.Cut(arg, "://"); ok && scheme != "" {
		return fmt.Errorf("'%s' is a URL; the address alone is wanted, as in '%s:587'", arg, rest)
	}
	if !strings.Contains(arg, ":") {
		return fmt.Errorf("'%s' lacks its port, as in '%s:587'", arg, arg)
	}
	return nil
}

// checkIP refuses what is no IP address.
func checkIP(arg string) error {
	if _, err := netip.ParseAddr(arg); err != nil {
		return fmt.Errorf("'%s' is not an IP address: the machine's own addresses are wanted, not the name of an interface", arg)
	}
	return nil
}

// checkHostname refuses what is no name of a host.
func checkHostname(arg string) error {
	if strings.ContainsAny(arg, ":/ ") {
		return fmt.Errorf("'%s' is not a host's name: a name alone is wanted, as in mail.example.com, without scheme and port", arg)
	}
	return mistypedError(arg)
}

func mistypedError(arg string) error {
	if hint := mistyped(arg); hint != "" {
		return fmt.Errorf("'%s': %s", arg, hint)
	}
	return nil
}

// checkListen refuses what is no address to listen at.
func checkListen(address string) error {
	if strings.Contains(address, "{") {
		return nil
	}
	if n, err := strconv.ParseUint(address, 10, 32); err == nil && n <= 65535 {
		return fmt.Errorf("'%s' is a port without its colon; did you mean ':%s'?", address, address)
	}
	if scheme, rest, ok := strings.Cut(address, "://"); ok {
		return fmt.Errorf("'%s' is a URL; did you mean '%s'? (%s is said by option tls)", address, rest, scheme)
	}
	parsed, err := caddy.ParseNetworkAddress(address)
	switch {
	case err != nil && !strings.HasPrefix(address, "unix"):
		return fmt.Errorf("'%s' is not an address to listen at, as in :587 or 192.0.2.1:587; ports end at 65535", address)
	case err == nil && !parsed.IsUnixNetwork() && !parsed.IsFdNetwork() && parsed.StartPort == 0 && !strings.HasSuffix(address, ":0"):
		return fmt.Errorf("'%s' lacks its port, as in '%s:587'", address, strings.TrimSuffix(address, ":"))
	}
	return nil
}

// checkServerName refuses an address where the name of a server stands.
func checkServerName(name string) error {
	_, err := strconv.ParseUint(name, 10, 32)
	if err == nil || strings.Contains(name, ":") {
		return fmt.Errorf("a name is missing before the address '%s', as in 'server submission %s'", name, name)
	}
	return nil
}

// leadingZeros are those of a number, which octal once was.
var leadingZeros = regexp.MustCompile(`\b0+(\d)`)

// notNetwork says what was meant by a word that is no network.
func notNetwork(arg string) error {
	hint := ", as in 192.0.2.7 or 192.0.2.0/24"
	if first, mask, ok := strings.Cut(arg, "/"); ok && strings.Count(mask, ".") == 3 {
		hint = "; a mask is a number of bits, as in " + first + "/24"
	} else if strings.Contains(arg, "*") {
		hint = "; did you mean '" + strings.ReplaceAll(arg, "*", "0") + "/24'?"
	} else if strings.HasSuffix(arg, ",") || strings.HasSuffix(arg, ";") {
		hint = "; between addresses stands a blank, and nothing else"
	} else if plain := leadingZeros.ReplaceAllString(arg, "$1"); plain != arg {
		hint = "; did you mean '" + plain + "'?"
	} else if strings.Contains(arg, "-") && !strings.ContainsFunc(arg, unicode.IsLetter) {
		hint = "; a range is a prefix, as in 192.0.2.0/24, or address after address"
	}
	return fmt.Errorf("'%s' is not an IP address or prefix%s", arg, hint)
}

// notNumber, notDuration and notSize say what is wrong with a value.
func notNumber(arg, kind string) error {
	switch {
	case strings.HasSuffix(arg, "%"):
		return fmt.Errorf("'%s' is not a positive %s: shares are not understood, give the number itself", arg, kind)
	case strings.Trim(arg, "0123456789.,'_") == "" && strings.ContainsAny(arg, ".,'_"):
		return fmt.Errorf("'%s' is not a positive %s; did you mean '%s'?", arg, kind, strings.Join(strings.FieldsFunc(arg, func(r rune) bool { return !unicode.IsDigit(r) }), ""))
	}
	return fmt.Errorf("'%s' is not a positive %s; without the line the default holds", arg, kind)
}

func notDuration(arg string) error {
	hint := ""
	digits := strings.TrimRightFunc(arg, func(r rune) bool { return !unicode.IsDigit(r) })
	switch unit := strings.ToLower(strings.TrimSpace(strings.TrimPrefix(arg, digits))); {
	case unit == "" && strings.Trim(arg, "0") != "" && !strings.HasPrefix(arg, "-"):
		hint = fmt.Sprintf("; a unit is missing: '%ss' are seconds, '%sm' minutes", arg, arg)
	case digits != "" && strings.HasPrefix(unit, "sec"):
		hint = "; did you mean '" + digits + "s'?"
	case digits != "" && strings.HasPrefix(unit, "min"):
		hint = "; did you mean '" + digits + "m'?"
	case digits != "" && (strings.HasPrefix(unit, "hour") || strings.HasPrefix(unit, "hr") || strings.HasPrefix(unit, "std")):
		hint = "; did you mean '" + digits + "h'?"
	case digits != "" && (strings.HasPrefix(unit, "day") || strings.HasPrefix(unit, "tag")):
		hint = "; did you mean '" + digits + "d'?"
	}
	return fmt.Errorf("'%s' is not a positive duration, as in 90s or 10m%s", arg, hint)
}

func notSize(arg string) error {
	if strings.Trim(arg, "0123456789") == "" && strings.Trim(arg, "0") != "" {
		return fmt.Errorf("'%s' is not a size, as in 25MiB; did you mean '%sMiB'?", arg, arg)
	}
	if strings.Contains(arg, ",") {
		return fmt.Errorf("'%s' is not a size, as in 25MiB: a fraction has a point, as in 25.5MiB, and thousands nothing", arg)
	}
	return fmt.Errorf("'%s' is not a size, as in 25MiB", arg)
}

// notRate says how a rate is written.
func notRate(arg string, err error) error {
	count, per, _ := strings.Cut(arg, "/")
	if n, e := strconv.Atoi(count); e == nil && n > 0 {
		unit := map[string]string{"": "1m", "s": "1s", "sec": "1s", "second": "1s", "min": "1m", "minute": "1m", "m": "1m", "h": "1h", "hour": "1h", "d": "1d", "day": "1d"}
		if u := unit[strings.ToLower(per)]; u != "" {
			return fmt.Errorf("%w; did you mean '%d/%s'?", err, n, u)
		}
	}
	return err
}

// notTLSMode says which mode a word stands for.
func notTLSMode(mode string) error {
	hint := ""
	switch strings.ToLower(strings.TrimRight(mode, ";,")) {
	case "ssl", "smtps", "465":
		hint = "; did you mean 'implicit' (TLS from the first octet, port 465)?"
	case "on", "yes", "true", "tls", "starttls", "587":
		hint = "; did you mean 'starttls'?"
	case "no", "none", "false", "plain":
		hint = "; did you mean 'off'?"
	default:
		if strings.ContainsAny(mode, "/\\.") {
			hint = "; the files of a certificate and its key stand behind the mode, or alone"
		}
	}
	return fmt.Errorf("'%s' is not starttls, implicit or off%s", mode, hint)
}

// otherPresets are names that providers go by.
var otherPresets = map[string]string{
	"office365": "microsoft365", "o365": "microsoft365", "m365": "microsoft365", "exchange": "microsoft365", "exchange_online": "microsoft365", "microsoft": "microsoft365",
	"google": "gmail", "googlemail": "gmail", "gsuite": "gmail", "workspace": "gmail", "hotmail": "outlook", "live": "outlook", "msn": "outlook", "amazon": "ses", "aws": "ses",
}

// meantPreset is the hint for the name of a preset that is none.
func meantPreset(name string, presets []string) string {
	if p := otherPresets[strings.ToLower(name)]; slices.Contains(presets, p) {
		return "; did you mean '" + p + "'?"
	}
	return nearest.Hint(name, presets)
}

// checkKind refuses the kind of a provider that is none.
func checkKind(kind string) error {
	kinds := authserver.Kinds()
	if slices.Contains(kinds, kind) || strings.Contains(kind, "{") {
		return nil
	}
	other := map[string]string{"azure": "microsoft", "entra": "microsoft", "office365": "microsoft", "microsoft365": "microsoft", "gmail": "google", "gsuite": "google"}
	if k := other[strings.ToLower(kind)]; k != "" {
		return fmt.Errorf("unrecognized kind '%s'; did you mean '%s'? The kind stands behind the name", kind, k)
	}
	hint := nearest.Hint(kind, kinds)
	if hint == "" {
		hint = ", want " + orList(kinds) + ", behind the provider's name"
	}
	return fmt.Errorf("unrecognized kind '%s'%s", kind, hint)
}

// checkTenant refuses a URL for a tenant.
func checkTenant(tenant string) error {
	if strings.ContainsAny(tenant, "/?#") {
		return fmt.Errorf("malformed tenant '%s': the domain or the directory's ID alone is wanted, as in contoso.onmicrosoft.com", tenant)
	}
	return nil
}

// checkMechanism refuses a login that upstreams do not know.
func checkMechanism(mechanism string) error {
	want := []string{"xoauth2", "oauthbearer", "plain", "login", "none"}
	if slices.Contains(want, strings.ToLower(mechanism)) || strings.Contains(mechanism, "{") {
		return nil
	}
	hint := nearest.Hint(mechanism, want)
	if hint == "" {
		hint = "; the mechanism stands before the provider, as in 'auth xoauth2 PROVIDER'"
	}
	return fmt.Errorf("unrecognized value '%s', want %s%s", mechanism, orList(want), hint)
}

// checkAccount refuses what cannot be an account before its block is left.
func checkAccount(r *accounts.Record) error {
	if r.Upstream == "" {
		return errors.New("option 'upstream' is missing: the account's mail leaves by it, as in 'upstream NAME'")
	}
	return nil
}

// checkAccountName refuses the name of an account that no device could type.
func checkAccountName(name string) error {
	if strings.Contains(name, "{") {
		return nil
	}
	if err := accounts.CheckNewName(name); err != nil {
		return fmt.Errorf("'%s': %w", name, err)
	}
	return nil
}

// checkHash refuses a password in the place of its hash. It does not quote it.
func checkHash(hash string) error {
	if _, err := password.Parse(hash); err != nil && hash[0] != '$' && !strings.HasPrefix(hash, "sha256:") {
		return fmt.Errorf("%w; a password itself does not stand here", err)
	}
	return nil
}

// checkDate refuses what is no date.
func checkDate(date string) error {
	if _, err := time.Parse(time.RFC3339, date); err == nil {
		return nil
	}
	if _, err := time.Parse(time.DateOnly, date); err != nil {
		return fmt.Errorf("'%s' is not a date, as in 2027-12-31", date)
	}
	return nil
}

// accountSources are the words that begin a source of accounts.
func accountSources() []string {
	names := []string{"account"}
	for _, m := range caddy.GetModules("smtp.accounts") {
		if name := m.ID.Name(); name != "inline" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// unknownModule says which names there are in a namespace, in place of Caddy's
// words for the missing one.
func unknownModule(namespace, name string) error {
	if _, err := caddy.GetModule(namespace + "." + name); err == nil {
		return nil
	}
	var names []string
	for _, m := range caddy.GetModules(namespace) {
		names = append(names, m.ID.Name())
	}
	slices.Sort(names)
	hint := nearest.Hint(name, names)
	if hint == "" && len(names) > 0 {
		hint = "; there are " + strings.Join(names, ", ")
	}
	return fmt.Errorf("there is no '%s'%s", name, hint)
}

// names returns the options' names in order.
func (o options) names() []string { return slices.Sorted(maps.Keys(o)) }
