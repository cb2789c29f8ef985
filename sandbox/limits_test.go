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
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// Nothing of a message whose client vanishes amid it is kept.
func TestVanishedClient(t *testing.T) {
	s := start(t, plain(App{}))
	for _, tail := range []string{"DATA\r\nhalf\r\n", "BDAT 10\r\n0123456789", "BDAT 10 LAST\r\n012"} {
		w := login(t, s, "a@example.com")
		w.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\n" + tail)
		w.want("250", "250")
		w.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.WaitNoConns(ctx); err != nil {
		t.Fatal(err)
	}
	if n := s.MessageCount(); n != 0 {
		t.Errorf("%d messages", n)
	}
	if st := s.Mailbox("a@example.com"); st.Conns != 0 || st.ConnsTotal != 3 {
		t.Errorf("%+v", st)
	}
}

// In a bubble: 30 messages a minute go through, the next waits.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := newSandbox(plain(App{Profile: "microsoft"}), nil)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		c := newConn(s, theirs, false)
		s.wg.Go(c.serve)
		w := &wire{t, ours, bufio.NewReader(ours)}
		w.want("220")
		w.send("EHLO x\r\n")
		w.want("250")
		w.send("AUTH XOAUTH2 " + blob("a@example.com", s.IssueToken("a@example.com")) + "\r\n")
		w.want("235")
		from := time.Now()
		for i := range 61 {
			w.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nBDAT 2 LAST\r\n\r\n")
			w.want("250", "250", "250")
			if took := time.Since(from); took < time.Duration(i/30)*time.Minute || took > time.Duration(i/30)*time.Minute+time.Second {
				t.Fatalf("message %d after %v", i, took)
			}
		}
		if st := s.Mailbox("a@example.com"); st.MaxPerMinute != 30 || st.Limited != 2 {
			t.Errorf("%+v", st)
		}
		ours.Close()
		s.Close()
	})
}

func TestConnectionLimit(t *testing.T) {
	s := start(t, plain(App{Profile: "microsoft"}))
	var ws []*wire
	for range 3 {
		ws = append(ws, login(t, s, "a@example.com"))
	}
	fourth := "S: 220\nC: EHLO x\nS: 250\nC: AUTH XOAUTH2 " + blob("a@example.com", s.IssueToken("a@example.com")) + "\nS: "
	dial(t, s).script(fourth + "432 4.3.2")
	login(t, s, "b@example.com")
	ws[0].script("C: QUIT\nS: 221")
	ws[0].gone()
	waitFor(t, func() bool { return s.Mailbox("a@example.com").Conns == 2 })
	dial(t, s).script(fourth + "235")
	if st := s.Mailbox("a@example.com"); st.ConnsPeak != 3 || st.Limited != 1 || st.ConnsTotal != 4 {
		t.Errorf("%+v", st)
	}
	// The same at DATA.
	s = start(t, plain(App{MaxConnsPerMailbox: 1, ConnLimitAt: "data"}))
	login(t, s, "a@example.com")
	w := login(t, s, "a@example.com")
	w.script("C: MAIL FROM:<a@example.com>\nS: 250\nC: RCPT TO:<b@example.net>\nS: 250\nC: DATA\nS: 432 4.3.2")
	w.send("BDAT 5 LAST\r\nabcd\n")
	w.want("432 4.3.2")
	w.script("C: NOOP\nS: 250")
}

func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	for range 10000 {
		if ok() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("it did not come to pass")
}

func TestLoginLimitAndQuota(t *testing.T) {
	s := start(t, plain(App{Profile: "google", LoginsPerMinute: 2, RecipientsPerDay: 3}))
	w := login(t, s, "a@example.com")
	login(t, s, "a@example.com")
	dial(t, s).script("S: 220\nC: EHLO x\nS: 250\nC: AUTH XOAUTH2 " + blob("a@example.com", s.IssueToken("a@example.com")) + "\nS: 454-4.7.0")
	mail := "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nRCPT TO:<c@example.net>\r\nBDAT 2 LAST\r\n\r\n"
	w.send(mail + mail)
	w.want("250", "250", "250", "250", "250", "250", "250", "550-5.4.5")
	if n := s.MessageCount(); n != 1 {
		t.Errorf("%d messages", n)
	}
}

// A flight is answered a round trip later, and nobody else is held up.
func TestRTT(t *testing.T) {
	const rtt = 20 * time.Millisecond
	s := start(t, plain(App{RTT: 20e6}))
	from := time.Now()
	w := login(t, s, "a@example.com")
	if took := time.Since(from); took < 4*rtt {
		t.Errorf("banner, EHLO and AUTH after %v", took)
	}
	from = time.Now()
	w.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nBDAT 2 LAST\r\n\r\nNOOP\r\n")
	w.want("250", "250", "250", "250")
	if took := time.Since(from); took < rtt {
		t.Errorf("one flight after %v", took)
	}
	w.send("QUIT\r\n")
	w.want("221")
	w.gone()
}

func TestInjectedPlaintext(t *testing.T) {
	s := start(t, &App{})
	w := dial(t, s)
	w.script("S: 220\nC: EHLO x\nS: 250")
	w.send("STARTTLS\r\nMAIL FROM:<evil@example.com>\r\n")
	w.want("220")
	w.Close()
	waitFor(t, func() bool { return s.Stats().Injected == 1 && s.Stats().TLSFailed == 1 })
}

func TestIdleAndFarewell(t *testing.T) {
	s := start(t, plain(App{IdleTimeout: 30e6}))
	w := dial(t, s)
	w.want("220", "421 4.4.2")
	w.gone()
	s = start(t, plain(App{}))
	w = login(t, s, "a@example.com")
	s.Farewell("421 4.3.2 Service shutting down")
	w.want("421 4.3.2")
	w.gone()
	for _, reset := range []bool{false, true} {
		w = login(t, s, "a@example.com")
		if n := s.DropConns(reset); n < 1 {
			t.Errorf("dropped %d", n)
		}
		w.gone()
	}
}

func TestSetListening(t *testing.T) {
	s := start(t, plain(App{}))
	w := login(t, s, "a@example.com")
	if err := s.SetListening(false); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", s.SMTPAddr()); err == nil {
		c.Close()
		t.Fatal("the port is open")
	}
	w.script("C: NOOP\nS: 250")
	if err := s.SetListening(true); err != nil {
		t.Fatal(err)
	}
	login(t, s, "a@example.com")
}

// Counting is exact with many connections at once.
func TestManyConnections(t *testing.T) {
	s := start(t, plain(App{KeepMessages: 50}))
	const conns, each = 16, 50
	done := make(chan struct{})
	for i := range conns {
		w := login(t, s, fmt.Sprintf("m%d@example.com", i%4))
		go func() {
			defer func() { done <- struct{}{} }()
			one := []byte("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nBDAT 6 LAST\r\nhello!")
			for range each {
				_, _ = w.Write(one)
				for range 3 {
					_, _ = w.r.ReadString('\n')
				}
			}
		}()
	}
	for range conns {
		<-done
	}
	st := s.Stats()
	if st.Messages != conns*each || st.Bytes != conns*each*6 || st.ConnsPeak != conns {
		t.Errorf("%+v", st)
	}
	for i := range 4 {
		if ms := st.Mailboxes[fmt.Sprintf("m%d@example.com", i)]; ms.Messages != conns*each/4 || ms.MaxPerMinute != conns*each/4 || ms.ConnsPeak != 4 {
			t.Errorf("%d: %+v", i, ms)
		}
	}
	if kept := s.Messages(); len(kept) != 50 || kept[49].ID != conns*each {
		t.Errorf("kept %d", len(kept))
	}
}
