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

// Package mapped makes records of accounts out of what a table or a directory of
// an operator's own has in its columns or attributes.
package mapped

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddymail/mailgateway/accounts"
)

// Fields are what a column or an attribute may hold, and how its value, as JSON
// has it, becomes part of a record. Errors name no value: it may be a secret.
var Fields = map[string]func(r *accounts.Record, v any) error{
	"name":          func(r *accounts.Record, v any) error { return setText(&r.Name, v) },
	"upstream":      func(r *accounts.Record, v any) error { return setText(&r.Upstream, v) },
	"mailbox":       func(r *accounts.Record, v any) error { return setText(&r.Mailbox, v) },
	"refresh_token": func(r *accounts.Record, v any) error { return setText(&r.RefreshToken, v) },
	"secret":        func(r *accounts.Record, v any) error { return setText(&r.Secret, v) },
	"source_ip":     func(r *accounts.Record, v any) error { return setText(&r.SourceIP, v) },
	"spool":         func(r *accounts.Record, v any) error { return setText(&r.Spool, v) },
	"reports":       func(r *accounts.Record, v any) error { return setText(&r.Reports, v) },
	"password_hashes": func(r *accounts.Record, v any) (err error) {
		if r.PasswordHashes, err = list(v, strings.Fields); err != nil {
			return err
		}
		r.PasswordHashes = usable(r.PasswordHashes)
		return nil
	},
	"senders": func(r *accounts.Record, v any) (err error) {
		r.Senders, err = list(v, func(s string) []string { return strings.Fields(strings.ReplaceAll(s, ",", " ")) })
		return err
	},
	"paused": func(r *accounts.Record, v any) (err error) {
		r.Paused, err = truth(v)
		return err
	},
	"active": func(r *accounts.Record, v any) error {
		// NULL is not active: an account is let in only by what says so.
		active, err := truth(v)
		r.Paused = !active
		return err
	},
	"max_conns": func(r *accounts.Record, v any) error {
		text, err := text(v)
		if err != nil || text == "" {
			return err
		}
		whole, fraction, _ := strings.Cut(text, ".") // a numeric column's
		if limits(r).MaxConns, err = strconv.Atoi(whole); err != nil || strings.Trim(fraction, "0") != "" {
			return errors.New("want a whole number")
		}
		return nil
	},
	"rate":       func(r *accounts.Record, v any) error { return setRate(&limits(r).Rate, v) },
	"messages":   func(r *accounts.Record, v any) error { return setRate(&limits(r).Messages, v) },
	"recipients": func(r *accounts.Record, v any) error { return setRate(&limits(r).Recipients, v) },
	"labels": func(r *accounts.Record, v any) error {
		object, ok := v.(map[string]any)
		if !ok && v != nil {
			return errors.New("want an object of JSON")
		}
		for k, v := range object {
			value, err := text(v)
			if err != nil {
				return fmt.Errorf("label '%s': %w", k, err)
			}
			if r.Labels == nil {
				r.Labels = make(map[string]string)
			}
			r.Labels[k] = value
		}
		return nil
	},
}

// Record makes a record of values by field, which have to be Fields. The error is
// an *accounts.FieldError; the record has its name all the same, if it has one.
func Record(values map[string]any, upstream string) (accounts.Record, error) {
	r := accounts.Record{}
	if err := Fields["name"](&r, values["name"]); err != nil {
		return r, &accounts.FieldError{Field: "name", Err: err}
	}
	for field, v := range values {
		if field == "name" {
			continue
		}
		if err := Fields[field](&r, v); err != nil {
			return r, &accounts.FieldError{Account: r.Name, Field: field, Err: err}
		}
	}
	if r.Upstream == "" {
		r.Upstream = upstream
	}
	if r.Limits != nil && *r.Limits == (accounts.Limits{}) {
		r.Limits = nil
	}
	return r, nil
}

func limits(r *accounts.Record) *accounts.Limits {
	if r.Limits == nil {
		r.Limits = new(accounts.Limits)
	}
	return r.Limits
}

func text(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return strings.TrimSpace(v), nil // char(n) is padded
	case json.Number:
		return v.String(), nil
	}
	return "", errors.New("want text")
}

func setText(p *string, v any) (err error) {
	*p, err = text(v)
	return err
}

func setRate(p *accounts.Rate, v any) error {
	text, err := text(v)
	if err != nil {
		return err
	}
	if p.UnmarshalText([]byte(text)) != nil {
		return errors.New("want COUNT/PERIOD, as in 30/1m")
	}
	return nil
}

// list reads an array, or text that is split.
func list(v any, split func(string) []string) ([]string, error) {
	values, ok := v.([]any)
	if !ok {
		text, err := text(v)
		if err != nil {
			return nil, errors.New("want text or an array of it")
		}
		return split(text), nil
	}
	var all []string
	for _, v := range values {
		text, err := text(v)
		if err != nil {
			return nil, errors.New("want text or an array of it")
		}
		if text != "" {
			all = append(all, text)
		}
	}
	return all, nil
}

// usable drops what marks an account that has no password, as in shadow(5), and
// takes off the names of schemes that Dovecot puts in front.
func usable(hashes []string) []string {
	var all []string
	for _, h := range hashes {
		if strings.HasPrefix(h, "{") {
			for _, scheme := range []string{"{ARGON2ID}", "{BLF-CRYPT}", "{CRYPT}", "{bcrypt}"} {
				h = strings.TrimPrefix(h, scheme)
			}
		}
		if h != "" && h[0] != '!' && h[0] != '*' {
			all = append(all, h)
		}
	}
	return all
}

func truth(v any) (bool, error) {
	switch v := v.(type) {
	case nil:
		return false, nil
	case bool:
		return v, nil
	case json.Number:
		n, err := v.Float64() // 0.00 of a numeric column is 0
		return n != 0, err
	case string:
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "1", "t", "true", "y", "yes", "on":
			return true, nil
		case "", "0", "f", "false", "n", "no", "off":
			return false, nil
		}
	}
	return false, errors.New("want true or false")
}
