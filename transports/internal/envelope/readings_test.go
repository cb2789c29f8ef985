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

package envelope

import (
	"bytes"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/transports/internal/apitest"
)

// agree holds that every reader finds the envelope in a message, all of it and
// nothing else.
func agree(m *Message, rcpts []string, readings []apitest.Reading) error {
	whole := string(m.Head) + string(m.Rest)
	want := apitest.Addresses(rcpts)
	for _, r := range readings {
		got := r.Recipients(whole)
		if !slices.Equal(got, want) {
			return fmt.Errorf("%+v finds %q, want %q in\n%q", r, got, want, whole)
		}
	}
	return nil
}

// TestReadings: what Fit lets pass has the same recipients for readers that know
// neither comments nor escapes, see other ends of lines, or heed one field of a
// name only.
func TestReadings(t *testing.T) {
	const messages = 20_000
	g := apitest.NewGenerator(7)
	all := apitest.Readings()
	acked := 0
	for i := range messages {
		rcpts, msg := g.Message()
		m, err := Fit([]byte(msg), rcpts, i%4 == 3)
		if err != nil {
			continue
		}
		acked++
		readings := all
		if i%96 > 0 {
			at := i % (len(all) - 8)
			readings = all[at : at+8]
		}
		if err := agree(m, rcpts, readings); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if acked < messages/10 || acked > messages*9/10 {
		t.Errorf("%d of %d fit", acked, messages)
	}
}

// others holds that two parsers of other hands find the envelope: the sandbox's, which
// is generous, and Go's, as far as it reads these fields at all.
func others(m *Message, rcpts []string, resent bool) (read bool, err error) {
	whole := slices.Concat(m.Head, m.Rest)
	want := apitest.Addresses(rcpts)
	if got := apitest.Delivered(whole, resent); !slices.Equal(got, want) {
		return false, fmt.Errorf("the sandbox finds %q, want %q in\n%q", got, want, whole)
	}
	msg, err := mail.ReadMessage(bytes.NewReader(append(whole, "\r\n\r\n"...)))
	if err != nil {
		return false, nil
	}
	var found []string
	for _, name := range []string{"To", "Cc", "Bcc"} {
		for _, body := range msg.Header[name] {
			list, err := mail.ParseAddressList(body)
			if err != nil && strings.Trim(body, " \t,") != "" {
				return false, nil
			}
			for _, a := range list {
				found = append(found, strings.Trim((&mail.Address{Address: a.Address}).String(), "<>"))
			}
		}
	}
	if got := apitest.Addresses(found); !slices.Equal(got, want) {
		return true, fmt.Errorf("net/mail finds %q, want %q in\n%q", got, want, whole)
	}
	return true, nil
}

// TestOthers reads 10,000 messages with parsers that share nothing with this one.
func TestOthers(t *testing.T) {
	const messages = 10_000
	g := apitest.NewGenerator(11)
	fit, both := 0, 0
	for i := range messages {
		rcpts, msg := g.Message()
		m, err := Fit([]byte(msg), rcpts, i%4 == 3)
		if err != nil {
			continue
		}
		fit++
		read, err := others(m, rcpts, i%2 == 0)
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if read {
			both++
		}
	}
	if both < fit/4 || fit < messages/10 {
		t.Errorf("%d of %d fit, and net/mail reads %d of these", fit, messages, both)
	}
	t.Logf("%d of %d fit, and net/mail reads %d of these", fit, messages, both)
}

func FuzzFit(f *testing.F) {
	for _, s := range []string{
		"To: a@b.c\r\n\r\nbody", "To: g: a@b.c, <d@e.f>;\r\nCc: \"x@y.z\" <a@b.c>\r\n\r\n", "Bcc: (c (d)) a@b.c\r\n", "To: a@b.c\r\n\t,d@e.f\r\n\r\n",
		"To: a@b.c <a@b.c>\r\n\r\n", "From: =?utf-8?q?=40?= <a@b.c>\r\nResent-To: a@b.c\r\n\r\n", "To: <@x:a@b.c>\r\n\r\n", "To: \"a\\\"\"@b.c\r\n\r\n", "To: a@[1.2.3.4]\r\n\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	for _, s := range []string{
		"To : a@b.c\r\n\r\n", "To: a@b.c\n\nTo: x@y.z\r\n\r\n", "Bcc:\r\nBcc: a@b.c\r\n\r\n", "To: a@b.c.\r\n\r\n", "To: a . b @ c\r\n\r\n", "To: <,@x,@y:a@b.c>\r\n\r\n", "To: g:,,;\r\nCc: a@b.c\r\n\r\n",
		"To: a@[IPv6:2001:db8::1]\r\n\r\n", "To: \"\x83\x5c\" <a@b.c>\r\n\r\n", "To: a@b\xc3\xbccher.example\r\n\r\n", "X: " + strings.Repeat("x", 995) + "To: x@y.z\r\nTo: a@b.c\r\n\r\n",
		"To: " + strings.Repeat("a@b.c, ", 200) + "x@y.z\r\n\r\n", "Resent-Bcc: x@y.z\r\nTo: a@b.c\r\n\r\n", "To: a@b.c\r\n\x00\r\n\r\n", "To: a@b.c",
	} {
		f.Add([]byte(s), false)
	}
	g := apitest.NewGenerator(1)
	for i := range 300 {
		if _, msg := g.Message(); len(msg) < 2000 {
			f.Add([]byte(msg), i%2 == 0)
		}
	}
	rcpts := []string{"a@b.c", "x@y.z"}
	for i := range 6 {
		rcpts = append(rcpts, fmt.Sprintf("kin%d@example.org", i))
	}
	all := apitest.Readings()
	f.Fuzz(func(t *testing.T, in []byte, rewrite bool) {
		m, err := Fit(in, rcpts, rewrite)
		if err != nil {
			return
		}
		whole := slices.Concat(m.Head, m.Rest)
		again, err := Fit(whole, rcpts, false)
		if err != nil {
			t.Fatalf("%q became %q: %v", in, whole, err)
		}
		if len(again.Head) > 0 {
			t.Fatalf("%q became %q, which lacks %q", in, whole, again.Head)
		}
		some := all
		if len(in) > 1000 { // each in turn, lest a seed takes as long as all others
			at := len(in) % (len(all) - 48)
			some = all[at : at+48]
		}
		if err := agree(m, rcpts, some); err != nil {
			t.Fatalf("%q: %v", in, err)
		}
		if _, err := others(m, rcpts, true); err != nil {
			t.Fatalf("%q: %v", in, err)
		}
	})
}
