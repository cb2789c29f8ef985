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

package jsonfield

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// pair reads itself from text.
type pair struct{ a, b string }

func (p *pair) UnmarshalText(b []byte) error {
	if len(b) != 2 {
		return errors.New("malformed pair")
	}
	p.a, p.b = string(b[:1]), string(b[1:])
	return nil
}

type common struct {
	Name string `json:"name,omitempty"`
}

type inner struct {
	Wait  caddy.Duration `json:"wait,omitempty"`
	Pair  pair           `json:"pair"`
	Limit *int           `json:"limit,omitempty"`
}

type module struct {
	common
	Hidden string             `json:"-"`
	Raw    json.RawMessage    `json:"raw,omitempty"`
	Wait   caddy.Duration     `json:"wait,omitempty"`
	List   []string           `json:"list,omitempty"`
	Inner  *inner             `json:"inner,omitempty"`
	By     map[string]*inner  `json:"by,omitempty"`
	Rows   []inner            `json:"rows,omitempty"`
	On     bool               `json:"on,omitempty"`
	Size   int64              `json:"size,omitempty"`
	Share  float64            `json:"share,omitempty"`
	Sub    *sub               `json:"sub,omitempty"`
	Labels map[string]string  `json:"labels,omitempty"`
	Untold map[string]float64 // its name in JSON is the field's
}

func (m *module) UnmarshalJSON(b []byte) error { return Decode(b, m) }

// sub asks Decode itself: its paths go on.
type sub struct {
	Deep []caddy.Duration `json:"deep"`
}

func (s *sub) UnmarshalJSON(b []byte) error { return Decode(b, s) }

// TestErrors holds that each mistake has its field, and what is wanted.
func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		`[]`:                               `want an object, as in {"option": ...}`,
		`{"wait": "90"}`:                   `wait: '90' is not a positive duration, as in 90s or 10m; a unit is missing: '90s' are seconds, '90m' minutes`,
		`{"wait": "1x"}`:                   `wait: '1x' is not a positive duration, as in 90s or 10m`,
		`{"wait": true}`:                   `wait: want a duration in quotes, as in "90s"`,
		`{"wait": 1.5}`:                    `wait: want a duration in quotes, as in "90s"`,
		`{"wait": 30}`:                     `wait: 30 nanoseconds are too short: a number without a unit counts nanoseconds, want a duration as in "90s"`,
		`{"inner": {"wait": "5"}}`:         `inner.wait: '5' is not a positive duration, as in 90s or 10m; a unit is missing: '5s' are seconds, '5m' minutes`,
		`{"by": {"x": {"wait": 1}}}`:       `by.x.wait: 1 nanoseconds are too short: a number without a unit counts nanoseconds, want a duration as in "90s"`,
		`{"rows": [{}, {"wait": {}}]}`:     `rows[1].wait: want a duration in quotes, as in "90s"`,
		`{"rows": [{}, {"pair": "abc"}]}`:  `rows[1].pair: malformed pair`,
		`{"rows": [{}, {"pair": 5}]}`:      `rows[1].pair: want a text in quotes`,
		`{"rows": {}}`:                     `rows: want a list in [ ], also of one value`,
		`{"list": "s3cret"}`:               `list: want a list in [ ], also of one value`,
		`{"list": ["a", 5]}`:               `list[1]: want a text in quotes`,
		`{"on": "yes"}`:                    `on: want true or false, without quotes`,
		`{"size": "25MiB"}`:                `size: want a whole number without quotes or unit, as in 100`,
		`{"size": 1.5}`:                    `size: want a whole number without quotes or unit, as in 100`,
		`{"share": "5"}`:                   `share: want a number without quotes, as in 2.5`,
		`{"name": ["s3cret"]}`:             `name: want a text in quotes`,
		`{"inner": "s3cret"}`:              `inner: want an object, as in {"option": ...}`,
		`{"labels": {"a": 1}}`:             `labels.a: want a text in quotes`,
		`{"lst": []}`:                      `lst: unknown field; did you mean 'list'?`,
		`{"Hidden": ""}`:                   `Hidden: unknown field`,
		`{"inner": {"limmit": 1}}`:         `inner.limmit: unknown field; did you mean 'limit'?`,
		`{"sub": {"deep": ["1s", "2"]}}`:   `sub.deep[1]: '2' is not a positive duration, as in 90s or 10m; a unit is missing: '2s' are seconds, '2m' minutes`,
		`{"untold": {"a": "b"}, "on": ""}`: `on: want true or false, without quotes`,
		`{"untold": {"a": "b"}}`:           `untold.a: want a number without quotes, as in 2.5`,
	} {
		var m module
		// As Caddy does, and as others do.
		for _, decode := range []func([]byte, any) error{strict, json.Unmarshal} {
			if err := decode([]byte(text), &m); err == nil || err.Error() != want {
				t.Errorf("%s:\n got %v\nwant %s", text, err, want)
			}
		}
	}
}

// TestDecode holds that what fits is read as encoding/json does it.
func TestDecode(t *testing.T) {
	const text = `{"name": "n", "raw": {"x": [1]}, "WAIT": "1m30s", "list": ["a"], "inner": {"wait": 90000000000, "pair": "ab", "limit": 3},
		"by": {"x": null, "y": {}}, "rows": [{"pair": "cd"}], "on": true, "size": 5, "share": 0.5, "sub": {"deep": [1000000]}, "labels": {"a": "b"}}`
	var got module
	if err := strict([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	type plain module // without its UnmarshalJSON
	var want plain
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, module(want)) || time.Duration(got.Wait) != 90*time.Second {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if err := strict([]byte("null"), &got); err != nil || got.Name != "n" {
		t.Errorf("null: %v, %+v", err, got)
	}
	// What is there and not named stays, as at a second block of a Caddyfile.
	if err := json.Unmarshal([]byte(`{"size": 6}`), &got); err != nil || got.Size != 6 || got.Name != "n" {
		t.Errorf("a second part: %v, %+v", err, got)
	}
}

// FuzzDecode holds that Decode takes what encoding/json takes, but for durations
// of nanoseconds.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"name": "n", "inner": {"wait": "1s"}, "by": {"x": {"pair": "ab"}}}`))
	f.Add([]byte(`{"rows": [{"limit": 5}], "raw": null, "wait": 5}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		type plain module
		var want plain
		var got module
		err, wantErr := strict(b, &got), strict(b, &want)
		if (err == nil) != (wantErr == nil) && durations(reflect.ValueOf(want)) == nil {
			t.Fatalf("%q: %v, encoding/json: %v", b, err, wantErr)
		}
	})
}
