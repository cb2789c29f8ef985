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

package upstreampool

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// TestNeeds: what the message has decides, not what the client says of it.
func TestNeeds(t *testing.T) {
	both := &smtp.MailOptions{UTF8: true, Body: smtp.Body8BitMIME, Size: 10, Return: smtp.DSNReturnFull}
	eight := &smtp.MailOptions{Body: smtp.Body8BitMIME}
	utf := &smtp.MailOptions{UTF8: true}
	long := strings.Repeat("0123456789abcdef\r\n", 40000)
	for name, tc := range map[string]struct {
		opts     *smtp.MailOptions
		from, to string
		body     string
		caps     string // beside AUTH
		want     *relay.Reply
	}{
		"ASCII":                            {both, "f@a.test", "t@b.test", "Subject: x\r\n\r\nhi\r\n", "", nil},
		"ASCII, long":                      {both, "f@a.test", "t@b.test", "Subject: x\r\n\r\n" + long, "CHUNKING", nil},
		"sender":                           {utf, "é@a.test", "t@b.test", "Subject: x\r\n\r\nhi\r\n", "", relay.ReplyNoSMTPUTF8},
		"recipient":                        {utf, "f@a.test", "é@b.test", "Subject: x\r\n\r\nhi\r\n", "", relay.ReplyNoSMTPUTF8},
		"header":                           {utf, "f@a.test", "t@b.test", "Subject: é\r\n\r\nhi\r\n", "8BITMIME", relay.ReplyNoSMTPUTF8},
		"body, SMTPUTF8 said":              {utf, "f@a.test", "t@b.test", "Subject: x\r\n\r\né\r\n", "", nil},
		"body":                             {eight, "f@a.test", "t@b.test", "Subject: x\r\n\r\né\r\n", "", relay.ReplyNo8BITMIME},
		"body, late":                       {eight, "f@a.test", "t@b.test", "Subject: x\r\n\r\n" + long + "é\r\n", "", relay.ReplyNo8BITMIME},
		"body, late, in chunks":            {eight, "f@a.test", "t@b.test", "Subject: x\r\n\r\n" + long + "é\r\n", "CHUNKING", relay.ReplyNo8BITMIME},
		"header beside a provider with it": {both, "é@a.test", "é@b.test", "Subject: é\r\n\r\né\r\n", "SMTPUTF8 8BITMIME", nil},
	} {
		for _, way := range []string{"faithful", "deferred"} {
			t.Run(name+"/"+way, func(t *testing.T) {
				p := newProvider(t, func(p *provider) { p.caps = append(strings.Fields(tc.caps), "PIPELINING", "AUTH PLAIN") })
				u := start(t, testSettings(t, p))
				var err error
				if way == "deferred" {
					_, _, err = u.send(t.Context(), testAccount("a@a.test"), tc.from, tc.opts, relay.Recipient{To: tc.to}, strings.NewReader(tc.body))
				} else {
					err = func() error {
						tx, err := u.begin(t.Context(), testAccount("a@a.test"), tc.from, tc.opts)
						if err != nil {
							return err
						}
						defer tx.Abort()
						if err := tx.Rcpt(t.Context(), tc.to, nil); err != nil {
							return err
						}
						_, err = tx.Data(t.Context(), strings.NewReader(tc.body))
						return err
					}()
				}
				if tc.want == nil && err != nil || tc.want != nil && !errors.Is(err, tc.want) {
					t.Errorf("outcome %v, want %v", err, tc.want)
				}
				if held := p.holds(tc.body); (held == 1) != (tc.want == nil) {
					t.Errorf("held %d times", held)
				}
				for _, l := range p.commands() {
					if strings.HasPrefix(l, "MAIL") && tc.caps != "SMTPUTF8 8BITMIME" && strings.ContainsAny(l, " =") && l != "MAIL FROM:<"+tc.from+">" {
						t.Errorf("%s: a parameter that was not announced", l)
					}
				}
			})
		}
	}
}

// TestEcho has the provider quote the credentials, in every shape and cut
// everywhere: no octet of them, beyond what fits by chance, is kept.
func TestEcho(t *testing.T) {
	token := "ya29.a0AfH6SMBx-Zz_9" + strings.Repeat("QwErTy123-_", 20)
	blob := base64.StdEncoding.EncodeToString([]byte(xoauth2(token)))
	for name, text := range map[string]string{
		"plain":       "cannot parse: user=a@a.test auth=Bearer " + token,
		"base64":      "cannot parse " + base64.StdEncoding.EncodeToString([]byte(token)),
		"shifted":     "cannot parse " + base64.StdEncoding.EncodeToString([]byte("ab"+token)),
		"blob":        "cannot parse " + blob,
		"oauthbearer": base64.StdEncoding.EncodeToString([]byte("n,a=a@a.test,\x01host=h\x01port=1\x01auth=Bearer " + token + "\x01\x01")),
		"URL":         base64.URLEncoding.EncodeToString([]byte(xoauth2(token))),
		"cut":         "cannot parse " + blob[20:90] + "...",
		"lines":       "cannot parse " + token[:50] + "\r\n535 " + token[50:],
	} {
		for _, stage := range []string{"AUTH", "MAIL", "RCPT", "<end>"} {
			t.Run(name+"/"+stage, func(t *testing.T) {
				p := newProvider(t, func(p *provider) {
					p.hook = func(_ *serverConn, line string) string {
						if strings.HasPrefix(line, stage) {
							return "535-5.5.2 " + strings.ReplaceAll(text, "\r\n535 ", "\r\n535-") + "\r\n535 5.5.2 end"
						}
						return ""
					}
				})
				k := &tokens{}
				s := oauthSettings(t, p, k, smtpclient.XOAUTH2)
				k.fixed = token
				err := deliver(start(t, s), testAccount("a@a.test"), "x")
				r, ok := errors.AsType[*relay.Reply](err)
				if !ok {
					t.Fatalf("outcome %v: want a refusal", err)
				}
				said := err.Error() + string(r.Append(nil))
				for _, form := range echoForms(token) {
					for i := 0; i+12 <= len(form); i++ {
						if strings.Contains(said, form[i:i+12]) {
							t.Fatalf("%q holds a piece of the token", said)
						}
					}
				}
			})
		}
	}
}

func xoauth2(token string) string {
	return "user=a@a.test\x01auth=Bearer " + token + "\x01\x01"
}

// echoForms are the shapes in which a token can come back: as it is, and in
// base64 at each of the three places within a blob.
func echoForms(token string) []string {
	forms := []string{token}
	for skip := range 3 {
		part := token[skip:]
		part = part[:len(part)/3*3]
		forms = append(forms, base64.StdEncoding.EncodeToString([]byte(part)), base64.URLEncoding.EncodeToString([]byte(part)))
	}
	return forms
}
