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
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// options are the options of one block by name.
type options map[string]option

// option reads one line of a block. Exactly one of args and nested is set.
type option struct {
	// args gets the words after the name. Its error is put into words by
	// parseBlock.
	args func(args []string) error
	// nested gets the dispenser at the name and reads the words and the
	// block after it. Its error is complete.
	nested func(d *caddyfile.Dispenser) error
	// isSet reports whether an earlier block has set the option. Nil: no.
	isSet func() bool
	// many allows the option to be repeated.
	many bool

	// example is a value that is right, none that of a switch; joins is what
	// stands between words that were meant to be one. For errors alone, as that
	// the value may hold blanks, and that it is not to be repeated.
	example        string
	joins          []string
	blanks, secret bool
}

// noticed returns the option with a call of f in front.
func (o option) noticed(f func()) option {
	if args := o.args; args != nil {
		o.args = func(words []string) error { f(); return args(words) }
	}
	if nested := o.nested; nested != nil {
		o.nested = func(d *caddyfile.Dispenser) error { f(); return nested(d) }
	}
	return o
}

// parseBlock reads a block's options. what names the block in errors.
func parseBlock(d *caddyfile.Dispenser, what string, opts options) error {
	seen := make(map[string]bool)
	for name, opt := range opts {
		if opt.isSet != nil && opt.isSet() {
			seen[name] = true
		}
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		opt, ok := opts[name]
		if !ok {
			return unrecognized(d, what, name, opts.names())
		}
		if seen[name] && !opt.many {
			return d.Errf("duplicate %s option '%s': it has one value; delete one of the lines", what, name)
		}
		seen[name] = true

		if opt.nested != nil {
			if err := opt.nested(d); err != nil {
				return err
			}
			continue
		}
		args := d.RemainingArgs()
		if err := opt.args(args); err != nil {
			return malformedOption(d, what, name, opt, opt.explain(args, err))
		}
		if d.NextBlock(nesting + 1) {
			return malformed(d, what, name, errors.New("blocks are not supported: what stands in one belongs behind the option, on its line"))
		}
	}
	return nil
}

// parseApp reads a global option that is one app. Several blocks of the same
// name are one.
func parseApp[T any](name string, opts func(app *T) options) func(d *caddyfile.Dispenser, existing any) (any, error) {
	return func(d *caddyfile.Dispenser, existing any) (any, error) {
		app := new(T)
		if existing != nil {
			earlier, ok := existing.(httpcaddyfile.App)
			if !ok {
				return nil, d.Errf("existing %s config of unexpected type: %T", name, existing)
			}
			if err := json.Unmarshal(earlier.Value, app); err != nil {
				return nil, d.Errf("parsing existing %s config: %v", name, err)
			}
		}

		d.Next() // consume the option's name
		if args := d.RemainingArgs(); len(args) > 0 {
			return nil, d.Errf("malformed global option '%s': %v; the form is '%s {'", name, unexpectedArg(args[0]), name)
		}
		if err := parseBlock(d, name, opts(app)); err != nil {
			return nil, err
		}
		return httpcaddyfile.App{Name: name, Value: caddyconfig.JSON(app, nil)}, nil
	}
}

// parseNamed reads the words after an entry's option, NAME and up to max more,
// and refuses a name that is taken.
func parseNamed(d *caddyfile.Dispenser, what, kind string, max int, taken func(name string) bool) ([]string, error) {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return nil, malformed(d, what, kind, fmt.Errorf("a name is missing, as in '%s NAME'", kind))
	}
	if last := args[len(args)-1]; strings.HasSuffix(last, "{") && !strings.Contains(last, "{"+"$") {
		return nil, malformed(d, what, kind, fmt.Errorf("a blank is missing before the { of '%s'", last))
	}
	if max >= 0 && len(args) > 1+max {
		return nil, malformed(d, what, kind, unexpectedArg(args[1+max]))
	}
	if taken(args[0]) {
		return nil, d.Errf("duplicate %s %s '%s': give one of the two another name, or delete it", what, kind, args[0])
	}
	return args, nil
}
