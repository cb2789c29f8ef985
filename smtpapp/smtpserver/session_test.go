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
	"bytes"
	"encoding/base64"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver/content"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a session that lets one account in and keeps what it is told.
type recorder struct {
	cfg      *Config
	network  Network
	trusting bool // mail needs no login

	authed   bool
	hellos   []string
	logins   []string
	mail     string
	rcpts    []string
	bodies   []string
	results  []Result
	refusals []Refusal
	stalled  func() bool
	wholes   int          // messages sent with their recipient
	refusing error        // the answer to the recipient of those
	holds    relay.Holder // told to the body alone
}

func (s *recorder) Config() *Config    { return s.cfg }
func (s *recorder) Network() Network   { return s.network }
func (s *recorder) Hello(name string)  { s.hellos = append(s.hellos, name) }
func (s *recorder) StartedTLS()        { s.authed = false }
func (s *recorder) MayLogin() bool     { return true }
func (s *recorder) Refused(r Refusal)  { s.refusals = append(s.refusals, r) }
func (s *recorder) Stalled() bool      { return s.stalled != nil && s.stalled() }
func (s *recorder) Finish(res *Result) { s.results = append(s.results, *res) }

func (s *recorder) Login(name, password string) error {
	s.logins = append(s.logins, name+"/"+password)
	if s.authed = name == "user" && password == "secret"; !s.authed {
		return relay.ReplyAuthFailed
	}
	return nil
}

func (s *recorder) Mail(from string, _ *smtp.MailOptions) error {
	if !s.authed && !s.trusting {
		s.Refused(Refusal{Cause: CauseAuthRequired, Reply: relay.ReplyAuthRequired})
		return relay.ReplyAuthRequired
	}
	s.mail, s.rcpts = from, nil
	return nil
}

func (s *recorder) Rcpt(rcpts []relay.Recipient, answers []error) {
	for i, r := range rcpts {
		if strings.HasPrefix(r.To, "no@") {
			answers[i] = &relay.Reply{Code: 550, Lines: []string{"5.1.1 no such user"}}
			continue
		}
		s.rcpts = append(s.rcpts, r.To)
	}
}

func (s *recorder) Data(body io.Reader) (*relay.Reply, error) {
	if s.holds != nil {
		relay.Watch(body, s.holds)
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return nil, relay.ReplyUpstreamLost
	}
	s.bodies = append(s.bodies, string(b))
	return &relay.Reply{Code: 250, Lines: []string{"2.0.0 taken"}}, nil
}

func (s *recorder) Whole(rcpt *relay.Recipient, body io.Reader) (refused error, reply *relay.Reply, err error) {
	s.wholes++
	if s.refusing != nil {
		return s.refusing, nil, nil
	}
	s.rcpts = append(s.rcpts, rcpt.To)
	reply, err = s.Data(body)
	return nil, reply, err
}

func (s *recorder) causes() (list []Cause) {
	for _, r := range s.refusals {
		list = append(list, r.Cause)
	}
	return list
}

// script is a connection that says what it has been given and then ends.
type script struct {
	net.Conn
	in  io.Reader
	out bytes.Buffer
}

func (c *script) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *script) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *script) Close() error                     { return nil }
func (c *script) SetReadDeadline(time.Time) error  { return nil }
func (c *script) SetWriteDeadline(time.Time) error { return nil }
func (c *script) SetDeadline(time.Time) error      { return nil }

func tolerantConfig() *Config {
	cfg := testConfig()
	cfg.BareNewline = BareAuto
	return cfg
}

// talk plays a client's side, cut into pieces, and returns the codes of the
// replies without the greeting.
func talk(s *recorder, cut int, in string) (codes string, end End) {
	if s.cfg == nil {
		s.cfg = tolerantConfig()
	}
	nc := &script{in: &cutReader{b: []byte(in), cut: cut}}
	end = New(nc, s, s.cfg, nil).Serve()
	var list []string
	for line := range strings.SplitSeq(strings.TrimSuffix(nc.out.String(), "\r\n"), "\r\n") {
		if len(line) > 3 && line[3] == ' ' {
			list = append(list, line[:3])
		}
	}
	return strings.TrimPrefix(strings.TrimPrefix(strings.Join(list, " "), "220"), " "), end
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

const login = "EHLO c\r\nAUTH PLAIN AHVzZXIAc2VjcmV0\r\n" // 250 235

// TestHTTP plays web clients. The connection ends at their first line, and
// nothing of what a page hides in the body is obeyed.
func TestHTTP(t *testing.T) {
	const hidden = "EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nboo\r\n.\r\n"
	for _, method := range []string{"GET", "POST", "PUT", "CONNECT", "OPTIONS", "HEAD", "PATCH", "DELETE", "TRACE", "get"} {
		s := &recorder{trusting: true}
		codes, end := talk(s, 512, method+" / HTTP/1.1\r\nHost: x\r\n\r\n"+hidden)
		if codes != "421" || end != EndErrors || !slices.Equal(s.causes(), []Cause{CauseHTTP}) || len(s.bodies) > 0 {
			t.Errorf("%s: %s, %s, %v", method, codes, end, s.refusals)
		}
	}
	for _, first := range []string{
		"PRI * HTTP/2.0\r\n", "Host: x\r\n", "content-type:text/plain\r\n", "X-A_b: 1\tc\r\n", "POST /\x00 x\r\n",
		"GET /" + strings.Repeat("a", 5000) + " HTTP/1.1\r\n", "GET /" + strings.Repeat("a", 50_000) + " HTTP/1.1\r\n",
		"POST / HTTP/1.0\n", "BREW /pot HTTP/1.1\r\n", "EHLO x\r\nGET / HTTP/1.1\r\n", "EHLO x\r\nHost: x\r\n",
	} {
		for _, bare := range []BareNewline{BareAuto, BareReject, BareNormalize} {
			s := &recorder{trusting: true, cfg: tolerantConfig()}
			s.cfg.BareNewline = bare
			codes, _ := talk(s, 512, first+hidden)
			if !strings.HasSuffix(codes, "421") || !slices.Contains(s.causes(), CauseHTTP) || len(s.bodies) > 0 || s.mail != "" {
				t.Errorf("%.30q: %s, %v", first, codes, s.refusals)
			}
		}
	}
	// After a login only what says of itself that it is HTTP ends it.
	for in, want := range map[string]string{
		login + "GET\r\nNOOP\r\n":                        "250 235 500 250",
		login + "GET STATUS\r\nNOOP\r\n":                 "250 235 500 250",
		login + "Host: x\r\nNOOP\r\n":                    "250 235 500 250",
		login + "GET / HTTP/1.1\r\nNOOP\r\n":             "250 235 421",
		login + "MAIL FROM:<a@b> GET\r\nNOOP\r\n":        "250 235 555 250",
		"EHLO c\r\nMAIL FROM:<a@b>\r\nGET x\r\nNOOP\r\n": "250 250 500 250", // a trusted printer
		"GETTING x\r\nNOOP\r\n":                          "500 250",
		"GET\r\nNOOP\r\n":                                "500 250",
	} {
		s := &recorder{trusting: true}
		if codes, _ := talk(s, 512, in); codes != want {
			t.Errorf("%q: %s, want %s", in, codes, want)
		}
	}
}

// TestEarlyTalker sends before the greeting. Only where no login stands between
// a page and the mail is that held against a client.
func TestEarlyTalker(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		client, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = ln.Close()
		if _, err := io.WriteString(client, "EHLO x\r\nQUIT\r\n"); err != nil {
			t.Fatal(err)
		}
		for !readable(server) {
			time.Sleep(time.Millisecond) // the kernel says no more than this
		}
		s := &recorder{cfg: tolerantConfig(), network: Network{Trusted: trusted}}
		end := New(server, s, s.cfg, nil).Serve()
		out, err := io.ReadAll(client)
		if err != nil {
			t.Fatal(err)
		}
		_ = client.Close()
		if trusted {
			if end != EndErrors || !slices.Equal(s.causes(), []Cause{CauseEarlyTalker}) || !strings.HasPrefix(string(out), "421 4.7.0 ") {
				t.Errorf("trusted: %s, %v, %q", end, s.refusals, out)
			}
		} else if end != EndQuit || len(s.refusals) > 0 {
			t.Errorf("others: %s, %v, %q", end, s.refusals, out)
		}
	}
}

// TestJunk says what does nothing for a message until that is enough.
func TestJunk(t *testing.T) {
	for _, command := range []string{"NOOP", "RSET", "VRFY x", "HELP", "EHLO x", "HELO x"} {
		s := &recorder{}
		codes, end := talk(s, 512, strings.Repeat(command+"\r\n", maxJunkEarly+5))
		if n := strings.Count(codes, " "); n != maxJunkEarly || !strings.HasSuffix(codes, " 421") || end != EndErrors ||
			!slices.Equal(s.causes(), []Cause{CauseTooManyCommands}) {
			t.Errorf("%s: %s, %s, %v", command, codes, end, s.refusals)
		}
		s = &recorder{}
		message := "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 0 LAST\r\n"
		codes, end = talk(s, 512, login+strings.Repeat(strings.Repeat("NOOP\r\n", maxJunk-1)+message, 3)+"QUIT\r\n")
		if end != EndQuit || len(s.bodies) != 3 {
			t.Errorf("%d messages, %s, %s", len(s.bodies), end, codes)
		}
	}
}

// TestTolerantSession plays sloppy devices, and the same to a strict server.
func TestTolerantSession(t *testing.T) {
	const ok = "250 235 250 250 354 250"
	rest := "RCPT TO:<b@example.org>\r\nDATA\r\nx\r\n.\r\n"
	for name, tc := range map[string]struct{ in, want, strict string }{
		"no brackets":         {login + "MAIL FROM:a@example.com\r\nRCPT TO: b@example.org\r\nDATA\r\nx\r\n.\r\n", ok, "250 235 501 503 503 500 500"},
		"blank before colon":  {login + "MAIL FROM : <a@example.com>\r\n" + rest, ok, "250 235 501 503 503 500 500"},
		"trailing blank":      {login + "MAIL FROM:<a@example.com> \r\n" + rest, ok, ok},
		"docomo":              {login + "MAIL FROM:<a@example.com>\r\nRCPT TO:<b..c.@docomo.example>\r\nDATA\r\nx\r\n.\r\n", ok, "250 235 250 501 503 500 500"},
		"bare HELO":           {"HELO\r\n" + login[8:] + "MAIL FROM:<a@example.com>\r\n" + rest, ok, "501 503 503 503 503 500 500"},
		"bare EHLO and blank": {"EHLO \r\n" + login[8:] + "MAIL FROM:<a@example.com>\r\n" + rest, ok, "501 503 503 503 503 500 500"},
		"no padding":          {"EHLO c\r\nAUTH PLAIN " + strings.TrimRight(b64("\x00user\x00secret"), "=") + "\r\n", "250 235", "250 235"},
		"no padding, user":    {"EHLO c\r\nAUTH LOGIN\r\ndXNlcg\r\nc2VjcmV0\r\n", "250 334 334 235", "250 334 501 500"},
		"too much padding":    {"EHLO c\r\nAUTH LOGIN\r\ndXNlcg=\r\nc2VjcmV0==\r\n", "250 334 334 235", "250 334 501 500"},
		"blanks in exchange":  {"EHLO c\r\nAUTH LOGIN\r\ndXNlcg== \r\nc2VjcmV0 \t\r\n", "250 334 334 235", "250 334 501 501"},
		"CR in exchange":      {"EHLO c\r\nAUTH LOGIN\r\ndXNlcg==\r\r\nc2VjcmV0\r\r\r\n", "250 334 334 235", "250 334 501 501"},
		"NUL after the name":  {"EHLO c\r\nAUTH LOGIN\r\n" + b64("user\x00") + "\r\n" + b64("secret\x00") + "\r\n", "250 334 334 235", "250 334 334 535"},
		"LF after the name":   {"EHLO c\r\nAUTH LOGIN\r\n" + b64("user\n") + "\r\n" + b64("secret\r\n") + "\r\n", "250 334 334 235", "250 334 334 535"},
		"NUL after PLAIN":     {"EHLO c\r\nAUTH PLAIN " + b64("\x00user\x00secret\x00") + "\r\n", "250 235", "250 501"},
		"LF after PLAIN":      {"EHLO c\r\nAUTH PLAIN " + b64("\x00user\r\n\x00secret\n") + "\r\n", "250 235", "250 535"},
		"blanks after PLAIN":  {"EHLO c\r\nAUTH PLAIN  " + b64("\x00user\x00secret") + "  \r\n", "250 235", "250 501"},
		"CRCRLF commands":     {"EHLO c\r\r\nNOOP\r\r\r\n", "250 250", "501 501"},

		// What no server should take.
		"garbage":           {"EHLO c\r\nAUTH LOGIN\r\ndX=cg\r\n", "250 334 501", "250 334 501"},
		"NUL within":        {"EHLO c\r\nAUTH PLAIN " + b64("\x00us\x00er\x00secret") + "\r\n", "250 501", "250 501"},
		"CR within":         {"NOOP\rQUIT\r\nNOOP\r\n", "501 250", "501 250"},
		"CR in an address":  {login + "MAIL FROM:<a\r@example.com>\r\n", "250 235 501", "250 235 501"},
		"no AUTH PLAIN arg": {"EHLO c\r\nAUTH PLAIN =\r\n", "250 501", "250 501"},
	} {
		for _, cut := range []int{1, 7, 512} {
			for want, strict := range map[string]bool{tc.want: false, tc.strict: true} {
				s := &recorder{cfg: tolerantConfig()}
				s.cfg.Strict = strict || tc.want == tc.strict && cut == 7
				if codes, _ := talk(s, cut, tc.in); codes != want {
					t.Errorf("%s, strict %v, cut %d: %s, want %s; %v", name, strict, cut, codes, want, s.logins)
				}
			}
		}
	}
}

// TestLineEnds sends a message whose lines end in every way, cut anywhere, by
// DATA and BDAT.
func TestLineEnds(t *testing.T) {
	for name, tc := range map[string]struct{ body, want string }{
		"CRLF":              {"a\r\nb\r\n", "a\r\nb\r\n"},
		"CRCRLF":            {"a\r\r\nb\r\r\n", "a\r\nb\r\n"},
		"CRCRCRLF":          {"a\r\r\r\n\r\r\r\nb\r\n", "a\r\n\r\nb\r\n"},
		"LF":                {"a\nb\r\n", "a\r\nb\r\n"},
		"CR":                {"a\rb\r\n", "a\r\nb\r\n"},
		"CR CR":             {"a\r\rb\r\n", "a\r\n\r\nb\r\n"},
		"LF CR":             {"a\n\rb\r\n", "a\r\n\r\nb\r\n"},
		"16 CRs":            {"a" + strings.Repeat("\r", content.MaxRun) + "\nb\r\n", "a\r\nb\r\n"},
		"too many":          {"a" + strings.Repeat("\r", content.MaxRun+1) + "\nb\r\n", ""},
		"16 CRs alone":      {"a" + strings.Repeat("\r", content.MaxRun) + "b\r\n", "a" + strings.Repeat("\r\n", content.MaxRun) + "b\r\n"},
		"NUL":               {"a\x00b\r\n", ""},
		"header and CRCRLF": {"Subject: x\r\r\n\r\r\ntext\r\r\n", "Subject: x\r\n\r\ntext\r\n"},
	} {
		for cut := 1; cut < 8; cut++ {
			envelope := login + "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
			for how, in := range map[string]string{
				"DATA": envelope + "DATA\r\n" + tc.body + ".\r\nNOOP\r\n",
				"BDAT": envelope + chunks(tc.body, cut) + "BDAT 0 LAST\r\nNOOP\r\n",
			} {
				s := &recorder{}
				codes, _ := talk(s, cut, in)
				if tc.want == "" {
					if len(s.bodies) > 0 || !strings.HasSuffix(codes, " 554") {
						t.Errorf("%s, %s: %s, %q", name, how, codes, s.bodies)
					}
					continue
				}
				if !slices.Equal(s.bodies, []string{tc.want}) || !strings.HasSuffix(codes, " 250 250") {
					t.Errorf("%s, %s, cut %d: %s, %q; want %q", name, how, cut, codes, s.bodies, tc.want)
				}
			}
		}
	}
}

// chunks cuts a message into BDAT chunks.
func chunks(body string, size int) string {
	var b strings.Builder
	for len(body) > 0 {
		n := min(size, len(body))
		b.WriteString("BDAT " + string(rune('0'+n)) + "\r\n" + body[:n])
		body = body[n:]
	}
	return b.String()
}

// TestBareNewlineDefault holds whom the default trusts with a lone LF.
func TestBareNewlineDefault(t *testing.T) {
	message := "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\ny\r\n.\r\n"
	for name, tc := range map[string]struct {
		network Network
		in      string
		bodies  int
	}{
		"logged in":                {Network{}, login + message, 1},
		"logged in, trusted":       {Network{Trusted: true}, login + message, 1},
		"by its network":           {Network{Trusted: true}, "EHLO c\r\n" + message, 0},
		"commands, by its network": {Network{Trusted: true}, "EHLO c\nNOOP\n", 0},
	} {
		s := &recorder{network: tc.network, trusting: true}
		codes, end := talk(s, 1, tc.in) // as if it waited for each reply
		if len(s.bodies) != tc.bodies || tc.bodies == 0 && end != EndErrors {
			t.Errorf("%s: %s, %s, %q", name, codes, end, s.bodies)
		}
	}
}

// TestLFOnly plays devices that end everything with LF. A connection has one
// line end: the other one ends it, and neither sequence is ever an end where the
// other one is.
func TestLFOnly(t *testing.T) {
	const lf = "EHLO c\nAUTH LOGIN\ndXNlcg==\nc2VjcmV0\nMAIL FROM:<a@b>\nRCPT TO:<c@d>\n"
	const crlf = login + "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
	const evil = "MAIL FROM:<e@e>"
	for name, tc := range map[string]struct {
		in     string
		bodies []string
		end    End
	}{
		"all LF":            {lf + "DATA\nx\n..y\n.z\n\n.\nQUIT\n", []string{"x\r\n.y\r\nz\r\n\r\n"}, EndQuit},
		"empty":             {lf + "DATA\n.\nQUIT\n", []string{""}, EndQuit},
		"chunks":            {lf + "BDAT 4\nx\ny\nBDAT 3 LAST\n.\nzQUIT\n", []string{"x\r\ny\r\n.\r\nz"}, EndQuit},
		"CRLF.CRLF within":  {lf + "DATA\nx\r\n.\r\n" + evil + "\n.\nQUIT\n", nil, EndErrors},
		"CR.LF within":      {lf + "DATA\nx\r.\n" + evil + "\n.\nQUIT\n", nil, EndErrors},
		"LF.CRLF within":    {lf + "DATA\nx\n.\r\n" + evil + "\n.\nQUIT\n", nil, EndErrors},
		"CRLF command":      {lf + "DATA\nx\n.\nQUIT\r\n", []string{"x\r\n"}, EndErrors},
		"CRLF after EHLO":   {"EHLO c\nNOOP\r\nNOOP\n", nil, EndErrors},
		"CRLF, LF.LF":       {crlf + "DATA\r\nx\n.\n" + evil + "\r\n.\r\nQUIT\r\n", []string{"x\r\n.\r\n" + evil + "\r\n"}, EndQuit},
		"CRLF, LF.CRLF":     {crlf + "DATA\r\nx\n.\r\n" + evil + "\r\n.\r\nQUIT\r\n", []string{"x\r\n.\r\n" + evil + "\r\n"}, EndQuit},
		"CRLF, CRLF.LF":     {crlf + "DATA\r\nx\r\n.\n" + evil + "\r\n.\r\nQUIT\r\n", []string{"x\r\n\r\n" + evil + "\r\n"}, EndQuit},
		"CRLF, CR.CR":       {crlf + "DATA\r\nx\r.\r" + evil + "\r\n.\r\nQUIT\r\n", []string{"x\r\n.\r\n" + evil + "\r\n"}, EndQuit},
		"CRLF, then LF.":    {crlf + "DATA\r\nx\r\n.\r\nQUIT\n", []string{"x\r\n"}, EndQuit},
		"CRLF CR at a time": {crlf + "DATA\r\n\r\r\n.\r\nQUIT\r\n", []string{"\r\n"}, EndQuit},
	} {
		for _, cut := range []int{1, 2, 3, 512} {
			s := &recorder{network: Network{LFOnly: true}}
			codes, end := talk(s, cut, tc.in)
			if !slices.Equal(s.bodies, tc.bodies) || end != tc.end || s.mail == "e@e" {
				t.Errorf("%s, cut %d: %s, %s, %q, %v", name, cut, codes, end, s.bodies, s.causes())
			}
		}
	}
	// Elsewhere LF.LF ends nothing.
	s := &recorder{cfg: tolerantConfig()}
	if codes, _ := talk(s, 512, lf+"DATA\nx\n.\nQUIT\n"); len(s.bodies) > 0 {
		t.Errorf("%s, %q", codes, s.bodies)
	}
}

// TestRefusals holds that each refusal is told, with its cause, and that what is
// told of it holds no secret.
func TestRefusals(t *testing.T) {
	for in, want := range map[string]Cause{
		"WHAT\r\n":            CauseUnknownCommand,
		"EXPN x\r\n":          CauseUnknownCommand,
		"STARTTLS\r\n":        CauseUnknownCommand,
		"MAIL FROM:<a@b>\r\n": CauseBadSequence,
		"DATA\r\n":            CauseBadSequence,
		"NO\x00OP\r\n":        CauseSyntax,
		"RSET x\r\n":          CauseSyntax,
		"BDAT x\r\n":          CauseSyntax,
		"NOOP " + strings.Repeat("x", 3000) + "\r\n":  CauseTooLong,
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc":        CauseTLSOnPlainPort,
		"\x16\x03\x01\x02\x00\x01\x00\n\x00\r\n\x01":  CauseTLSOnPlainPort,
		"EHLO c\r\nAUTH CRAM-MD5\r\n":                 CauseAuthMechanism,
		"EHLO c\r\nAUTH PLAIN !!!\r\n":                CauseAuthMalformed,
		"EHLO c\r\nAUTH LOGIN\r\n*\r\n":               CauseAuthMalformed,
		"EHLO c\r\nMAIL FROM:<a@b>\r\n":               CauseAuthRequired,
		login + "MAIL FROM:<a\r\n":                    CauseSyntax,
		login + "MAIL FROM:<a@b> X=1\r\n":             CauseParameter,
		login + "MAIL FROM:<a@b> SIZE=9999999999\r\n": CauseTooBig,
		login + "MAIL FROM:<a@b>\r\nRCPT TO:<>\r\n":   CauseSyntax,
	} {
		s := &recorder{}
		talk(s, 512, in)
		if len(s.refusals) != 1 || s.refusals[0].Cause != want {
			t.Errorf("%.40q: %v, want %s", in, s.refusals, want)
		}
		for _, r := range s.refusals {
			if strings.Contains(r.Detail, "!!!") || strings.Contains(r.Detail, "AHVz") {
				t.Errorf("%q", r.Detail)
			}
		}
	}
	// Beyond the recipients that are allowed, each is told.
	s := &recorder{cfg: tolerantConfig()}
	s.cfg.MaxRecipients = 2
	codes, _ := talk(s, 512, login+"MAIL FROM:<a@b>\r\n"+strings.Repeat("RCPT TO:<c@d>\r\n", 3))
	if codes != "250 235 250 250 250 452" || !slices.Equal(s.causes(), []Cause{CauseTooManyRecipients}) {
		t.Errorf("%s, %v", codes, s.refusals)
	}
}

// TestResults holds that each transaction has exactly one outcome.
func TestResults(t *testing.T) {
	envelope := login + "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
	for in, want := range map[string]Result{
		envelope + "DATA\r\nabc\r\n.\r\nRSET\r\nQUIT\r\n": {Reply: &relay.Reply{Code: 250}, Data: true, Size: 5, Tried: 1, Accepted: 1},
		envelope + "RSET\r\nRSET\r\n":                     {Tried: 1, Accepted: 1},
		envelope + "QUIT\r\n":                             {Tried: 1, Accepted: 1},
		envelope + "EHLO x\r\n":                           {Tried: 1, Accepted: 1},
		envelope:                                          {Tried: 1, Accepted: 1},
		envelope + "DATA\r\nabc\r\n":                      {Data: true, Tried: 1, Accepted: 1, Size: 5},
		envelope + "DATA\r\na\x00\r\n.\r\n":               {Reply: relay.ReplyNUL, Data: true, Tried: 1, Accepted: 1, Size: 1},
		envelope + "BDAT 3\r\nabcRSET\r\n":                {Data: true, Tried: 1, Accepted: 1, Size: 3},
	} {
		s := &recorder{}
		talk(s, 512, in)
		if len(s.results) != 1 {
			t.Errorf("%q: %d results", in, len(s.results))
			continue
		}
		got := s.results[0]
		if (got.Reply == nil) != (want.Reply == nil) || want.Reply != nil && got.Reply.Code != want.Reply.Code {
			t.Errorf("%q: %v", in, got.Reply)
		}
		got.Reply, want.Reply = nil, nil
		if got != want {
			t.Errorf("%q: %+v, want %+v", in, got, want)
		}
	}
}
