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
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/caddymodule/wording"
	"github.com/caddymail/mailgateway/internal/form"
)

// one returns an option that takes exactly one word.
func one(isSet func() bool, set func(arg string) error) option {
	return option{
		isSet: isSet,
		args: func(args []string) error {
			if len(args) == 0 {
				return errors.New("a value is missing; if it comes from an environment variable, that is empty")
			}
			if len(args) > 1 {
				if args[0] == "=" || args[0] == ":" {
					return unexpectedArg(args[0])
				}
				return unexpectedArg(args[1])
			}
			return set(args[0])
		},
	}
}

// like gives an option a value that is right, for its errors; words that come to
// a right value when they are joined by one of joins were meant to be it.
func (o option) like(example string, joins ...string) option {
	o.example, o.joins = example, joins
	return o
}

func nonZero[T comparable](p *T) func() bool {
	return func() bool {
		var zero T
		return *p != zero
	}
}

// text is a word.
func text(p *string) option {
	o := one(nonZero(p), func(arg string) error {
		if arg == "" {
			return errors.New("the value is empty")
		}
		*p = arg
		return nil
	}).like("VALUE")
	o.blanks = true
	return o
}

// word is a value of a form. What a placeholder gives is looked at later.
func word(p *string, f form.Form, joins ...string) option {
	o := checked(text(p), f.Check).like(f.Example, joins...)
	o.blanks = false
	return o
}

// secret is a value that no error repeats.
func secret(p *string) option {
	o := word(p, form.Secret)
	o.secret = true
	return o
}

// checked is an option whose words are looked at where they stand, so that the
// message has its line. What a placeholder gives is looked at later.
func checked(o option, check func(arg string) error) option {
	set := o.args
	o.args = func(args []string) error {
		if err := set(args); err != nil {
			return err
		}
		for _, arg := range args {
			if err := form.Placeholder(arg); err != nil {
				return err
			}
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

// integer is a positive whole number.
func integer(p *int) option {
	return one(nonZero(p), func(arg string) error {
		n, err := strconv.Atoi(arg)
		if err != nil || n <= 0 {
			return form.Number(arg, "whole number")
		}
		*p = n
		return nil
	}).like("100")
}

// number is a positive number.
func number(p *float64) option {
	return one(nonZero(p), func(arg string) error {
		n, err := strconv.ParseFloat(arg, 64)
		if err != nil || !(n > 0) || math.IsInf(n, 0) {
			return form.Number(arg, "number")
		}
		*p = n
		return nil
	}).like("2.5")
}

// size is a number of bytes, as in `25MiB`.
func size(p *int64) option {
	return one(nonZero(p), func(arg string) error {
		n, err := humanize.ParseBytes(arg)
		// The library drops commas: 25,5MB would be ten times as much.
		if err != nil || strings.Contains(arg, ",") || n == 0 || n > math.MaxInt64 || n < 1024 && strings.Trim(arg, "0123456789") == "" {
			return form.Size(arg)
		}
		*p = int64(n)
		return nil
	}).like("25MiB", "")
}

// duration is a length of time, as in `90s`.
func duration(p *caddy.Duration) option {
	return one(nonZero(p), func(arg string) error { return setDuration(p, arg) }).like(form.Duration.Example, "")
}

// durationOrOff is a length of time, or `off`.
func durationOrOff(p *caddy.Duration) option {
	return one(nonZero(p), func(arg string) error {
		if arg == "off" {
			*p = -1
			return nil
		}
		return setDuration(p, arg)
	}).like("24h", "")
}

func setDuration(p *caddy.Duration, arg string) error {
	if err := form.Duration.Check(arg); err != nil {
		return err
	}
	d, err := caddy.ParseDuration(arg)
	*p = caddy.Duration(d)
	return err
}

// rate is a number in a period, as in `30/1m`.
func rate(p *accounts.Rate) option {
	return one(nonZero(p), func(arg string) error {
		r, err := accounts.ParseRate(arg)
		if err != nil {
			return form.Rate(arg, err)
		}
		*p = r
		return nil
	}).like("30/1m", "/", "")
}

// boolean is an option without words.
func boolean(p *bool) option {
	return option{
		isSet: nonZero(p),
		args: func(args []string) error {
			if len(args) > 0 {
				return &wording.ExtraWordError{Word: args[0], Hint: cmp.Or(form.Mistyped(args[0]), form.Switch(args[0]))}
			}
			*p = true
			return nil
		},
	}
}

// list is one word or more; further lines add to it.
func list(p *[]string) option {
	return option{
		many: true,
		args: func(args []string) error {
			if len(args) == 0 {
				return errors.New("a value is missing")
			}
			*p = append(*p, args...)
			return nil
		},
	}
}

// pair is a key and a value; further lines add to the map.
func pair(p *map[string]string) option {
	return option{
		many: true,
		args: func(args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("want a key and a value, got %d words", len(args))
			}
			if _, ok := (*p)[args[0]]; ok {
				return fmt.Errorf("duplicate key '%s'", args[0])
			}
			if *p == nil {
				*p = make(map[string]string)
			}
			(*p)[args[0]] = args[1]
			return nil
		},
	}
}

// module is a guest module's name followed by its own words and block.
func module(what, name string, p *json.RawMessage, namespace, inlineKey string) option {
	return option{
		isSet: func() bool { return len(*p) > 0 },
		nested: func(d *caddyfile.Dispenser) error {
			if !d.NextArg() {
				return malformed(d, what, name, errors.New("a module's name is missing"))
			}
			raw, err := parseModule(d, what, name, namespace, inlineKey)
			if err != nil {
				return err
			}
			*p = raw
			return nil
		},
	}
}

// parseModule reads the guest module whose name the dispenser stands at.
func parseModule(d *caddyfile.Dispenser, what, name, namespace, inlineKey string) (json.RawMessage, error) {
	modName := d.Val()
	// Some modules read on without asking whether there is a word.
	id := namespace + "." + modName
	if err := unknownModule(namespace, modName); err != nil {
		return nil, malformed(d, what, name, err)
	}
	unm, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return nil, malformed(d, what, name, err)
	}
	return caddyconfig.JSONModuleObject(unm, inlineKey, modName, nil), nil
}
