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
		"550 5.1.1 The email account that you tried to reach does not exist: https://support.google.com/mail/?p=NoSuchUser": "550 5.1.1 The email account that you tried to reach does not exist: https://support.google.com/mail/?p=NoSuchUser",
	} {
		if got := Text(text, "1234", "abc", "", "1//0abcdefgh-ijklmnop"); got != want {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// TestMayQuote finds every quotation of forty octets, wherever it stands.
func TestMayQuote(t *testing.T) {
	var secret string
	for i := range 60 {
		secret += fmt.Sprintf("%x-", i*i*i)
	}
	shapes := map[string]string{
		"plain": secret, "hex": hex.EncodeToString([]byte(secret)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(secret))),
	}
	for skip := range 3 {
		shapes[fmt.Sprint("base64 at ", skip)] = base64.StdEncoding.EncodeToString([]byte(secret[skip : skip+141]))
		shapes[fmt.Sprint("URL base64 at ", skip)] = base64.URLEncoding.EncodeToString([]byte(secret[skip : skip+141]))
	}
	for shape, form := range shapes {
		for from := 0; from+Long <= len(form) && from < 2*Long; from++ {
			for before := range Long {
				text := "250 2.0.0 OK <" + strings.Repeat("!", before) + form[from:from+Long] + "!>"
				if !MayQuote(text, "another-secret", secret) {
					t.Fatalf("%s: not found in %q", shape, text)
				}
			}
		}
	}
	for _, text := range []string{
		"", "250 2.0.0 OK  1732550400 d9443c01a7336-2a1b2c3d4e5sm1234567b3a.48 - gsmtp",
		"250 2.0.0 OK <AM0PR0402MB3937A1B2C3D4E5F60718293A4B5C6D@AM0PR0402MB3937.eurprd04.prod.outlook.com> [Hostname=AM0PR0402MB3937.eurprd04.prod.outlook.com]",
	} {
		if MayQuote(text, secret) {
			t.Errorf("%q quotes nothing", text)
		}
	}
}

func TestShortSecretInBase64(t *testing.T) {
	for before := range 5 {
		blob := base64.StdEncoding.EncodeToString([]byte("\x00" + strings.Repeat("u", before) + "\x00hunter2"))
		got := Text("535 no "+blob+" here hunter2", "hunter2")
		if strings.Contains(got, "hunter2") || !strings.Contains(got, Mark) || !strings.HasSuffix(got, " here "+Mark) || strings.Contains(got, blob[len(blob)-10:]) {
			t.Errorf("%q: %q", blob, got)
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
