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

package form

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"
)

// bracketed is what an IPv6 address that lacks its brackets was meant to be, or
// "". The group behind the last colon is a port where it can be one: an address
// without a port would have no use here.
func bracketed(s string) string {
	if strings.HasPrefix(s, "[") || strings.Count(s, ":") < 2 {
		return ""
	}
	i := strings.LastIndexByte(s, ':')
	if port, err := strconv.ParseUint(s[i+1:], 10, 16); err == nil && port > 9 {
		if a, err := netip.ParseAddr(s[:i]); err == nil && a.Is6() {
			return net.JoinHostPort(s[:i], s[i+1:])
		}
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Is6() {
		return net.JoinHostPort(s, "587")
	}
	return ""
}

// address refuses what no address with a port can be, whoever uses it.
func address(s string) error {
	if scheme, rest, ok := strings.Cut(s, "://"); ok && scheme != "" {
		if !strings.Contains(rest, ":") {
			rest = strings.TrimRight(rest, "/") + ":587"
		}
		return fmt.Errorf("'%s' is a URL, and the address alone is wanted; did you mean '%s'? (TLS is said by option tls)", s, strings.TrimRight(rest, "/"))
	}
	if meant := bracketed(s); meant != "" {
		return fmt.Errorf("'%s' is an IPv6 address without its brackets; did you mean '%s'?", s, meant)
	}
	return mistypedError(s)
}

// checkListen refuses what is no address to listen at.
func checkListen(s string) error { return listen(s, true) }

// ListenHost is an address to listen at whose port may be left out, as in JSON.
var ListenHost = Form{":587", func(s string) error {
	a, err := netip.ParseAddr(s)
	if i := strings.LastIndexByte(s, ':'); err == nil && s[:max(i, 0)] != "::1" && a.Is6() {
		return nil // without brackets, and without a port that it could be
	}
	return listen(s, false)
}}

func listen(s string, port bool) error {
	if n, err := strconv.ParseUint(s, 10, 32); err == nil && n <= 65535 {
		return fmt.Errorf("'%s' is a port without its colon; did you mean ':%s'?", s, s)
	}
	if err := address(s); err != nil {
		return err
	}
	parsed, err := caddy.ParseNetworkAddress(s)
	switch {
	case err == nil && (parsed.IsUnixNetwork() || parsed.IsFdNetwork()) || err != nil && strings.HasPrefix(s, "unix"):
		return nil
	case err == nil && port && !strings.Contains(parsed.Host, ":") && parsed.StartPort == 0 && !strings.HasSuffix(s, ":0"):
		return fmt.Errorf("'%s' lacks its port, as in '%s:587'", s, strings.TrimSuffix(s, ":"))
	case err != nil || strings.Contains(parsed.Host, ":") && !strings.HasPrefix(s[strings.Index(s, "/")+1:], "["):
		return fmt.Errorf("'%s' is not an address to listen at, as in :587, 192.0.2.1:587 or [2001:db8::1]:587; ports end at 65535", s)
	}
	return nil
}

// checkDial refuses what is no host with a port.
func checkDial(s string) error {
	if err := address(s); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(s)
	switch n, e := strconv.ParseUint(port, 10, 16); {
	case !strings.Contains(s, ":"):
		return fmt.Errorf("'%s' lacks its port, as in '%s:587'", s, s)
	case err != nil || host == "" || strings.ContainsAny(host, " /@"):
		return fmt.Errorf("malformed address '%s': want host:port, as in smtp.example.com:587 or [2001:db8::1]:587", s)
	case e != nil || n == 0:
		return fmt.Errorf("'%s' has a port that is no number from 1 to 65535, as in '%s'", s, net.JoinHostPort(host, "587"))
	}
	return nil
}

// checkIP refuses what is no IP address of this machine.
func checkIP(s string) error {
	a, err := netip.ParseAddr(s)
	if err == nil && a.Zone() == "" {
		return nil
	}
	plain, _, _ := strings.Cut(s, "/")
	if ap, err := netip.ParseAddrPort(s); err == nil {
		plain = ap.Addr().String()
	}
	if a, err := netip.ParseAddr(plain); err == nil && plain != s {
		return fmt.Errorf("'%s' is not an IP address alone: want it without port, prefix or zone; did you mean '%s'?", s, a.WithZone(""))
	}
	return fmt.Errorf("'%s' is not an IP address, as in 192.0.2.7: the machine's own addresses are wanted, without port or zone, not the name of an interface", s)
}

// checkHostname refuses what is no name of a host.
func checkHostname(s string) error {
	if strings.ContainsAny(s, ":/ @{}<>") || strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%s is not a host's name: a name alone is wanted, as in mail.example.com, without scheme and port", quote(s))
	}
	return mistypedError(s)
}

// quote puts a value into a message, which it cannot break into lines.
func quote(s string) string {
	return "'" + strings.Trim(strconv.Quote(s), `"`) + "'"
}

// leadingZeros are those of a number, which octal once was.
var leadingZeros = regexp.MustCompile(`\b0+(\d)`)

// checkNetwork refuses what is neither an IP address nor a prefix.
func checkNetwork(s string) error {
	if _, err := netip.ParsePrefix(s); err == nil {
		return nil
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return nil
	}
	hint := ", as in 192.0.2.7 or 192.0.2.0/24"
	first, mask, slash := strings.Cut(s, "/")
	plain := leadingZeros.ReplaceAllString(s, "$1")
	_, asPort := netip.ParseAddrPort(s)
	switch {
	case slash && strings.Count(mask, ".") == 3:
		hint = "; a mask is a number of bits, as in " + first + "/" + bits(mask)
	case strings.Contains(s, "*"):
		hint = "; did you mean '" + strings.ReplaceAll(s, "*", "0") + "/24'?"
	case strings.HasSuffix(s, ","), strings.HasSuffix(s, ";"):
		hint = "; between addresses stands a blank, and nothing else"
	case plain != s && !strings.Contains(s, ":"):
		hint = "; did you mean '" + plain + "'?"
	case strings.Contains(s, "-") && !strings.ContainsFunc(s, unicode.IsLetter):
		hint = "; a range is a prefix, as in 192.0.2.0/24, or address after address"
	case asPort == nil:
		hint = "; it has no port, as in 192.0.2.7 or 192.0.2.0/24"
	case strings.Contains(s, ".") && !strings.Contains(s, "@"):
		hint += "; names of hosts are not looked up"
	}
	return fmt.Errorf("'%s' is not an IP address or prefix%s", s, hint)
}

// bits is the number of bits of a mask such as 255.255.255.0, 24 if it is none.
func bits(mask string) string {
	if a, err := netip.ParseAddr(mask); err == nil && a.Is4() {
		b := a.As4()
		if ones, size := net.IPv4Mask(b[0], b[1], b[2], b[3]).Size(); size == 32 {
			return strconv.Itoa(ones)
		}
	}
	return "24"
}

// checkMailbox refuses what is no address of mail.
func checkMailbox(s string) error {
	at := strings.LastIndexByte(s, '@')
	switch plain := strings.Trim(strings.TrimPrefix(s, "mailto:"), "<>,; "); {
	case plain != s && strings.Contains(plain, "@"):
		if i := strings.LastIndexByte(plain, '<'); i >= 0 {
			plain = plain[i+1:]
		}
		return fmt.Errorf("'%s' is not a mail address alone; did you mean '%s'?", s, plain)
	case at <= 0 || at == len(s)-1 || strings.ContainsAny(s, " <>") || strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("%s is not a mail address, as in scanner@example.com", quote(s))
	}
	return mistypedError(s)
}

// checkURL refuses what is no web address. It does not quote it: some hold
// secrets.
func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err == nil && u.Scheme == "" && u.Host == "", err == nil && u.Scheme != "http" && u.Scheme != "https" && u.Host == "":
		return errors.New("malformed URL: it begins with https://, as in https://login.example.com/path")
	case err != nil, u.Host == "", u.Scheme != "http" && u.Scheme != "https":
		return errors.New("malformed URL: want an http or https address, as in https://login.example.com/path")
	}
	return nil
}

// checkDate refuses what is no date.
func checkDate(s string) error {
	if _, err := time.Parse(time.RFC3339, s); err == nil {
		return nil
	}
	if _, err := time.Parse(time.DateOnly, s); err == nil {
		return nil
	}
	for _, layout := range []string{"2.1.2006", "2006/1/2", "2006-1-2", "2006.1.2", "Jan 2, 2006", "2 Jan 2006", "January 2, 2006", "2 January 2006", "20060102"} {
		if t, err := time.Parse(layout, s); err == nil {
			return fmt.Errorf("'%s' is not a date, as in 2027-12-31; did you mean '%s'?", s, t.Format(time.DateOnly))
		}
	}
	return fmt.Errorf("'%s' is not a date, as in 2027-12-31", s)
}

// IsGUID reports whether s is an ID as Entra shows it.
func IsGUID(s string) bool { return guid.MatchString(s) }

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// checkTenant refuses a URL for a tenant.
func checkTenant(s string) error {
	if strings.ContainsAny(s, "/?#{} ") {
		return fmt.Errorf("malformed tenant '%s': the domain or the directory's ID alone is wanted, as in contoso.onmicrosoft.com or 11111111-2222-3333-4444-555555555555", s)
	}
	return mistypedError(s)
}
