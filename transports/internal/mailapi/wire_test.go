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
package mailapi

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/testpki"
	"github.com/caddymail/mailgateway/relay"
)

// posting is a transport that posts to a URL and takes 202 for sent.
func posting(t *testing.T, url string, stream bool, timeout time.Duration, roots *x509.CertPool) *Upstream {
	t.Helper()
	u := limited(t, &Upstream{Roots: roots, Timeout: timeout})
	u.Tokens, u.Logger, u.ContentType = tokens{}, zap.NewNop(), "text/plain"
	u.URL = func(*accounts.Account) string { return url }
	u.Prepare = func(_ *accounts.Account, _ []string, body io.Reader) (*Body, *relay.Reply) {
		if stream {
			return Stream(body), nil
		}
		b, err := hold(body)
		if err != nil {
			return nil, Misfit(err)
		}
		return b, nil
	}
	u.Read = func(ans *Answer) Verdict {
		switch {
		case ans.Status == http.StatusAccepted:
			return Verdict{Reply: relay.ReplyAPIOK("1"), Outcome: Outcome{Sent: true}}
		case ans.Status >= 500 || ans.Status < 300:
			return Verdict{Reply: relay.ReplyAPIUnknown, Outcome: Outcome{Unknown: true}}
		}
		return Verdict{Reply: relay.ReplyAPI(554, 5, 0, 0, fmt.Sprintf("HTTP %d %s", ans.Status, ans.Body)), Outcome: Outcome{}}
	}
	if err := u.Bind(t.Name()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.http.CloseIdleConnections)
	return u
}

// post sends a message of a mailbox of its own, and returns the reply.
func post(t *testing.T, u *Upstream, box, msg string) string {
	a := &accounts.Account{Record: accounts.Record{Name: box, Mailbox: box}}
	p, _, err := newLedger().enter(t.Context(), u, a)
	if err != nil {
		return err.Error()
	}
	tx := &transaction{u: u, acct: a, place: p}
	defer tx.Abort()
	if err := tx.Rcpt(t.Context(), "a@example.org", nil); err != nil {
		return err.Error()
	}
	reply, err := tx.Data(t.Context(), strings.NewReader(msg))
	if err != nil {
		return err.Error()
	}
	return reply.Error()
}

// wire is a server of HTTP/1.1 whose connections a function serves.
type wire struct {
	net.Listener
	url string
	// over is closed at the test's end.
	over chan struct{}

	mu    sync.Mutex
	heads int            // requests that began
	taken map[string]int // whole messages, by their text
}

func newWire(t *testing.T, serve func(w *wire, c net.Conn)) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: ln, url: "http://" + ln.Addr().String() + "/", taken: make(map[string]int), over: make(chan struct{})}
	var served sync.WaitGroup
	t.Cleanup(func() {
		close(w.over)
		_ = ln.Close()
		served.Wait()
	})
	served.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			done := make(chan struct{})
			served.Go(func() {
				select {
				case <-done:
				case <-w.over:
					_ = c.Close()
				}
			})
			served.Go(func() {
				defer close(done)
				defer c.Close()
				// What is not read is on no account all of a large message.
				_ = c.(*net.TCPConn).SetReadBuffer(16 << 10) //nolint:forcetypeassert // a listener's
				serve(w, c)
			})
		}
	})
	return w
}

// request reads a request, or as much of its body as most octets.
func (w *wire) request(br *bufio.Reader, most int64) bool {
	r, err := http.ReadRequest(br)
	if err != nil {
		return false
	}
	w.mu.Lock()
	w.heads++
	w.mu.Unlock()
	if most >= 0 {
		_, err = io.CopyN(io.Discard, r.Body, most)
		return err == nil
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return false
	}
	w.mu.Lock()
	w.taken[string(b[:min(len(b), 40)])]++
	w.mu.Unlock()
	return true
}

func (w *wire) counts(msg string) (heads, taken int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.heads, w.taken[msg[:min(len(msg), 40)]]
}

func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0) //nolint:forcetypeassert // a listener's
	_ = c.Close()
}

const accepted = "HTTP/1.1 202 Accepted\r\nContent-Length: 10\r\n\r\n"

// TestBrokenAnywhere breaks the connection at each kind of octet of request and
// answer, in each way: what was acknowledged is there, nothing is there twice, and
// what may be there is said to be unknown.
func TestBrokenAnywhere(t *testing.T) {
	var cases sync.WaitGroup
	slots := make(chan struct{}, 24)
	large := strings.Repeat("0123456789", 800<<10)
	for _, read := range []string{"nothing", "request line", "head", "body", "all"} {
		for _, said := range []string{"", "HTTP/1", "HTTP/1.1 202 Accepted\r\nContent-Le", accepted, accepted + "abc"} {
			for _, end := range []string{"close", "reset", "half", "stall"} {
				for _, stream := range []bool{false, true} {
					for _, msg := range []string{large[:100], large} {
						// All may have left of what is acknowledged and not
						// read: nothing helps against that.
						lies := read != "all" && strings.HasPrefix(said, accepted) && (len(msg) == 100 || end == "half")
						if lies || read == "all" && len(msg) > 100 {
							continue
						}
						cases.Go(func() {
							slots <- struct{}{}
							defer func() { <-slots }()
							broken(t, read, said, end, stream, msg)
						})
					}
				}
			}
		}
	}
	cases.Wait()
}

func broken(t *testing.T, read, said, end string, stream bool, msg string) {
	name := fmt.Sprintf("read %s, said %.30q, %s, stream=%t, %d octets", read, said, end, stream, len(msg))
	w := newWire(t, func(w *wire, c net.Conn) {
		br := bufio.NewReader(c)
		switch read {
		case "request line":
			if _, err := io.ReadFull(br, make([]byte, 10)); err != nil {
				return
			}
		case "head", "body", "all":
			if !w.request(br, map[string]int64{"head": 0, "body": 50, "all": -1}[read]) {
				return
			}
		}
		_, _ = io.WriteString(c, said)
		switch end {
		case "reset":
			reset(c)
		case "half":
			_ = c.(*net.TCPConn).CloseWrite() //nolint:forcetypeassert // a listener's
			_, _ = io.Copy(io.Discard, br)
		case "stall":
			<-w.over
		}
	})
	timeout := 30 * time.Second
	if end == "stall" {
		timeout = time.Second
		if read == "all" && strings.HasPrefix(said, accepted) {
			timeout = 5 * time.Second // the answer has to be in time
		}
	}
	got := post(t, posting(t, w.url, stream, timeout, nil), "box@example.com", msg)
	heads, taken := w.counts(msg)
	var want string
	switch {
	case read != "all":
		want = "451 4.4."
	case strings.HasPrefix(said, accepted):
		want = "250 "
	default:
		want = "451 4.4.2"
	}
	whole := map[bool]int{true: 1, false: 0}[read == "all"]
	if read == "all" && end == "stall" && taken <= 1 && strings.HasPrefix(got, "451 4.4.2") {
		return // the machine is slow: the server had no time to read or to answer
	}
	if !strings.HasPrefix(got, want) || taken != whole || heads > 2 {
		t.Errorf("%s: %s, want %s; %d requests, %d whole", name, got, want, heads, taken)
	}
}

// TestConnectionThatEnds: a server ends a connection that it kept, before it reads
// the next request, amid it or behind it. Go's transport makes a request anew where
// nothing of it was written, and must not where it was.
func TestConnectionThatEnds(t *testing.T) {
	const messages = 150
	for name, end := range map[string]func(c net.Conn, br *bufio.Reader, w *wire){
		"at once":   func(net.Conn, *bufio.Reader, *wire) {},
		"soon":      func(net.Conn, *bufio.Reader, *wire) { time.Sleep(rand.N(300 * time.Microsecond)) },
		"reset":     func(c net.Conn, _ *bufio.Reader, _ *wire) { time.Sleep(rand.N(300 * time.Microsecond)); reset(c) },
		"head":      func(_ net.Conn, br *bufio.Reader, w *wire) { w.request(br, 0) },
		"body":      func(_ net.Conn, br *bufio.Reader, w *wire) { w.request(br, 10) },
		"all":       func(_ net.Conn, br *bufio.Reader, w *wire) { w.request(br, -1) },
		"all, then": func(c net.Conn, br *bufio.Reader, w *wire) { w.request(br, -1); reset(c) },
	} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s stream=%t", name, stream), func(t *testing.T) {
				w := newWire(t, func(w *wire, c net.Conn) {
					br := bufio.NewReader(c)
					if w.request(br, -1) {
						_, _ = io.WriteString(c, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
						end(c, br, w)
					}
				})
				u := posting(t, w.url, stream, 30*time.Second, nil)
				acked, unknown := 0, 0
				for i := range messages {
					msg := fmt.Sprintf("message %4d of them %s", i, strings.Repeat("x", 500))
					got := post(t, u, fmt.Sprintf("box%d@example.com", i), msg)
					_, taken := w.counts(msg)
					switch {
					case strings.HasPrefix(got, "250 ") && taken == 1:
						acked++
					case strings.HasPrefix(got, "451 4.4.2") && taken <= 1:
						unknown++
					case strings.HasPrefix(got, "451 4.4.1") && taken == 0:
					default:
						t.Fatalf("message %d: %s, and the server took it %d times", i, got, taken)
					}
				}
				if acked < messages/3 {
					t.Errorf("%d of %d acknowledged", acked, messages)
				}
				if strings.HasPrefix(name, "all") && unknown != messages/2 {
					t.Errorf("%d of %d unknown, want each second", unknown, messages)
				}
			})
		}
	}
}

// TestAnswersBeyond holds what servers answer that is no plain answer: one request
// each, no second one elsewhere, and bounded memory.
func TestAnswersBeyond(t *testing.T) {
	var elsewhere atomic.Int32
	other := newWire(t, func(_ *wire, c net.Conn) { elsewhere.Add(1) })
	gzipped := func(status, text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, text)
		_ = z.Close()
		return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", status, b.Len(), b.String())
	}
	redirect := func(status string) string {
		return "HTTP/1.1 " + status + "\r\nLocation: " + other.url + "\r\nContent-Length: 0\r\n\r\n"
	}
	for name, tc := range map[string]struct {
		said, want string
		more       string // goes on and on
	}{
		"301":                 {said: redirect("301 Moved Permanently"), want: "554 5.0.0 HTTP 301"},
		"302":                 {said: redirect("302 Found"), want: "554 5.0.0 HTTP 302"},
		"303":                 {said: redirect("303 See Other"), want: "554 5.0.0 HTTP 303"},
		"307":                 {said: redirect("307 Temporary Redirect"), want: "554 5.0.0 HTTP 307"},
		"308":                 {said: redirect("308 Permanent Redirect"), want: "554 5.0.0 HTTP 308"},
		"hints before":        {said: "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", want: "250 "},
		"continue before":     {said: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", want: "250 "},
		"gzip":                {said: gzipped("400 Bad Request", "ErrorFoo"), want: "554 5.0.0 HTTP 400 ErrorFoo"},
		"a gzip bomb":         {said: gzipped("400 Bad Request", strings.Repeat("a", 32<<20)), want: "554 5.0.0 HTTP 400 aaaa"},
		"no gzip":             {said: "HTTP/1.1 400 Bad Request\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nhaha", want: "554 5.0.0 HTTP 400"},
		"a huge body":         {said: "HTTP/1.1 400 Bad Request\r\nContent-Length: 1000000000000\r\n\r\n" + strings.Repeat("b", 8<<20), want: "554 5.0.0 HTTP 400 bbbb"},
		"a huge header":       {said: "HTTP/1.1 202 Accepted\r\nX: " + strings.Repeat("x", 8<<20) + "\r\n\r\n", want: "451 4.4.2"},
		"no HTTP":             {said: "220 mx.example.com ESMTP\r\n", want: "451 4.4.2"},
		"another status":      {said: "HTTP/1.1 204 No Content\r\n\r\n", want: "451 4.4.2"},
		"a long line":         {said: "HTTP/1.1 400 Bad\r\nContent-Length: 3\r\n\r\na\rb", want: "554 5.0.0 HTTP 400 a b"},
		"chunks break":        {said: "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", want: "250 "},
		"an endless refusal":  {said: "HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n", more: "8\r\ncccccccc\r\n", want: "554 5.0.0 HTTP 400 cccc"},
		"an endless yes":      {said: "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n", more: "8\r\ndddddddd\r\n", want: "250 "},
		"a yes of 100 MB":     {said: "HTTP/1.1 202 Accepted\r\nContent-Length: 100000000\r\n\r\n", more: "eeeeeeee", want: "250 "},
		"endless hints":       {said: "", more: "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n", want: "451 4.4.2"},
		"an endless header":   {said: "HTTP/1.1 202 Accepted\r\n", more: "X-A: b\r\n", want: "451 4.4.2"},
		"an endless 101":      {said: "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", more: "ffffffff", want: "451 4.4.2"},
		"an endless redirect": {said: "HTTP/1.1 308 Permanent Redirect\r\nLocation: " + other.url + "\r\nTransfer-Encoding: chunked\r\n\r\n", more: "1\r\ng\r\n", want: "554 5.0.0 HTTP 308"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t, func(w *wire, c net.Conn) {
				br := bufio.NewReader(c)
				for w.request(br, -1) {
					if _, err := io.WriteString(c, tc.said); err != nil {
						return
					}
					more := strings.Repeat(tc.more, 1000)
					for more != "" {
						if _, err := io.WriteString(c, more); err != nil {
							return
						}
					}
				}
			})
			got := post(t, posting(t, w.url, false, 30*time.Second, nil), "box@example.com", "hello")
			if heads, taken := w.counts("hello"); !strings.HasPrefix(got, tc.want) || heads != 1 || taken != 1 {
				t.Errorf("%.200s, want %s; %d requests", got, tc.want, heads)
			}
			if strings.ContainsAny(got, "\r\n") || len(got) > 500 {
				t.Errorf("a reply of %d octets: %.200q", len(got), got)
			}
		})
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d connections to where redirects pointed", n)
	}
}

// TestTrickle: an answer whose body comes octet by octet is waited for no longer than
// any other, and its status stands.
func TestTrickle(t *testing.T) {
	w := newWire(t, func(w *wire, c net.Conn) {
		if !w.request(bufio.NewReader(c), -1) {
			return
		}
		_, err := io.WriteString(c, "HTTP/1.1 202 Accepted\r\nContent-Length: 1000\r\n\r\n")
		for tick := time.NewTicker(20 * time.Millisecond); err == nil; {
			select {
			case <-tick.C:
				_, err = io.WriteString(c, "x")
			case <-w.over:
				return
			}
		}
	})
	if got := post(t, posting(t, w.url, false, time.Second, nil), "box@example.com", "hello"); !strings.HasPrefix(got, "250 ") {
		t.Error(got)
	}
}

// TestStrayAnswer: a server that answers one request twice does not acknowledge the
// next one.
func TestStrayAnswer(t *testing.T) {
	answer := func(c net.Conn, status, id string) {
		_, _ = fmt.Fprintf(c, "HTTP/1.1 %s\r\nClient-Request-Id: %s\r\nContent-Length: 0\r\n\r\n", status, strings.ToUpper(id))
	}
	w := newWire(t, func(_ *wire, c net.Conn) {
		br := bufio.NewReader(c)
		status, last := "202 Accepted", ""
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if last != "" {
				answer(c, "202 Accepted", last)
			}
			_, _ = io.Copy(io.Discard, r.Body)
			last = r.Header.Get("Client-Request-Id")
			answer(c, status, last)
			status = "400 Bad Request"
		}
	})
	u := posting(t, w.url, false, 30*time.Second, nil)
	u.RequestID = "client-request-id"
	for i, want := range []string{"250 ", "451 4.4.2"} {
		if got := post(t, u, fmt.Sprintf("box%d@example.com", i), "hello"); !strings.HasPrefix(got, want) {
			t.Errorf("message %d: %s, want %s", i, got, want)
		}
	}
}

// TestProxies holds that what goes wrong on the way to the provider is no unknown
// outcome.
func TestProxies(t *testing.T) {
	cert := testpki.SelfSigned(testpki.Leaf{Names: []string{"127.0.0.1"}, Trusted: true})
	w := newWire(t, func(w *wire, c net.Conn) {
		br := bufio.NewReader(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}))
		w.request(br, -1)
	})
	for name, tc := range map[string]struct {
		said  string // to CONNECT; empty: the connection is passed on
		want  string
		taken int
	}{
		"refuses":             {"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "451 4.4.1", 0},
		"wants a login":       {"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", "451 4.4.1", 0},
		"finds nothing":       {"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "451 4.4.1", 0},
		"breaks":              {"HTTP/1.1 2", "451 4.4.1", 0},
		"ends behind its yes": {"HTTP/1.1 200 OK\r\n\r\n", "451 4.4.1", 0},
		"speaks no TLS":       {"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", "451 4.4.1", 0},
		"passes on, and the provider does not answer": {"", "451 4.4.2", 1},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := newWire(t, func(p *wire, c net.Conn) {
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil || r.Method != http.MethodConnect {
					return
				}
				p.mu.Lock()
				p.heads++
				p.mu.Unlock()
				if _, _ = io.WriteString(c, tc.said); tc.said != "" {
					return
				}
				up, err := net.Dial("tcp", w.Addr().String())
				if err != nil {
					return
				}
				defer up.Close()
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
				go func() { _, _ = io.Copy(up, c) }()
				_, _ = io.Copy(c, up)
			})
			u := posting(t, strings.Replace(w.url, "http:", "https:", 1), false, 30*time.Second, testpki.Trust(cert))
			via, err := url.Parse(proxy.url)
			if err != nil {
				t.Fatal(err)
			}
			u.http.Transport.(*http.Transport).Proxy = http.ProxyURL(via) //nolint:forcetypeassert // newHTTP's
			msg := "through a proxy that " + name
			got := post(t, u, "box@example.com", msg)
			_, taken := w.counts(msg)
			if asked, _ := proxy.counts(""); !strings.HasPrefix(got, tc.want) || taken != tc.taken || asked < 1 || asked > 2 {
				t.Errorf("%s, want %s; %d taken, the proxy was asked %d times", got, tc.want, taken, asked)
			}
		})
	}
}
