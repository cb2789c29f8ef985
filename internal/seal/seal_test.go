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

package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func id(key []byte) string { return hex.EncodeToString(key[:2]) }

func ring(t *testing.T, texts ...string) *Keys {
	t.Helper()
	r, err := New(texts, id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func text(b byte) string { return hex.EncodeToString(bytes.Repeat([]byte{b}, KeySize)) }

func TestRotation(t *testing.T) {
	before := ring(t, text(1))
	kid, nonce, data := before.Seal([]byte("record"), []byte("place"))
	for _, c := range []struct {
		name  string
		keys  *Keys
		place string
		want  error
	}{
		{"the same key", before, "place", nil},
		{"a new key in front", ring(t, text(2), text(1)), "place", nil},
		{"the key is gone", ring(t, text(2)), "place", ErrOtherKey},
		{"no key", ring(t), "place", ErrNoKeys},
		{"no ring", nil, "place", ErrNoKeys},
		{"moved", before, "elsewhere", ErrAltered},
	} {
		got, err := c.keys.Open(kid, nonce, data, []byte(c.place))
		if !errors.Is(err, c.want) || err == nil && string(got) != "record" {
			t.Errorf("%s: %q, %v; want %v", c.name, got, err, c.want)
		}
	}
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 1
		if _, err := before.Open(kid, nonce, bad, []byte("place")); !errors.Is(err, ErrAltered) {
			t.Errorf("octet %d changed: %v", i, err)
		}
	}
	if _, err := before.Open(kid, nonce[:3], data, []byte("place")); !errors.Is(err, ErrAltered) {
		t.Errorf("a short nonce: %v", err)
	}
}

func TestSameID(t *testing.T) {
	one := func([]byte) string { return "id" }
	old, err := New([]string{text(1)}, one)
	if err != nil {
		t.Fatal(err)
	}
	kid, nonce, data := old.Seal([]byte("record"), nil)
	both, err := New([]string{text(2), text(1)}, one)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := both.Open(kid, nonce, data, nil); err != nil || string(got) != "record" {
		t.Errorf("two keys with one id: %q, %v", got, err)
	}
}

func TestForms(t *testing.T) {
	raw := bytes.Repeat([]byte{0xfb}, KeySize)
	want := ring(t, hex.EncodeToString(raw)).Identity()
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if got := ring(t, " "+enc.EncodeToString(raw)+"\n").Identity(); got != want {
			t.Errorf("another key: %s, want %s", got, want)
		}
	}
	for _, bad := range []string{"", "secret-that-is-no-key", text(1)[2:], text(1) + "00"} {
		_, err := New([]string{text(1), bad}, id)
		if err == nil || !strings.Contains(err.Error(), "'encryption_keys[1]'") {
			t.Errorf("%q: %v", bad, err)
		} else if bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("the error holds the key: %v", err)
		}
	}
}
