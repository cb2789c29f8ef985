// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//	http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.
package redact

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	for _, secret := range []string{
		"ya29.a0AfH6SMBx-3_q/Zz+9==", "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2ln", "s3cr3t+8", "12345678", "p~ss w&rd/0", strings.Repeat("x1-token", 20),
	} {
		long := secret + "" // never the array itself
		for how, text := range map[string]string{
			"as it is":        "cannot parse: user=a auth=Bearer " + long + " in line 1",
			"at the end":      "bad " + long,
			"alone":           long,
			"twice":           long + " " + long,
			"within a word":   "x" + long + "y",
			"in a form":       "refresh_token=" + url.QueryEscape(long) + "&x=1",
			"in hex":          hex.EncodeToString([]byte(long)),
			"in HEX":          strings.ToUpper(hex.EncodeToString([]byte(long))),
			"cut off":         "parse error near '" + long[:8] + "...'",
			"its end":         "..." + long[len(long)-8:],
			"of its middle":   "near " + long[len(long)/2-4:len(long)/2+4],
			"URL-safe base64": base64.RawURLEncoding.EncodeToString([]byte(long)),
		} {
			hold(t, how, text, secret)
		}
		for n := range 7 {
			before := strings.Repeat("u", n)
			for _, after := range []string{"", "\x01\x01", "abc"} {
				b := base64.StdEncoding.EncodeToString([]byte("user=" + before + "\x01auth=Bearer " + long + after))
				hold(t, fmt.Sprintf("in base64 at %d", n), "535 5.7.8 cannot decode "+b+" sorry", secret)
			}
		}
	}
}

// hold checks that nothing of a secret is left, and that something else is.
func hold(t *testing.T, how, text, secret string) {
	t.Helper()
	got := Text(text, "other-secret", secret)
	if !strings.Contains(got, Mark) {
		t.Fatalf("%s: %q is left as it is", how, got)
	}
	for _, form := range forms(secret) {
		for i := 0; i+window <= len(form); i++ {
			if strings.Contains(got, form[i:i+window]) {
				t.Fatalf("%s: %q holds %q", how, got, form[i:i+window])
			}
		}
	}
	if strings.HasPrefix(text, "535 5.7.8 cannot decode ") && (!strings.HasPrefix(got, "535 5.7.8 cannot decode ") || !strings.HasSuffix(got, " sorry")) {
		t.Fatalf("%s: %q lacks what is no secret", how, got)
	}
}

func TestTextLeavesTheRest(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "",
		"5.7.8 bad user or pass": "5.7.8 bad user or pass",
		"AADSTS53003: Access has been blocked by Conditional Access policies.": "AADSTS53003: Access has been blocked by Conditional Access policies.",
		"pin 1234 is wrong": "pin [redacted] is wrong",
		"abc is wrong":      "abc is wrong",
	} {
		if got := Text(text, "1234", "abc", "", "1//0abcdefgh-ijklmnop"); got != want {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("auth=Bearer ya29.token-token", "ya29.token-token")
	f.Add("dXNlcj1hAWF1dGg9QmVhcmVyIHlhMjkudG9rZW4=", "ya29.token")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, text, secret string) {
		got := Text(text, secret)
		if len(secret) >= window && !strings.ContainsAny(secret, "[]") && strings.Contains(got, secret) {
			t.Fatalf("%q holds %q", got, secret)
		}
		if len(secret) < 4 && got != text {
			t.Fatalf("%q became %q", text, got)
		}
	})
}
