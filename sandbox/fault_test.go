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

package sandbox

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// talk runs a whole transaction as far as it gets and returns the replies, the
// last of them "end" if the connection ended, or "silence".
func talk(t *testing.T, s *Sandbox, framing string, patience time.Duration) []string {
	t.Helper()
	var got []string
	c, err := net.Dial("tcp", s.SMTPAddr())
	if err != nil {
		return []string{"end"}
	}
	defer c.Close()
	w := &wire{t, c, bufio.NewReader(c)}
	token := s.IssueToken("a@example.com")
	for _, cmd := range []string{
		"", "EHLO x\r\n", "AUTH XOAUTH2 " + blob("a@example.com", token) + "\r\n",
		"MAIL FROM:<a@example.com>\r\n", "RCPT TO:<b@example.net>\r\n", "RCPT TO:<c@example.net>\r\n", framing, "NOOP\r\n",
	} {
		if _, err := io.WriteString(w, cmd); err != nil {
			return append(got, "end")
		}
	again:
		_ = w.SetReadDeadline(time.Now().Add(patience))
		code, err := readCode(w)
		if err != nil {
			if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
				return append(got, "silence")
			}
			return append(got, "end")
		}
		got = append(got, code)
		if code == "354" {
			_, _ = io.WriteString(w, "hello\r\n.\r\n")
			goto again
		}
	}
	return got
}

func readCode(w *wire) (string, error) {
	total := 0
	for {
		l, err := w.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if total += len(l); len(l) > 1<<20 {
			return "long", nil
		} else if total > 1<<20 {
			return "endless", nil
		}
		if len(l) < 4 || l[0] < '2' || l[0] > '5' {
			return "garbage", nil
		}
		if l[3] != '-' {
			return l[:3], nil
		}
	}
}

func TestFaults(t *testing.T) {
	const data, bdat = "DATA\r\n", "BDAT 7 LAST\r\nhello\r\n"
	for _, tc := range []struct {
		f       Fault
		framing string
		want    string // the replies from the stage on
		kept    uint64
	}{
		{Fault{Stage: "connect", Action: "refuse"}, data, "end", 0},
		{Fault{Stage: "connect", Action: "hang"}, data, "silence", 0},
		{Fault{Stage: "banner", Action: "reply", Reply: "421 4.3.2 No"}, data, "421 end", 0},
		{Fault{Stage: "banner", Action: "reply", Reply: "554 No"}, data, "554 250 235 250 250 250 354 250 250", 1},
		{Fault{Stage: "banner", Action: "endless_multiline"}, data, "endless", 0},
		{Fault{Stage: "ehlo", Action: "long_line"}, data, "220 long", 1},
		{Fault{Stage: "ehlo", Action: "garbage"}, data, "220 garbage 503", 0},
		{Fault{Stage: "auth", Action: "reply", Reply: "535 5.7.8 No"}, data, "220 250 535 530", 0},
		{Fault{Stage: "auth", Action: "reply", Reply: "432 4.3.2 No"}, data, "220 250 432", 0},
		{Fault{Stage: "auth", Action: "hang"}, data, "220 250 silence", 0},
		{Fault{Stage: "auth", Action: "hang", Mailbox: "x@example.com"}, data, "220 250 235 250 250 250 354 250 250", 1},
		{Fault{Stage: "ready", Action: "reply", Reply: "421 4.7.0 Bye", Conn: "fresh"}, data, "220 250 235 421 end", 0},
		{Fault{Stage: "ready", Action: "close", Conn: "pooled"}, data, "220 250 235 250 250 250 354 250 end", 1},
		{Fault{Stage: "mail", Action: "reply", Reply: "421 4.7.0 Bye"}, data, "220 250 235 421 end", 0},
		{Fault{Stage: "mail", Action: "reset"}, data, "220 250 235 end", 0},
		{Fault{Stage: "rcpt", Nth: 2, Action: "reply", Reply: "451 4.2.0 No\n451 Later"}, data, "220 250 235 250 250 451 354 250 250", 1},
		{Fault{Stage: "rcpt", Nth: 2, Action: "reset"}, data, "220 250 235 250 250 end", 0},
		{Fault{Stage: "rcpt", Nth: 1, Action: "long_line"}, data, "220 250 235 250 long", 1},
		{Fault{Stage: "data", Action: "close"}, data, "220 250 235 250 250 250 end", 0},
		{Fault{Stage: "data", Action: "reply", Reply: "451 4.3.0 No"}, data, "220 250 235 250 250 250 451 250", 0},
		{Fault{Stage: "data", Action: "close"}, bdat, "220 250 235 250 250 250 250 250", 1},
		{Fault{Stage: "bdat", Action: "reset"}, bdat, "220 250 235 250 250 250 end", 0},
		{Fault{Stage: "bdat", Action: "reply", Reply: "451 4.3.0 No"}, bdat, "220 250 235 250 250 250 451 250", 0},
		{Fault{Stage: "bdat", Action: "reply", Reply: "421 4.3.0 No"}, bdat, "220 250 235 250 250 250 421 end", 0},
		{Fault{Stage: "bdat", Action: "garbage"}, bdat, "220 250 235 250 250 250 garbage 250", 0},
		{Fault{Stage: "body", Action: "close", AfterBytes: 3}, data, "220 250 235 250 250 250 354 end", 0},
		{Fault{Stage: "body", Action: "reset", AfterBytes: 3}, bdat, "220 250 235 250 250 250 end", 0},
		{Fault{Stage: "body", Action: "reply", Reply: "421 4.3.0 No"}, bdat, "220 250 235 250 250 250 421 end", 0},
		{Fault{Stage: "end", Action: "reply", Reply: "421 4.3.0 No"}, data, "220 250 235 250 250 250 354 421 end", 0},
		{Fault{Stage: "end", Action: "reply", Reply: "554 5.7.1 No"}, bdat, "220 250 235 250 250 250 554 250", 0},
		{Fault{Stage: "end", Action: "reply", Reply: "250 Fine"}, data, "220 250 235 250 250 250 354 250 250", 1},
		{Fault{Stage: "end", Action: "hang"}, bdat, "220 250 235 250 250 250 silence", 0},
		{Fault{Stage: "end", Action: "drop_after_accept"}, data, "220 250 235 250 250 250 354 end", 1},
		{Fault{Stage: "end", Action: "drop_after_accept"}, bdat, "220 250 235 250 250 250 end", 1},
		{Fault{Stage: "end", Action: "long_line"}, bdat, "220 250 235 250 250 250 long", 1},
		{Fault{Stage: "end", Action: "delay", Delay: 1e6}, bdat, "220 250 235 250 250 250 250 250", 1},
		{Fault{Stage: "noop", Action: "reply", Reply: "500 No"}, bdat, "220 250 235 250 250 250 250 500", 1},
	} {
		name := tc.f.Stage + " " + tc.f.Action + " " + tc.f.Reply + " " + tc.framing[:4]
		t.Run(name, func(t *testing.T) {
			s := start(t, plain(App{Faults: []Fault{tc.f}}))
			patience := 20 * time.Second
			if tc.f.Action == "hang" && tc.f.Mailbox == "" {
				patience = 200 * time.Millisecond
			}
			got := strings.Join(talk(t, s, tc.framing, patience), " ")
			if !strings.HasPrefix(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if n := s.MessageCount(); n != tc.kept {
				t.Errorf("%d messages kept, want %d", n, tc.kept)
			}
			if f := s.Faults()[0]; (f.Hits == 0) != (tc.f.Mailbox != "" || tc.f.Stage == "data" && tc.framing == bdat) {
				t.Errorf("%d hits", f.Hits)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if err := s.WaitNoConns(ctx); err != nil {
				t.Error("a connection is left")
			}
		})
	}
}

func TestFaultCounts(t *testing.T) {
	s := start(t, plain(App{}))
	w := login(t, s, "a@example.com")
	if _, err := s.AddFault(Fault{Stage: "mail", Action: "reply", Reply: "451 No", Skip: 1, Times: 2}); err != nil {
		t.Fatal(err)
	}
	one := "C: MAIL FROM:<a@example.com>\nS: %\nC: RSET\nS: 250\n"
	for _, code := range []string{"250", "451", "451", "250"} {
		w.script(strings.ReplaceAll(one, "%", code))
	}
	s.ClearFaults()
	id, _ := s.AddFault(Fault{Stage: "mail", Action: "reply", Reply: "450 No", AfterMessages: 1})
	w.script(strings.ReplaceAll(one, "%", "250"))
	w.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nBDAT 2 LAST\r\n\r\n")
	w.want("250", "250", "250")
	w.script(strings.ReplaceAll(one, "%", "450"))
	s.RemoveFault(id)
	w.script(strings.ReplaceAll(one, "%", "250"))
}

func TestFaultValidation(t *testing.T) {
	for want, f := range map[string]Fault{
		"unrecognized stage 'x'":  {Stage: "x", Action: "close"},
		"unrecognized action 'x'": {Stage: "mail", Action: "x"},
		"want a three-digit code": {Stage: "mail", Action: "reply", Reply: "no"},
		"delay: must be":          {Stage: "mail", Action: "delay"},
		"stage tls only":          {Stage: "mail", Action: "wrong_certificate"},
		"stage end only":          {Stage: "mail", Action: "drop_after_accept"},
		"stage connect only":      {Stage: "mail", Action: "refuse"},
		"unrecognized conn 'x'":   {Stage: "mail", Action: "close", Conn: "x"},
		"must not be negative":    {Stage: "mail", Action: "close", Nth: -1},
	} {
		if err := f.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if _, err := Start(&App{Faults: []Fault{f}}, nil); err == nil || !strings.Contains(err.Error(), "fault 0: ") {
			t.Errorf("Start: %v", err)
		}
	}
}

func TestTLSFaults(t *testing.T) {
	s := start(t, &App{})
	shake := func() error {
		c, err := tls.Dial("tcp", s.SMTPSAddr(), s.clientTLS())
		if err == nil {
			c.Close()
		}
		return err
	}
	for action, want := range map[string]string{"wrong_certificate": "x509", "garbage": "tls", "close": "EOF", "reset": "reset"} {
		if _, err := s.AddFault(Fault{Stage: "tls", Action: action}); err != nil {
			t.Fatal(err)
		}
		if err := shake(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", action, err)
		}
		s.ClearFaults()
	}
	if err := shake(); err != nil {
		t.Error(err)
	}
}
