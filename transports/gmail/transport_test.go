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

package gmail

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/sandbox"
	"github.com/caddymail/mailgateway/transports/internal/apitest"
)

// start returns a transport in front of a sandbox.
func start(t *testing.T, app *sandbox.App, cfg Transport) (*Transport, *sandbox.Sandbox, *apitest.Tokens) {
	t.Helper()
	sb, src := apitest.Start(t, app)
	return attach(t, &cfg, sb, src), sb, src
}

// attach makes a transport effective.
func attach(t *testing.T, tr *Transport, sb *sandbox.Sandbox, src *apitest.Tokens) *Transport {
	t.Helper()
	tr.Endpoint, tr.UserinfoURL = sb.HTTPURL(), sb.HTTPURL()+"/userinfo"
	tr.logger = zap.NewNop()
	tr.tokens = src
	if err := tr.fill(); err != nil {
		t.Fatal(err)
	}
	// What a mailbox may not do until a time outlives the transport, and so a
	// test that is run again.
	if err := tr.Bind(t.Name() + " " + sb.HTTPURL()); err != nil {
		t.Fatal(err)
	}
	if err := tr.Attach(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Detach() })
	return tr
}

const plain = "From: box@example.com\r\nTo: a@example.org\r\n\r\nhello\r\n"

// TestFaults holds for each way in which Gmail fails: what was acknowledged is
// there, nothing is there twice, and the client is told what is known.
func TestFaults(t *testing.T) {
	in90 := time.Now().Add(90 * time.Second).UTC().Format("2006-01-02T15:04:05.000Z")
	for _, tc := range []struct {
		name      string
		fault     sandbox.Fault
		want      string // how the reply begins
		delivered int
		asked     int32 // tokens, one for each request
		hold      bool  // the mailbox sends nothing more for a while
	}{
		{"reset after the last octet, and sent", sandbox.Fault{Stage: "api_end", Action: "reset"}, "451 4.4.2", 1, 1, false},
		{"reset after the last octet, and not sent", sandbox.Fault{Stage: "api", Action: "reset"}, "451 4.4.2", 0, 1, false},
		{"closed after the last octet", sandbox.Fault{Stage: "api_end", Action: "close"}, "451 4.4.2", 1, 1, false},
		{"500 that sends", sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "500 backendError Backend Error"}, "451 4.4.2", 1, 1, false},
		{"503 that does not", sandbox.Fault{Stage: "api", Action: "reply", Reply: "503 backendError Backend Error"}, "451 4.4.2", 0, 1, false},
		{"502 as HTML", sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "502 <html>Bad Gateway</html>"}, "451 4.4.2", 1, 1, false},
		{"504", sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "504"}, "451 4.4.2", 1, 1, false},
		{"408", sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "408"}, "451 4.4.2", 1, 1, false},
		{"no answer", sandbox.Fault{Stage: "api_end", Action: "hang"}, "451 4.4.2", 1, 1, false},
		{"slow", sandbox.Fault{Stage: "api", Action: "delay", Delay: caddy.Duration(50 * time.Millisecond)}, "250 2.0.0", 1, 1, false},
		{"units, with the time in the message", sandbox.Fault{Stage: "api", Action: "reply", Reply: "429 rateLimitExceeded User-rate limit exceeded.  Retry after " + in90}, "451 4.7.1", 0, 1, true},
		{"units, without", sandbox.Fault{Stage: "api", Action: "reply", Reply: "403 userRateLimitExceeded User-rate limit exceeded."}, "451 4.7.1 userratelimitexceeded User-rate limit exceeded., try again in 30 s", 0, 1, true},
		{"the account's sending limit", sandbox.Fault{Stage: "api", Action: "reply", Reply: "429 rateLimitExceeded User-rate limit exceeded (Mail sending)"}, "451 4.7.1 ratelimitexceeded User-rate limit exceeded (Mail sending), try again in 3600 s", 0, 1, true},
		{"the project's day", sandbox.Fault{Stage: "api", Action: "reply", Reply: "403 dailyLimitExceeded Daily Limit Exceeded"}, "451 4.7.1", 0, 1, true},
		{"401 once", sandbox.Fault{Stage: "api", Action: "reply", Reply: "401 authError Invalid Credentials", Times: 1}, "250 2.0.0", 1, 2, false},
		{"401 always", sandbox.Fault{Stage: "api", Action: "reply", Reply: "401 authError Invalid Credentials"}, "454 4.7.0", 0, 2, false},
		{"a box that was not ticked", sandbox.Fault{Stage: "api_head", Action: "reply", Reply: "403 insufficientPermissions Request had insufficient authentication scopes."}, "454 4.7.0 The owner did not consent", 0, 1, false},
		{"API off", sandbox.Fault{Stage: "api_head", Action: "reply", Reply: "403 accessNotConfigured Gmail API has not been used in project 1"}, "550 5.7.1", 0, 1, false},
		{"blocked by the administrator", sandbox.Fault{Stage: "api_head", Action: "reply", Reply: "403 domainPolicy The domain administrators have disabled Gmail apps."}, "550 5.7.1", 0, 1, false},
		{"no Gmail", sandbox.Fault{Stage: "api_head", Action: "reply", Reply: "400 failedPrecondition Mail service not enabled"}, "550 5.1.8", 0, 1, false},
		{"recipients", sandbox.Fault{Stage: "api", Action: "reply", Reply: "400 invalidArgument Invalid To header"}, "554 5.1.3", 0, 1, false},
		{"bad MIME", sandbox.Fault{Stage: "api", Action: "reply", Reply: "400 invalidArgument Invalid attachment"}, "554 5.6.0", 0, 1, false},
		{"413 as HTML", sandbox.Fault{Stage: "api_head", Action: "reply", Reply: "413 <html></html>"}, "552 5.3.4", 0, 1, false},
		{"an unknown code", sandbox.Fault{Stage: "api", Action: "reply", Reply: "404 notFound Not Found"}, "554 5.0.0", 0, 1, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr, sb, src := start(t, new(sandbox.App), Transport{MaxWait: 1, Timeout: caddy.Duration(time.Second)})
			if _, err := sb.AddFault(tc.fault); err != nil {
				t.Fatal(err)
			}
			reply, err := apitest.Send(t, tr, []string{"a@example.org"}, plain)
			got := reply.Error()
			if err != nil {
				got = err.Error()
			}
			if !strings.HasPrefix(got, tc.want) {
				t.Errorf("reply %q, want %q", got, tc.want)
			}
			if n := len(sb.MessagesAfter(0, 10)); n != tc.delivered {
				t.Errorf("%d messages are in the mailbox, want %d", n, tc.delivered)
			}
			if n := src.Asked.Load(); n != tc.asked {
				t.Errorf("%d requests, want %d", n, tc.asked)
			}
			r, _ := errors.AsType[*relay.Reply](err)
			if held := r != nil && r.After > 0; held != tc.hold {
				t.Errorf("the mailbox is held: %t", held)
			}
		})
	}
}

// TestUnits holds that the sandbox counts units as Google does, and that a
// mailbox without units is held for as long as the message said.
func TestUnits(t *testing.T) {
	tr, sb, _ := start(t, &sandbox.App{GmailUnitsPerMinute: 200}, Transport{MaxWait: 1})
	for i := range 2 {
		if _, err := apitest.Send(t, tr, []string{"a@example.org"}, plain); err != nil {
			t.Fatal(i, err)
		}
	}
	for range 2 { // the second one does not get as far as Google
		_, err := apitest.Send(t, tr, []string{"a@example.org"}, plain)
		r, _ := errors.AsType[*relay.Reply](err)
		if r == nil || r.After < 30*time.Second || r.After > time.Minute+2*time.Second {
			t.Errorf("%v", err)
		}
	}
	if n := len(sb.MessagesAfter(0, 10)); n != 2 {
		t.Errorf("%d messages", n)
	}
}

// TestProjectsDay holds that what the whole project used up holds every mailbox.
func TestProjectsDay(t *testing.T) {
	tr, sb, _ := start(t, new(sandbox.App), Transport{MaxWait: 1})
	if _, err := sb.AddFault(sandbox.Fault{Stage: "api", Action: "reply", Reply: "403 quotaExceeded Daily Limit Exceeded", Times: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := apitest.Send(t, tr, []string{"a@example.org"}, plain); err == nil {
		t.Fatal("sent")
	}
	other := apitest.Account()
	other.Name, other.Mailbox = "other@example.com", "other@example.com"
	if _, err := tr.Begin(t.Context(), other, other.Mailbox, nil); err == nil || !strings.HasPrefix(err.Error(), "451 4.7.1") {
		t.Errorf("another mailbox: %v", err)
	}
}

// TestForeignToken holds that nothing is sent in another user's name, and that
// an address that has come to another user counts as another's.
func TestForeignToken(t *testing.T) {
	tr, sb, src := start(t, new(sandbox.App), Transport{})
	src.Of = "other@example.com"
	if _, err := apitest.Send(t, tr, []string{"a@example.org"}, plain); !errors.Is(err, relay.ReplyAPIForeign) {
		t.Errorf("%v", err)
	}
	if n := len(sb.MessagesAfter(0, 10)); n != 0 {
		t.Errorf("%d messages", n)
	}
	// Without the question the request itself names the mailbox.
	wide := attach(t, &Transport{DomainWide: true}, sb, src)
	if _, err := apitest.Send(t, wide, []string{"a@example.org"}, plain); err == nil || !strings.HasPrefix(err.Error(), "550 5.7.1 forbidden Delegation denied") {
		t.Errorf("%v", err)
	}
}

// TestTokenRefusedAtTheQuestion holds that a token which is refused when it is asked
// whose it is gets replaced once, as one that is refused with the message, and that
// what is not known is told as that.
func TestTokenRefusedAtTheQuestion(t *testing.T) {
	for name, tc := range map[string]struct {
		answers []int // of the userinfo endpoint; the last one stays
		want    string
		tokens  int32
	}{
		"once":   {[]int{401, 200}, "250 2.0.0", 2},
		"always": {[]int{401}, "454 4.7.0 The provider wants the user to consent or log in again", 2},
		"down":   {[]int{503}, "451 4.4.1 The provider's API did not say whose the access token is", 1},
		"no one": {[]int{204}, "451 4.4.1", 1},
	} {
		t.Run(name, func(t *testing.T) {
			tr, sb, src := start(t, new(sandbox.App), Transport{})
			n := 0
			ask := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				status := tc.answers[min(n, len(tc.answers)-1)]
				n++
				w.WriteHeader(status)
				if status == http.StatusOK {
					_, _ = io.WriteString(w, `{"sub":"1","email":"`+apitest.Box+`"}`)
				}
			}))
			defer ask.Close()
			tr.UserinfoURL = ask.URL
			reply, err := apitest.Send(t, tr, []string{"a@example.org"}, plain)
			got := reply.Error()
			if err != nil {
				got = err.Error()
			}
			if !strings.HasPrefix(got, tc.want) {
				t.Errorf("%s, want %s", got, tc.want)
			}
			if n := src.Asked.Load(); n != tc.tokens {
				t.Errorf("%d tokens, want %d", n, tc.tokens)
			}
			if n := len(sb.Messages()); n != map[bool]int{true: 1}[tc.want == "250 2.0.0"] {
				t.Errorf("%d messages", n)
			}
		})
	}
}

func TestVerify(t *testing.T) {
	tr, sb, src := start(t, new(sandbox.App), Transport{})
	var steps []string
	step := func(s relay.VerifyStep) { steps = append(steps, s.Name) }
	if err := tr.Verify(t.Context(), apitest.Account(), "", step); err != nil || strings.Join(steps, " ") != "token identity api" {
		t.Errorf("%v, %v", steps, err)
	}
	src.Of = "other@example.com"
	if err := tr.Verify(t.Context(), apitest.Account(), "", step); err == nil || !strings.Contains(err.Error(), "other@example.com") {
		t.Errorf("with another's token: %v", err)
	}
	if n := len(sb.MessagesAfter(0, 1)); n != 0 {
		t.Errorf("%d messages", n)
	}
}

func TestRefusedBeforeTheBody(t *testing.T) {
	tr, sb, src := start(t, new(sandbox.App), Transport{MaxSize: 100})
	for _, tc := range []struct {
		name string
		from string
		opts smtp.MailOptions
		want string
	}{
		{"null sender", "", smtp.MailOptions{}, "550 5.7.1"},
		{"RET", apitest.Box, smtp.MailOptions{Return: smtp.DSNReturnFull}, "555 5.5.4"},
		{"SIZE", apitest.Box, smtp.MailOptions{Size: 101}, "552 5.3.4"},
	} {
		if _, err := tr.Begin(t.Context(), apitest.Account(), tc.from, &tc.opts); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
		}
	}
	if _, err := apitest.Send(t, tr, []string{"b@example.org"}, plain); err == nil || !strings.HasPrefix(err.Error(), "554 5.6.0") || !strings.Contains(err.Error(), "a@example.org") {
		t.Errorf("a header beyond the envelope: %v", err)
	}
	if n := src.Asked.Load(); n != 0 {
		t.Errorf("%d requests", n)
	}
	if _, err := apitest.Send(t, tr, []string{"a@example.org"}, plain+strings.Repeat("x", 100)); err == nil || !strings.Contains(err.Error(), "limit of 100 octets") {
		t.Errorf("an undeclared size: %v", err)
	}
	if n := len(sb.MessagesAfter(0, 1)); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// lines is a message of n octets that is made as it is read; it fails at the end
// if err is set.
type lines struct {
	head string
	left int
	err  error
}

func (l *lines) Read(p []byte) (int, error) {
	if l.head != "" {
		n := copy(p, l.head)
		l.head = l.head[n:]
		return n, nil
	}
	if l.left == 0 {
		if l.err != nil {
			return 0, l.err
		}
		return 0, io.EOF
	}
	n := min(len(p), l.left)
	for i := range n {
		p[i] = "x\r\n"[(l.left-i)%3]
	}
	l.left -= n
	return n, nil
}

// TestStreams holds that a message of the greatest size leaves in constant
// memory, and that one whose client goes away is none.
func TestStreams(t *testing.T) {
	tr, sb, _ := start(t, new(sandbox.App), Transport{})
	send := func(r io.Reader) error {
		tx, err := tr.Begin(t.Context(), apitest.Account(), apitest.Box, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Abort()
		if err := tx.Rcpt(t.Context(), "a@example.org", nil); err != nil {
			t.Fatal(err)
		}
		_, err = tx.Data(t.Context(), r)
		return err
	}
	big := providerMaxSize - len(plain)
	if err := send(&lines{head: plain, left: big}); err != nil {
		t.Fatal(err)
	}
	if err := send(&lines{head: plain, left: big + 1}); err == nil || !strings.HasPrefix(err.Error(), "552 5.3.4") {
		t.Errorf("one octet more: %v", err)
	}
	gone := relay.NewReply(421, smtp.EnhancedCode{4, 4, 2}, "gone")
	for _, n := range []int{0, 100, 1 << 20} {
		if err := send(&lines{head: plain, left: n, err: gone}); !errors.Is(err, gone) {
			t.Errorf("a client that goes after %d octets: %v", n, err)
		}
	}
	got := sb.MessagesAfter(0, 10)
	if len(got) != 1 || got[0].Size != providerMaxSize {
		t.Errorf("%d messages", len(got))
	}
}

// TestLateRefusal holds that a token that is refused when more of the message has
// left than is kept is not answered with a half message.
func TestLateRefusal(t *testing.T) {
	for size, want := range map[int]string{100 << 10: "250 2.0.0", 1 << 20: "454 4.7.0"} {
		tr, sb, src := start(t, new(sandbox.App), Transport{})
		if _, err := sb.AddFault(sandbox.Fault{Stage: "api", Action: "reply", Reply: "401 authError Invalid Credentials", Times: 1}); err != nil {
			t.Fatal(err)
		}
		reply, err := apitest.Send(t, tr, []string{"a@example.org"}, plain+strings.Repeat("x\r\n", size/3))
		got := reply.Error()
		if err != nil {
			got = err.Error()
		}
		sent := map[bool]int{true: 1, false: 0}[err == nil]
		if n := len(sb.MessagesAfter(0, 10)); !strings.HasPrefix(got, want) || n != sent || src.Rejected.Load() != 1 {
			t.Errorf("%d octets: %s, %d messages, %d tokens refused", size, got, n, src.Rejected.Load())
		}
	}
}

// TestMemory holds what a message takes of memory while it leaves: the least of
// several, since what is left of other tests counts along.
func TestMemory(t *testing.T) {
	tr, _, _ := start(t, new(sandbox.App), Transport{})
	least := uint64(math.MaxUint64)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		body, reply := tr.prepare(apitest.Account(), []string{"a@example.org"}, &lines{head: plain, left: 30 << 20})
		if reply != nil {
			t.Fatal(reply)
		}
		n, err := io.Copy(io.Discard, body.Reader())
		runtime.ReadMemStats(&after)
		if err != nil || n != int64(len(plain)+30<<20) {
			t.Fatal(n, err)
		}
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	if least > 2<<20 {
		t.Errorf("a message of 30 MiB took %d octets of memory", least)
	}
}

// TestRewrapped holds that the sandbox shows what Gmail does to text, so that
// a promise of the same octets cannot be made unseen.
func TestRewrapped(t *testing.T) {
	long := plain + strings.Repeat("word ", 30) + "\r\n"
	for _, rewrap := range []bool{false, true} {
		tr, sb, _ := start(t, &sandbox.App{GmailRewrap: rewrap}, Transport{})
		if _, err := apitest.Send(t, tr, []string{"a@example.org"}, long); err != nil {
			t.Fatal(err)
		}
		if same := bytes.Equal(sb.MessagesAfter(0, 1)[0].Body, []byte(long)); same == rewrap {
			t.Errorf("rewrap %t: the same octets: %t", rewrap, same)
		}
	}
}

// TestRandomEnvelopes holds the promise of the envelope; apitest says how.
func TestRandomEnvelopes(t *testing.T) {
	if testing.Short() {
		t.Skip("10,000 messages")
	}
	many := accounts.Rate{Count: 1 << 40, Per: time.Minute}
	apitest.RandomEnvelopes(t, func(t *testing.T, app *sandbox.App) (*sandbox.Sandbox, relay.Upstream, relay.Upstream) {
		sb, src := apitest.Start(t, app)
		both := func(rewrite bool) *Transport {
			return attach(t, &Transport{RatePerAccount: many, MessagesPerAccount: many, RecipientsPerAccount: many, Rewrite: rewrite}, sb, src)
		}
		return sb, both(false), both(true)
	})
}
