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

package smtpserver

import (
	"slices"
	"strings"
	"testing"
)

// TestSloppyCommands plays what devices make of commands, and the same to a
// strict server.
func TestSloppyCommands(t *testing.T) {
	const ok = "250 235 250 250 354 250"
	message := func(mail, rcpt string) string {
		return login + mail + "\r\n" + rcpt + "\r\nDATA\r\nx\r\n.\r\n"
	}
	const mail, rcpt = "MAIL FROM:<a@b>", "RCPT TO:<c@d>"
	const noMail, noRcpt = "250 235 501 503 503 500 500", "250 235 250 501 503 500 500"
	plain := b64("\x00user\x00secret")
	for name, tc := range map[string]struct{ in, want, strict string }{
		"tabs in MAIL":             {message("MAIL\tFROM:\t<a@b>\tSIZE=1\t", rcpt), ok, noMail},
		"tabs in RCPT":             {message(mail, "RCPT TO:\t<c@d>"), ok, noRcpt},
		"blanks before the verb":   {message("  MAIL FROM:<a@b>", "\tRCPT TO:<c@d>"), ok, "250 235 500 501 503 500 500"},
		"no colon":                 {message("MAIL FROM <a@b>", "RCPT TO<c@d>"), ok, noMail},
		"a From in MAIL":           {message(`MAIL FROM:<"The scanner" <a@b>>`, rcpt), ok, noMail},
		"a From in RCPT":           {message(mail, "RCPT TO:You (there) <c@d> (x)"), ok, noRcpt},
		"brackets twice":           {message("MAIL FROM:<<a@b>>", rcpt), ok, noMail},
		"no blank before SIZE":     {message("MAIL FROM:<a@b>SIZE=1", rcpt), ok, noMail},
		"SIZE and AUTH of nothing": {message("MAIL FROM:<a@b> AUTH= SIZE= BODY=", rcpt), ok, noMail},
		"a source route":           {message("MAIL FROM:<@x.example,@y.example:a@b>", "RCPT TO:<@x.example:c@d>"), ok, ok},
		"a list with one":          {message("MAIL FROM:<a@b>;", "RCPT TO:<c@d;>,"), ok, noMail},
		"a list without brackets":  {message(mail, "RCPT TO:c@d;"), ok, noRcpt},
		"quotes around":            {message("MAIL FROM:<'a@b'>", "RCPT TO:\"c@d\""), ok, noMail},
		"a prefix":                 {message("MAIL FROM:<mailto:a@b>", "RCPT TO:<SMTP:c@d>"), ok, noMail},
		"a byte order mark":        {"\ufeff" + message(mail, rcpt), ok, "500 503 503 503 503 500 500"},
		"QUIT with words":          {"QUIT now\r\n", "221", "501"},
		"blanks in PLAIN":          {"EHLO\tc\r\nAUTH \tPLAIN\t" + plain[:8] + " " + plain[8:] + "\r\n", "250 235", "501 501"},
		"an empty response first":  {"EHLO c\r\nAUTH PLAIN =\r\n" + plain + "\r\n", "250 334 235", "250 501 500"},
		"padding twice":            {"EHLO c\r\nAUTH LOGIN\r\n" + b64("user") + "==\r\n" + b64("secret") + "=\r\n", "250 334 334 235", "250 334 501 500"},
		"leftover bits":            {"EHLO c\r\nAUTH LOGIN\r\ndXNlch==\r\nc2VjcmV0\r\n", "250 334 334 235", "250 334 501 500"},
		"blanks around the name":   {"EHLO c\r\nAUTH LOGIN\r\n" + b64(" user ") + "\r\n" + b64("secret") + "\r\n", "250 334 334 235", "250 334 334 535"},

		// What may be half of an address, or two of them, or another one.
		"half brackets": {message("MAIL FROM:<a@b", rcpt), noMail, noMail},
		"two":           {message(mail, "RCPT TO:<c@d>,<e@f>"), noRcpt, noRcpt},
		"two in one":    {message(mail, "RCPT TO:<c@d <e@f>>"), noRcpt, noRcpt},
		"two, a comma":  {message(mail, "RCPT TO:<c@d,e@f>"), noRcpt, noRcpt},
		"a route alone": {message(mail, "RCPT TO:<mailto:@d>"), noRcpt, noRcpt},
		"a quoted tab":  {message(mail, "RCPT TO:<\"c\t\"@d>"), noRcpt, noRcpt},
		"password":      {"EHLO c\r\nAUTH LOGIN\r\n" + b64("user") + "\r\n" + b64(" secret") + "\r\n", "250 334 334 535", "250 334 334 535"},
	} {
		for _, cut := range []int{1, 512} {
			for _, strict := range []bool{false, true} {
				s, want := &recorder{cfg: tolerantConfig()}, tc.want
				if s.cfg.Strict = strict; strict {
					want = tc.strict
				}
				codes, _ := talk(s, cut, tc.in)
				if codes != want {
					t.Errorf("%s, strict %v, cut %d: %s, want %s; %v", name, strict, cut, codes, want, s.logins)
				}
				if strings.HasSuffix(codes, ok) && s.mail != "a@b" {
					t.Errorf("%s: from %q", name, s.mail)
				}
			}
		}
	}
}

// TestSloppyReasons holds that the log says what is wrong with an address, and nothing
// of the address.
func TestSloppyReasons(t *testing.T) {
	long := strings.Repeat("secret", 50)
	for args, want := range map[string]string{
		"RCPT TO:<secret@d>,<e@f>":                               "RCPT: more than one address in a command",
		"RCPT TO:<secret@d;e@f>":                                 "RCPT: more than one address in a command",
		"RCPT TO:<secret@d> <e@f>":                               "RCPT: more than one address in a command",
		"RCPT TO:&lt;secret@d&gt;":                               "RCPT: the brackets are written as HTML or a URL has them",
		"RCPT TO:<secret@d":                                      "RCPT: one bracket alone",
		"RCPT TO:<secret@d>>":                                    "RCPT: one bracket alone",
		"RCPT TO:<secret>":                                       "RCPT: an address without @",
		"RCPT TO:<secret@>":                                      "RCPT: an address without domain",
		"RCPT TO:<>":                                             "RCPT: the null path is for senders alone",
		"RCPT TO:":                                               "RCPT: no address",
		"RCPT FROM:<secret@d>":                                   "RCPT: TO: does not follow",
		"RCPT":                                                   "RCPT: TO: does not follow",
		"RCPT TO:<secr\xfct@d>":                                  "RCPT: letters that are not ASCII, nor UTF-8",
		"RCPT TO:<secr\u00fct@d>":                                "RCPT: letters that are not ASCII, in an address or without SMTPUTF8",
		"RCPT TO:<sec:ret@d>":                                    "RCPT: characters that no address has there",
		"RCPT TO:<secret@[::1]>":                                 "RCPT: characters that no address has there",
		"RCPT TO:<" + long + "@d>":                               "RCPT: an address that is longer than any may be",
		"RCPT TO:<a@" + long[:64] + ".d>":                        "RCPT: a part of a domain that is longer than any may be",
		"RCPT TO:<secret@d> NOTIFY=":                             "RCPT: the parameter NOTIFY has a value that it cannot have",
		"RCPT TO:<secret@d> NOTIFY=NEVER SIZE=":                  "RCPT: the parameter SIZE, which was not announced",
		"RCPT TO:<secret@d> ORCPT=secret@d":                      "RCPT: the parameter ORCPT has a value that it cannot have",
		"RCPT TO:<secret@d> notify=never NOTIFY=never":           "RCPT: the parameter NOTIFY stands twice",
		"RCPT TO:<secret@d> RRVS=2026-01-01T00:00:00Z":           "RCPT: the parameter RRVS, which was not announced",
		"RCPT TO:<secret@d> secret@d":                            "RCPT: more than one address in a command",
		"RCPT TO:<secret@d> X=secret":                            "RCPT: the parameter X, which was not announced",
		"RCPT TO:<secret@d> secret":                              "RCPT: what follows the address",
		"RCPT TO:<secret@d> " + long + "=x":                      "RCPT: what follows the address",
		"RSET\r\nMAIL FROM:<secret@d> SIZE=-1":                   "MAIL: the parameter SIZE has a value that it cannot have",
		"RSET\r\nMAIL FROM=<secret@d>":                           "MAIL: FROM: does not follow",
		"RSET\r\nMAIL TO:<secret@d>":                             "MAIL: FROM: does not follow",
		"RSET\r\nMAIL FROM:<secret@d> SIZE=1 FOO=secret":         "MAIL: the parameter FOO, which was not announced",
		"RSET\r\nMAIL FROM:<secret@d> SIZE=1 requiretls":         "MAIL: the parameter REQUIRETLS, which was not announced",
		"RSET\r\nMAIL FROM:<secret@d> TRANSID=<1@secret>":        "MAIL: the parameter TRANSID, which was not announced",
		"RSET\r\nMAIL FROM:<secret@d> SUBMITTER=secret@d":        "MAIL: the parameter SUBMITTER, which was not announced",
		"RSET\r\nMAIL FROM:<secret@d> BODY=BINARYMIME":           "MAIL: the parameter BODY=BINARYMIME, which was not announced",
		"RSET\r\nMAIL FROM:<secret@d> BODY=7BIT BODY=8BITMIME":   "MAIL: the parameter BODY stands twice",
		"RSET\r\nMAIL FROM:<secret@d> SIZE=1 ENVID=secret=x":     "MAIL: the parameter ENVID has a value that it cannot have",
		"RSET\r\nMAIL FROM:<secret@d> SIZE=99999999999999999999": "MAIL: the parameter SIZE is beyond max_message_size",
		"RSET\r\nMAIL FROM:<secret\u00fc@d> SIZE=1":              "MAIL: letters that are not ASCII, in an address or without SMTPUTF8",
		"RSET\r\nMAIL FROM:<secret@d> S3cret!":                   "MAIL: what follows the address",
	} {
		s := &recorder{cfg: tolerantConfig()}
		codes, _ := talk(s, 512, login+"MAIL FROM:<a@b>\r\n"+args+"\r\n")
		if len(s.refusals) != 1 || s.refusals[0].Detail != want || strings.Contains(strings.ToLower(s.refusals[0].Detail), "secr") {
			t.Errorf("%s: %s, %+v, want %s", args, codes, s.refusals, want)
		}
	}
}

// TestMessageAfterRefusal holds that a device that sends its message although it may not
// is not taken for a browser, as which nobody would look for its password.
func TestMessageAfterRefusal(t *testing.T) {
	s := &recorder{cfg: tolerantConfig()}
	_, end := talk(s, 512, "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nFrom: a@b\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n")
	if causes := s.causes(); slices.Contains(causes, CauseHTTP) || end == EndQuit {
		t.Errorf("%s, %v", end, causes)
	}
	s = &recorder{cfg: tolerantConfig()}
	if talk(s, 512, "DATA\r\nPOST / HTTP/1.1\r\nHost: x\r\n\r\n"); !slices.Contains(s.causes(), CauseHTTP) {
		t.Errorf("a request: %v", s.causes())
	}
}

// TestCRCRLFOnly plays devices that end everything with CR CR LF, the last dot
// too, and clients that have it in a message only: there it ends none.
func TestCRCRLFOnly(t *testing.T) {
	const all = "EHLO c\r\r\nAUTH LOGIN\r\r\ndXNlcg==\r\r\nc2VjcmV0\r\r\nMAIL FROM:<a@b>\r\r\nRCPT TO:<c@d>\r\r\nDATA\r\r\n"
	const crlf = login + "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"
	const evil = "MAIL FROM:<e@e>"
	for name, tc := range map[string]struct {
		in   string
		want string
	}{
		"all":             {all + "x\r\r\n..y\r\r\n\r\r\n.\r\r\nQUIT\r\r\n", "x\r\n.y\r\n\r\n"},
		"empty":           {all + ".\r\r\nQUIT\r\r\n", ""},
		"three":           {strings.ReplaceAll(all+"x\r\r\n.\r\r\nQUIT\r\r\n", "\r\r", "\r\r\r"), "x\r\n"},
		"CRLF at its end": {all + "x\r\n.\r\nQUIT\r\n", "x\r\n"},
		"a dot and CRs":   {all + "x\r\r\n.\r\ry\r\r\n.\r\r\nQUIT\r\r\n", "x\r\n\r\n\r\ny\r\n"},
		"LF.CRCRLF":       {all + "x\n.\r\r\n" + evil + "\r\r\n.\r\r\nQUIT\r\r\n", "x\r\n.\r\n" + evil + "\r\n"},
		"CR.CRCRLF":       {all + "x\r.\r\r\n" + evil + "\r\r\n.\r\r\nQUIT\r\r\n", "x\r\n.\r\n" + evil + "\r\n"},
		"CRLF.LF":         {all + "x\r\n.\n" + evil + "\r\r\n.\r\r\nQUIT\r\r\n", "x\r\n\r\n" + evil + "\r\n"},
		"began with CRLF": {crlf + "x\r\n.\r\r\n" + evil + "\r\n.\r\nQUIT\r\n", "x\r\n\r\n" + evil + "\r\n"},
		"CRCRLF.CRCRLF":   {crlf + "x\r\r\n.\r\r\n" + evil + "\r\n.\r\nQUIT\r\n", "x\r\n\r\n" + evil + "\r\n"},
		"EHLO only after": {strings.Replace(crlf, "DATA\r\n", "DATA\r\r\n", 1) + "x\r\n.\r\r\n" + evil + "\r\n.\r\nQUIT\r\n", "x\r\n\r\n" + evil + "\r\n"},
	} {
		for _, cut := range []int{1, 2, 3, 5, 512} {
			s := &recorder{cfg: tolerantConfig()}
			codes, end := talk(s, cut, tc.in)
			if !slices.Equal(s.bodies, []string{tc.want}) || end != EndQuit || s.mail == "e@e" {
				t.Errorf("%s, cut %d: %s, %s, %q, %v", name, cut, codes, end, s.bodies, s.causes())
			}
		}
	}
	for _, s := range []*recorder{{cfg: testConfig()}, {cfg: tolerantConfig(), network: Network{Trusted: true}}} {
		if s.cfg.Strict = !s.network.Trusted; s.network.Trusted {
			s.cfg.BareNewline = BareReject
		}
		in := all + "x\r\r\n.\r\r\nQUIT\r\r\n"
		if codes, _ := talk(s, 512, in); len(s.bodies) > 0 {
			t.Errorf("strict %v: %s, %q", s.cfg.Strict, codes, s.bodies)
		}
	}
}

// TestMechanismIsNoSecret holds that what stands in the place of a mechanism
// reaches the log only if it is one: some clients put the password there.
func TestMechanismIsNoSecret(t *testing.T) {
	secret := b64("\x00user\x00secret")
	for in, want := range map[string]string{
		"AUTH PLAIN=" + secret: "", "AUTH PLAIN:" + secret: "", "AUTH " + secret: "", "AUTH secret user": "", "AUTH \"PLAIN\" " + secret: "",
		"AUTH ntlm " + secret: "NTLM", "AUTH CRAM-MD5": "CRAM-MD5", "AUTH scram-sha-256": "SCRAM-SHA-256",
	} {
		for _, verb := range []string{in, strings.Replace(in, "AUTH ", "AUTH  ", 1)} {
			s := &recorder{}
			if codes, _ := talk(s, 512, "EHLO c\r\n"+verb+"\r\n"); codes != "250 504" || len(s.refusals) != 1 || s.refusals[0].Detail != want {
				t.Errorf("%s: %s, %+v", verb, codes, s.refusals)
			}
		}
	}
	s := &recorder{}
	if codes, _ := talk(s, 512, "EHLO c\r\nAUTH=PLAIN "+secret+"\r\n"+secret+"\r\n"); codes != "250 500 500" || strings.Contains(s.refusals[0].Detail+s.refusals[1].Detail, secret[:8]) {
		t.Errorf("%s, %+v", codes, s.refusals)
	}
}
