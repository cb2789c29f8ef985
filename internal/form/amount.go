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
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"
)

// Duration is a positive period of time.
var Duration = Form{"90s", func(s string) error {
	if d, err := caddy.ParseDuration(s); err == nil && d > 0 {
		return nil
	}
	return fmt.Errorf("'%s' is not a positive duration, as in 90s or 10m%s", s, meantDuration(s))
}}

// clock is a duration as a clock shows it.
var clock = regexp.MustCompile(`^(\d{1,3}):(\d{2})(?::(\d{2}))?$`)

// units are what a unit of time is called elsewhere, by its beginning.
var units = []struct{ begins, unit string }{
	{"sek", "s"}, {"sec", "s"}, {"min", "m"}, {"hour", "h"}, {"hr", "h"}, {"std", "h"}, {"stunde", "h"}, {"day", "d"}, {"tag", "d"}, {"millis", "ms"},
}

// meantDuration is what was meant by a duration, as the end of an error.
func meantDuration(s string) string {
	var whole string // a duration as it was meant, if it becomes one
	switch m := clock.FindStringSubmatch(s); {
	case s == "off", s == "none", s == "never", s == "unlimited", strings.Trim(s, "0") == "":
		return "; without the line the default holds"
	case m != nil && m[3] != "":
		return fmt.Sprintf("; did you mean '%sh%sm%ss'?", m[1], m[2], m[3])
	case m != nil:
		return fmt.Sprintf("; did you mean '%sm%ss', or '%sh%sm'?", m[1], m[2], m[1], m[2])
	case strings.HasPrefix(s, "PT"):
		whole = strings.ToLower(s[2:])
	case strings.HasPrefix(s, "P") && len(s) > 1:
		whole = strings.ToLower(s[1:])
	default:
		whole = strings.ToLower(strings.ReplaceAll(s, ",", "."))
	}
	digits := strings.TrimRightFunc(whole, func(r rune) bool { return !unicode.IsDigit(r) })
	unit := strings.TrimSpace(whole[len(digits):])
	n, err := strconv.Atoi(digits)
	switch {
	case unit == "" && !strings.HasPrefix(s, "-") && err == nil:
		return fmt.Sprintf("; a unit is missing: '%ss' are seconds, '%sm' minutes", s, s)
	case err == nil && (unit == "w" || strings.HasPrefix(unit, "week") || strings.HasPrefix(unit, "woche")):
		return fmt.Sprintf("; did you mean '%dd'?", 7*n)
	}
	for _, u := range units {
		if digits != "" && strings.HasPrefix(unit, u.begins) {
			whole = digits + u.unit
			break
		}
	}
	if d, err := caddy.ParseDuration(strings.ReplaceAll(whole, " ", "")); err == nil && d > 0 {
		return "; did you mean '" + strings.ReplaceAll(whole, " ", "") + "'?"
	}
	return ""
}

// Size is a number of octets. What is right is told by whoever reads it.
func Size(s string) error {
	hint := ""
	switch {
	case s == "" || strings.Trim(s, "0") == "", s == "unlimited", s == "off":
		hint = "; without the line the default holds"
	case strings.Trim(s, "0123456789") == "":
		hint = "; did you mean '" + s + "MiB'?"
	case strings.Contains(s, ","):
		hint = ": a fraction has a point, as in 25.5MiB, and thousands nothing"
	}
	return fmt.Errorf("'%s' is not a size, as in 25MiB%s", s, hint)
}

// Number says what is wrong with a number of a kind.
func Number(s, kind string) error {
	switch {
	case strings.HasSuffix(s, "%"):
		return fmt.Errorf("'%s' is not a positive %s: shares are not understood, give the number itself, as in 100", s, kind)
	case strings.Trim(s, "0123456789.,'_") == "" && strings.ContainsAny(s, ".,'_") && strings.ContainsAny(s, "123456789"):
		digits := strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsDigit(r) })
		return fmt.Errorf("'%s' is not a positive %s; did you mean '%s'?", s, kind, strings.Join(digits, ""))
	}
	return fmt.Errorf("'%s' is not a positive %s, as in 100; without the line the default holds", s, kind)
}

// Rate says what is wrong with a rate, of whose reader err is.
func Rate(s string, err error) error {
	count, per, _ := strings.Cut(s, "/")
	n, e := strconv.Atoi(strings.TrimSpace(count))
	if e != nil || n <= 0 {
		return withExample(err, "30/1m")
	}
	per = strings.ToLower(strings.TrimSpace(per))
	unit := map[string]string{"": "1m", "s": "1s", "sec": "1s", "second": "1s", "min": "1m", "minute": "1m", "m": "1m", "h": "1h", "hour": "1h", "d": "1d", "day": "1d"}[per]
	if d, e := time.ParseDuration(per); unit == "" && e == nil && d > 0 {
		unit = per
	}
	if unit != "" {
		return fmt.Errorf("%w; did you mean '%d/%s'?", err, n, unit)
	}
	return withExample(err, "30/1m")
}

func withExample(err error, example string) error {
	if err == nil || strings.Contains(err.Error(), "as in ") {
		return err
	}
	return errors.New(err.Error() + ", as in " + example)
}
