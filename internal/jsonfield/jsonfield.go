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

// Package jsonfield decodes a module's JSON configuration as strictly as Caddy
// does, and names the field in every error. The decoder of the standard library
// leaves the field out where a type reads itself from text, as durations and rates
// do, and speaks of Go's types where it does name it. What it knows of types is
// all that it keeps.
package jsonfield

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/internal/nearest"
)

// Error is what is wrong with a field, whose path begins at the module.
type Error struct {
	Field string
	Err   error
}

// Error implements error.
func (e *Error) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap gives what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// tooShort is what no option's duration can mean: who writes 30 in JSON means
// seconds, and Caddy reads nanoseconds.
const tooShort = 100 * time.Microsecond

// Decode decodes an object into the struct that into points to. Types whose
// UnmarshalJSON it is may call it: it does not call theirs.
func Decode(b []byte, into any) error {
	v := reflect.ValueOf(into).Elem()
	if bytes.Equal(bytes.TrimSpace(b), []byte("null")) {
		return nil
	}
	values, err := object(b)
	if err != nil {
		return err
	}
	all := fields(v.Type())
	for _, name := range slices.Sorted(maps.Keys(values)) {
		f, err := all.find(name)
		if err != nil {
			return err
		}
		raw := values[name]
		field, err := v.FieldByIndexErr(f.Index)
		if err != nil {
			return err
		}
		if err := strict(raw, field.Addr().Interface()); err != nil {
			if better := check(raw, f.Type); better != nil {
				err = better
			}
			return within(name, err)
		}
		if err := durations(field); err != nil {
			return within(name, err)
		}
	}
	return nil
}

// strict decodes a value and refuses fields that nobody knows.
func strict(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// object takes an object apart.
func object(b []byte) (map[string]json.RawMessage, error) {
	var values map[string]json.RawMessage
	switch err := json.Unmarshal(b, &values); err.(type) {
	case nil:
		return values, nil
	case *json.UnmarshalTypeError:
		return nil, errors.New("want an object, as in {\"option\": ...}")
	default:
		return nil, err
	}
}

// within puts a field before what is wrong within it.
func within(field string, err error) error {
	var inner *Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &inner):
		return &Error{field, err}
	case strings.HasPrefix(inner.Field, "["):
		return &Error{field + inner.Field, inner.Err}
	}
	return &Error{field + "." + inner.Field, inner.Err}
}

// structFields are the fields of a struct by their names in JSON.
type structFields map[string]reflect.StructField

// known has the fields of the structs that were seen.
var known sync.Map // reflect.Type -> structFields

func fields(t reflect.Type) structFields {
	if all, ok := known.Load(t); ok {
		return all.(structFields)
	}
	all := make(structFields)
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported() || f.Anonymous && name == "":
			continue
		case name == "":
			name = f.Name
		}
		all[name] = f
	}
	known.Store(t, all)
	return all
}

// find knows a field as encoding/json does: whatever its capitals.
func (all structFields) find(name string) (reflect.StructField, error) {
	if f, ok := all[name]; ok {
		return f, nil
	}
	names := slices.Sorted(maps.Keys(all))
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return all[n], nil
		}
	}
	return reflect.StructField{}, &Error{name, errors.New("unknown field" + nearest.Hint(name, names))}
}

var (
	durationType = reflect.TypeFor[caddy.Duration]()
	rawType      = reflect.TypeFor[json.RawMessage]()
	jsonReader   = reflect.TypeFor[json.Unmarshaler]()
	textReader   = reflect.TypeFor[encoding.TextUnmarshaler]()
	errDuration  = errors.New("want a duration in quotes, as in \"90s\"")
)

// check looks for what does not fit a type, and says nothing of what does. Values
// are not repeated: where they do not fit they may be a secret that went astray.
func check(raw []byte, t reflect.Type) error {
	text := bytes.TrimSpace(raw)
	if bytes.Equal(text, []byte("null")) || t == rawType {
		return nil
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	p := reflect.PointerTo(t)
	switch {
	case t == durationType:
		return checkDuration(text)
	case p.Implements(jsonReader), p.Implements(textReader):
		return checkReader(text, t)
	}
	switch t.Kind() {
	case reflect.Struct:
		values, err := object(text)
		if err != nil {
			return err
		}
		all := fields(t)
		for _, name := range slices.Sorted(maps.Keys(values)) {
			f, err := all.find(name)
			if err == nil {
				err = within(name, check(values[name], f.Type))
			}
			if err != nil {
				return err
			}
		}
		return nil
	case reflect.Map:
		values, err := object(text)
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(values)) {
			if err := check(values[name], t.Elem()); err != nil {
				return within(name, err)
			}
		}
		return nil
	case reflect.Slice, reflect.Array:
		var values []json.RawMessage
		if json.Unmarshal(text, &values) != nil {
			return errors.New("want a list in [ ], also of one value")
		}
		for i := range values {
			if err := check(values[i], t.Elem()); err != nil {
				return within(fmt.Sprintf("[%d]", i), err)
			}
		}
		return nil
	}
	if json.Unmarshal(text, reflect.New(t).Interface()) == nil {
		return nil
	}
	return errors.New("want " + wanted(t.Kind()))
}

// wanted is how a kind of value is written.
func wanted(k reflect.Kind) string {
	switch k { //nolint:exhaustive // the others are whole numbers
	case reflect.String:
		return "a text in quotes"
	case reflect.Bool:
		return "true or false, without quotes"
	case reflect.Float32, reflect.Float64:
		return "a number without quotes, as in 2.5"
	}
	return "a whole number without quotes or unit, as in 100"
}

func checkDuration(text []byte) error {
	var d caddy.Duration
	if json.Unmarshal(text, &d) == nil {
		return nil
	}
	var s string
	if json.Unmarshal(text, &s) != nil {
		return errDuration
	}
	if err := form.Duration.Check(s); err != nil {
		return err
	}
	return errDuration
}

// checkReader asks a type that reads itself.
func checkReader(text []byte, t reflect.Type) error {
	err := strict(text, reflect.New(t).Interface())
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return errors.New("want a text in quotes")
	}
	return err
}

// durations refuses a duration that was meant in another unit.
func durations(v reflect.Value) error {
	switch {
	case v.Type() == durationType:
		if d := time.Duration(v.Int()); d > 0 && d < tooShort {
			return fmt.Errorf("%d nanoseconds are too short: a number without a unit counts nanoseconds, want a duration as in \"90s\"", v.Int())
		}
		return nil
	case v.Type() == rawType:
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() && v.Elem().Kind() == reflect.Struct {
			return durations(v.Elem())
		}
	case reflect.Struct:
		for name, f := range fields(v.Type()) {
			field, err := v.FieldByIndexErr(f.Index)
			if err != nil {
				continue // within a pointer that is nil
			}
			if err := durations(field); err != nil {
				return within(name, err)
			}
		}
	case reflect.Map:
		for key, value := range v.Seq2() {
			if err := durations(value); err != nil {
				return within(fmt.Sprint(key), err)
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := durations(v.Index(i)); err != nil {
				return within(fmt.Sprintf("[%d]", i), err)
			}
		}
	}
	return nil
}
