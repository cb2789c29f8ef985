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
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddymail/mailgateway/caddymodule/wording"
	"github.com/caddymail/mailgateway/internal/form"
)

// malformed says which option is wrong, how, and what is right.
func malformed(d *caddyfile.Dispenser, what, name string, err error) error {
	return d.Errf("malformed %s option '%s': %v", what, name, wording.With(what, name, "", err))
}

// malformedOption is malformed for an option of a block.
func malformedOption(d *caddyfile.Dispenser, what, name string, o option, err error) error {
	return d.Errf("malformed %s option '%s': %v", what, name, wording.With(what, name, o.example, err))
}

// malformedAt is malformed for what is known when the block is left already.
func malformedAt(d *caddyfile.Dispenser, line int, what, name string, err error) error {
	return fmt.Errorf("malformed %s option '%s': %w, at %s:%d", what, name, wording.With(what, name, "", err), d.File(), line)
}

// explain is an error of an option's words with what only the option knows.
func (o option) explain(args []string, err error) error {
	var extra *wording.ExtraWordError
	if len(args) < 2 || !errors.As(err, &extra) {
		return err
	}
	quotes := `a value with blanks stands in quotes, as in "a b"`
	switch {
	case o.secret: // of which no word is to be repeated
		if hint := form.Mistyped(args[0]); hint != "" {
			quotes = hint
		}
		return errors.New("the value is more than one word: " + quotes)
	case extra.Hint != "":
	case o.blanks:
		extra.Hint = quotes
	default:
		extra.Hint = o.joined(args)
	}
	return extra
}

// joined says what words were meant to be that are one value.
func (o option) joined(args []string) string {
	for _, by := range o.joins {
		value := strings.Join(args, by)
		err := o.args([]string{value})
		if err != nil {
			_, meant, ok := strings.Cut(err.Error(), "did you mean '")
			if value, _, _ = strings.Cut(meant, "'"); !ok {
				continue
			}
		}
		if by == "" {
			return "a unit stands at its number; did you mean '" + value + "'?"
		}
		return "did you mean '" + value + "'?"
	}
	return ""
}

// unexpectedArg is the error for a word too many.
func unexpectedArg(arg string) error { return wording.Unexpected(arg) }
