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

package accounts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/caddymail/mailgateway/internal/jsonfield"
)

// EncodeRecord returns a record as JSON, secrets included: what sources keep.
func EncodeRecord(r Record) ([]byte, error) {
	return json.Marshal(r) //nolint:gosec // the secrets are what it is for
}

// DecodeRecord reads one record as JSON. Unknown fields are errors. The error
// is a *FieldError, and holds no value.
func DecodeRecord(data []byte) (Record, error) {
	var r Record
	if !utf8.Valid(data) {
		return r, &FieldError{Account: guessName(data), Err: errors.New("not valid UTF-8")}
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return r, jsonError(data, err)
	}
	if r.isNull(data) {
		return r, &FieldError{Err: errors.New("want a JSON object")}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return r, &FieldError{Account: r.Name, Err: errors.New("more than one JSON value")}
	}
	return r, nil
}

// isNull reports whether the JSON was a bare null, which decodes without error.
func (r Record) isNull(data []byte) bool {
	return r.Name == "" && bytes.Equal(bytes.TrimSpace(data), []byte("null"))
}

// jsonError says what is wrong in the words of a record. The errors of
// encoding/json may quote the input.
func jsonError(data []byte, err error) error {
	e := &FieldError{Account: guessName(data)}
	syntax, isSyntax := errors.AsType[*json.SyntaxError](err)
	typ, isType := errors.AsType[*json.UnmarshalTypeError](err)
	msg := err.Error()
	switch {
	case isSyntax:
		e.Err = fmt.Errorf("malformed JSON at octet %d", syntax.Offset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		e.Err = errors.New("malformed JSON: it ends too early")
	case isType:
		e.Field = typ.Field
		got, _, _ := strings.Cut(typ.Value, " ")
		want := "another type"
		if typ.Type != nil {
			switch typ.Type.Kind() { //nolint:exhaustive // a record has no others
			case reflect.String:
				want = "a string"
			case reflect.Bool:
				want = "true or false"
			case reflect.Int:
				want = "a whole number"
			case reflect.Slice:
				want = "an array"
			case reflect.Struct, reflect.Map, reflect.Pointer:
				want = "an object"
			}
			if typ.Type == reflect.TypeFor[Rate]() {
				want = "a rate such as \"30/1m\""
			}
		}
		e.Err = fmt.Errorf("got JSON %s, want %s", got, want)
	case strings.HasPrefix(msg, "json: unknown field "):
		e.Field = strings.Trim(strings.TrimPrefix(msg, "json: unknown field "), `"`)
		if len(e.Field) > maxNameLen {
			e.Field = e.Field[:maxNameLen]
		}
		e.Err = errors.New("unknown field")
	case strings.Contains(msg, "malformed rate"):
		e.Field = "limits"
		if inner, ok := errors.AsType[*jsonfield.Error](jsonfield.Decode(data, new(Record))); ok {
			e.Field = inner.Field
		}
		e.Err = errors.New(msg[strings.Index(msg, "malformed rate"):])
	default:
		e.Err = errors.New("malformed JSON")
	}
	return e
}

// guessName finds the name in a record that does not parse, so that the report
// can name the account, and its last good version can be kept.
func guessName(data []byte) string {
	dec := json.NewDecoder(bytes.NewReader(data))
	depth, key := 0, true
	var last string
	for {
		tok, err := dec.Token()
		if err != nil {
			return ""
		}
		switch v := tok.(type) {
		case json.Delim:
			if v == '{' || v == '[' {
				depth++
			} else {
				depth--
			}
			key = depth == 1
			if depth == 0 {
				return ""
			}
			continue
		case string:
			if depth == 1 && key {
				last, key = v, false
				continue
			}
			if depth == 1 && strings.EqualFold(last, "name") {
				if checkText(v, maxNameLen, true) != nil {
					return ""
				}
				return v
			}
		}
		if depth == 1 {
			key = true
		}
	}
}
