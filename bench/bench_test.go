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

package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/bench/message"
	"github.com/caddymail/mailgateway/bench/sink"
	"github.com/caddymail/mailgateway/bench/smtp"
)

// startSink serves a sink in this process.
func startSink(t *testing.T) (s *sink.Sink, implicit, starttls string, p pki) {
	t.Helper()
	p, err := newPKI(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if s, err = sink.New(p.cert, p.key); err != nil {
		t.Fatal(err)
	}
	s.NewRun(7)
	var addrs [2]string
	for i := range addrs {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs[i] = ln.Addr().String()
		t.Cleanup(func() { _ = ln.Close() })
		go s.Serve(closeQuietly{ln}, i == 0)
	}
	return s, addrs[0], addrs[1], p
}

// closeQuietly blocks instead of failing once it is closed, since the sink
// process accepts until it ends.
type closeQuietly struct{ net.Listener }

func (l closeQuietly) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		select {}
	}
	return c, nil
}

func TestMessageSurvivesStuffing(t *testing.T) {
	for _, size := range []int{200, 4096, 100 << 10} {
		msg, err := message.Template(7, size)
		if err != nil {
			t.Fatal(err)
		}
		if len(msg) != size {
			t.Fatalf("size %d, want %d", len(msg), size)
		}
		message.SetSeq(msg, 0xabc123)
		stuffed := message.Stuff(msg)
		if bytes.Equal(stuffed[:size], msg) {
			t.Fatal("nothing was stuffed: the body has no line that starts with a dot")
		}
		got := message.Unstuff(stuffed[:len(stuffed)-3])
		if !bytes.Equal(got, msg) {
			t.Fatal("unstuffed body differs")
		}
		if m, ok := message.Check(append([]byte("Received: x\r\n"), got...)); !ok || m.Run != 7 || m.Seq != 0xabc123 {
			t.Fatalf("check: %+v, %v", m, ok)
		}
		got[size-3] ^= 1
		if _, ok := message.Check(got); ok {
			t.Fatal("a damaged message passed")
		}
	}
}

func TestDifference(t *testing.T) {
	a, b := message.NewBitmap(1000), message.NewBitmap(1000)
	for _, i := range []uint32{1, 2, 3, 500} {
		a.Set(i)
	}
	for _, i := range []uint32{2, 3, 4} {
		b.Set(i)
	}
	if x, y, err := message.Difference(a.Text(), b.Text()); x != 2 || y != 1 || err != nil {
		t.Fatalf("%d, %d, %v; want 2, 1", x, y, err)
	}
	if fresh, _ := a.Set(500); fresh {
		t.Fatal("a repeated number is fresh")
	}
}

// TestSinkReadsAnyFraming sends one message with every byte in a write of its
// own, by DATA and in BDAT chunks, and once more to see the duplicate.
func TestSinkReadsAnyFraming(t *testing.T) {
	s, addr, _, p := startSink(t)
	cfg, err := clientTLS(p.ca)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := message.Template(7, 300)
	if err != nil {
		t.Fatal(err)
	}
	envelope := "MAIL FROM:<a@bench.test>\r\nRCPT TO:<b@example.net>\r\n"
	for seq, body := range []string{"DATA\r\n%s", "BDAT 100\r\n%[2]sBDAT 200 LAST\r\n%[3]s"} {
		message.SetSeq(msg, uint32(seq))
		script := envelope + fmt.Sprintf(body+"%.0[1]s%.0[2]s%.0[3]s", message.Stuff(msg), msg[:100], msg[100:])
		for _, chunk := range []int{1, 7, len(script)} {
			c, err := tls.Dial("tcp", addr, cfg)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			all := script + "QUIT\r\n"
			for i := 0; i < len(all); i += chunk {
				if _, err := c.Write([]byte(all[i:min(i+chunk, len(all))])); err != nil {
					t.Fatal(err)
				}
			}
			var replies bytes.Buffer
			if _, err := replies.ReadFrom(c); err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(replies.Bytes(), []byte("250 2.0.0 counted\r\n221 ")) {
				t.Fatalf("message %d in writes of %d: %q", seq, chunk, replies.String())
			}
			_ = c.Close()
		}
	}
	if st := s.Stats(false); st.Messages != 2 || st.Duplicates != 4 || st.Corrupt != 0 {
		t.Fatalf("%+v", st)
	}
}

func TestLoadCountsWhatTheSinkCounts(t *testing.T) {
	s, implicit, starttls, p := startSink(t)
	for i, setup := range []loadSetup{
		{Mode: smtp.ModePipeline, Addr: implicit, TLS: "implicit"},
		{Mode: smtp.ModeSerial, Addr: starttls, TLS: "starttls"},
		{Mode: smtp.ModeBDAT, Addr: implicit, TLS: "implicit"},
		{Mode: smtp.ModePipeline, Addr: implicit, TLS: "implicit", Rate: 2000},
	} {
		run := uint32(100 + i)
		s.NewRun(run)
		setup.Run, setup.Clients, setup.Accounts, setup.PerConn, setup.Size, setup.Messages = run, 4, 3, 10, 4096, 95
		setup.Timeout = 20 * time.Second
		l := &loader{loadSetup: setup, dialer: smtp.Dialer{Addr: setup.Addr, TLSMode: setup.TLS, Timeout: setup.Timeout}, accepted: message.NewBitmap(1 << 16)}
		var err error
		if l.dialer.TLS, err = clientTLS(p.ca); err != nil {
			t.Fatal(err)
		}
		if l.msg, err = message.Template(run, setup.Size); err != nil {
			t.Fatal(err)
		}
		l.stuffed = message.Stuff(l.msg)
		f := newFigure(l.loop(), s.Stats(true))
		if f.Failed || f.Sent != 95 || f.Delivered != 95 {
			t.Errorf("%s: %+v", setup.Mode, f)
		}
		want := map[string]float64{smtp.ModePipeline: 2, smtp.ModeSerial: 4, smtp.ModeBDAT: 1}[setup.Mode]
		if f.RoundTrips != want {
			t.Errorf("%s: %.2f round trips a message, want %.0f", setup.Mode, f.RoundTrips, want)
		}
	}
}

// TestFigureNoticesLoss: what was answered 250 and did not arrive fails the row.
func TestFigureNoticesLoss(t *testing.T) {
	sent, arrived := message.NewBitmap(64), message.NewBitmap(64)
	sent.Set(1)
	sent.Set(2)
	arrived.Set(1)
	f := newFigure(&loadResult{Accepted: 2, Bitmap: sent.Text(), CPU: []float64{0}}, sink.Stats{Messages: 1, Bitmap: arrived.Text()})
	if !f.Failed || f.Lost != 1 {
		t.Fatalf("%+v", f)
	}
}

func TestQuartiles(t *testing.T) {
	for _, tc := range []struct {
		in   []float64
		want string
	}{
		{nil, "-"},
		{[]float64{1.1}, "1.10"},
		{[]float64{3, 1, 2}, "2.00"},
		{[]float64{5, 1, 4, 2, 3}, "3.00 (2.00 to 4.00)"},
	} {
		if got := quartilesOf(tc.in).String(); got != tc.want {
			t.Errorf("%v: %s, want %s", tc.in, got, tc.want)
		}
	}
}
