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

// Package redact takes secrets out of text that others wrote: servers repeat
// what they were sent, whole or cut off, as it was or in base64, in refusals
// that are then kept, logged and passed on.
package redact

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
)

// Mark stands in place of a secret.
const Mark = "[redacted]"

// window is how much of a secret in a row is one still. Less is left alone: it
// would be found in any text.
const window = 8

// Text returns s without the secrets, and without parts of them of eight
// octets and more: as they are, in the percent encoding of forms, in hex and
// in base64, also as part of what was encoded with them. What surrounds a find without a
// gap goes with it.
func Text(s string, secrets ...string) string {
	if len(s) < window {
		return whole(s, secrets)
	}
	// Whether a piece of the text is one of a secret too.
	pieces := make(map[string]bool, len(s)-window+1)
	var seen sieve
	for i := 0; i+window <= len(s); i++ {
		pieces[s[i:i+window]] = false
		seen.add(s[i:])
	}
	hits := 0
	for _, secret := range secrets {
		for _, form := range forms(secret) {
			for i := 0; i+window <= len(form); i++ {
				if !seen.may(form[i:]) {
					continue
				}
				if of, ok := pieces[form[i:i+window]]; ok && !of {
					pieces[form[i:i+window]] = true
					hits++
				}
			}
		}
	}
	if hits == 0 {
		return whole(s, secrets)
	}
	found := make([]bool, len(s))
	for i := 0; i+window <= len(s); i++ {
		if pieces[s[i:i+window]] {
			for k := i; k < i+window; k++ {
				found[k] = true
			}
		}
	}
	var out strings.Builder
	for i := 0; i < len(s); {
		j := i
		hit := false
		for j < len(s) && (found[j] || partOfToken(s[j])) {
			hit = hit || found[j]
			j++
		}
		switch {
		case hit:
			out.WriteString(Mark)
		case j > i:
			out.WriteString(s[i:j])
		default:
			out.WriteByte(s[i])
			j++
		}
		i = j
	}
	return whole(out.String(), secrets)
}

// sieve is a set of windows that says no for certain and yes perhaps: the
// windows of a long token are many, and hardly one is in the text.
type sieve [64]uint64

func (v *sieve) add(s string) {
	h := mix(s)
	v[h>>6] |= 1 << (h & 63)
}

func (v *sieve) may(s string) bool {
	h := mix(s)
	return v[h>>6]&(1<<(h&63)) != 0
}

// mix makes twelve bits of a window.
func mix(s string) uint64 {
	_ = s[window-1]
	n := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	return n * 0x9e3779b97f4a7c15 >> 52
}

// Long is how much in a row MayQuote looks for.
const Long = 40

// MayQuote reports whether s may quote Long octets in a row of a secret, or of
// its base64 or hex. It is cheap enough for each message: it looks at s here and
// there, and decodes that in place of encoding the secret.
func MayQuote(s string, secrets ...string) bool {
	const (
		step   = 28 // of each Long octets, one look falls within them
		digits = 12
	)
	var raw [digits]byte
	for _, secret := range secrets {
		if len(secret) < window {
			continue
		}
		for at := 0; at+digits <= len(s); at += step {
			if strings.Contains(secret, s[at:at+digits]) {
				return true
			}
			// The digits of one octet may begin at any of four places.
			for i := at; i < at+4 && i+digits <= len(s); i++ {
				piece := s[i : i+digits]
				enc := base64.RawStdEncoding
				if strings.ContainsAny(piece, "-_") {
					enc = base64.RawURLEncoding
				}
				if n, err := enc.Decode(raw[:], []byte(piece)); err == nil && strings.Contains(secret, string(raw[:n])) {
					return true
				}
				if n, err := hex.Decode(raw[:], []byte(piece)); err == nil && strings.Contains(secret, string(raw[:n])) {
					return true
				}
			}
		}
	}
	return false
}

// whole replaces short secrets where they stand as they are, or in base64.
func whole(s string, secrets []string) string {
	for _, secret := range secrets {
		if len(secret) < 4 || len(secret) >= window {
			continue
		}
		s = strings.ReplaceAll(s, secret, Mark)
		for before := range 3 {
			b := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + secret))
			b = b[(before*8+5)/6:] // without the digits that hold bits of what is before
			if (before+len(secret))%3 != 0 {
				b = b[:len(b)-1] // nor of what comes after
			}
			if len(b) >= 5 { // fewer would be found in any word
				s = strings.ReplaceAll(s, b, Mark)
			}
		}
	}
	return s
}

// partOfToken reports whether c may be part of a token or of its base64.
func partOfToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("+/=_-%~", c) >= 0
}

// forms are the texts that give a secret away.
func forms(secret string) []string {
	if len(secret) < window {
		return nil
	}
	h := hex.EncodeToString([]byte(secret))
	out := []string{secret, url.QueryEscape(secret), h, strings.ToUpper(h)}
	// Three octets make four characters of base64, so that the same secret
	// looks different at each of three places in what was encoded.
	for skip := range 3 {
		part := secret[skip:]
		part = part[:len(part)/3*3]
		b := base64.StdEncoding.EncodeToString([]byte(part))
		out = append(out, b)
		if u := base64.URLEncoding.EncodeToString([]byte(part)); u != b {
			out = append(out, u)
		}
	}
	return out
}
