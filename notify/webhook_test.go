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

package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymail/mailgateway/internal/printable"
)

// hook is a webhook's server that answers with what it is given, the last one again
// and again.
type hook struct {
	mu      sync.Mutex
	answers []func(http.ResponseWriter)
	posted  []string
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	h.mu.Lock()
	h.posted = append(h.posted, string(body))
	answer := h.answers[0]
	if len(h.answers) > 1 {
		h.answers = h.answers[1:]
	}
	h.mu.Unlock()
	answer(w)
}

func status(code int, header ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, strings.Repeat("SECRET ", 30_000))
	}
}

// TestWebhookAnswers has the ways in which a webhook does not take a digest: each is said
// as what it is, with nothing of the address or of what the server said.
func TestWebhookAnswers(t *testing.T) {
	d := digest{notices: []Notice{trouble("a@example.com", began)}}
	for name, tc := range map[string]struct {
		answers []func(http.ResponseWriter)
		posts   int
		err     string
		after   time.Duration
	}{
		"accepted":      {[]func(http.ResponseWriter){status(202)}, 1, "", 0},
		"redirect":      {[]func(http.ResponseWriter){status(302, "Location", "/SECRET")}, 1, "status 302, a redirect", 0},
		"gone":          {[]func(http.ResponseWriter){status(410)}, 1, "make another one", 0},
		"unknown":       {[]func(http.ResponseWriter){status(404)}, 1, "make another one", 0},
		"forbidden":     {[]func(http.ResponseWriter){status(403)}, 1, "allowed to post", 0},
		"broken":        {[]func(http.ResponseWriter){status(500)}, 1, "status 500", 0},
		"too many":      {[]func(http.ResponseWriter){status(429, "Retry-After", "7")}, 1, "too many posts", 7 * time.Second},
		"for a day":     {[]func(http.ResponseWriter){status(503, "Retry-After", "86400")}, 1, "status 503", retryMax},
		"no number":     {[]func(http.ResponseWriter){status(429, "Retry-After", "soon")}, 1, "status 429", 0},
		"too large":     {[]func(http.ResponseWriter){status(413), status(200)}, 2, "", 0},
		"another form":  {[]func(http.ResponseWriter){status(400)}, 2, "see format", 0},
		"without words": {[]func(http.ResponseWriter){func(http.ResponseWriter) { panic(http.ErrAbortHandler) }}, 1, "webhook: ", 0},
	} {
		for _, format := range []string{"slack", "teams"} {
			h := &hook{answers: tc.answers}
			s := httptest.NewServer(h)
			err := newWebhook(s.URL+"/SECRET", format).send(t.Context(), d)
			s.Close()
			said := fmt.Sprint(err)
			if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(said, tc.err) || strings.Contains(said, "SECRET") {
				t.Errorf("%s, %s: %v, want %s", name, format, err, tc.err)
			}
			// Package http asks once more where a connection ends without an answer.
			if len(h.posted) != tc.posts && name != "without words" {
				t.Errorf("%s, %s: %d posts, want %d", name, format, len(h.posted), tc.posts)
			}
			asked, _ := errors.AsType[*later](err)
			if asked == nil && tc.after != 0 || asked != nil && asked.after != tc.after {
				t.Errorf("%s, %s: %v, want again after %v", name, format, asked, tc.after)
			}
			for _, body := range h.posted {
				if !json.Valid([]byte(body)) || !strings.Contains(body, "consent lost, google, a@example.com") {
					t.Errorf("%s, %s: %s", name, format, body)
				}
			}
		}
	}
}

// TestWebhookOnBadGround has a server whose certificate nobody knows, and one that takes
// the digest and never answers.
func TestWebhookOnBadGround(t *testing.T) {
	h := &hook{answers: []func(http.ResponseWriter){status(200)}}
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	err := newWebhook(s.URL+"/SECRET", "slack").send(t.Context(), digest{more: 1})
	if err == nil || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "SECRET") || len(h.posted) != 0 {
		t.Errorf("%v, %d posts", err, len(h.posted))
	}
	begun, end := make(chan struct{}), make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-end
	}))
	defer hanging.Close()
	defer close(end)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		<-begun
		stop()
	}()
	if err := newWebhook(hanging.URL+"/SECRET", "teams").send(ctx, digest{more: 1}); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("%v", err)
	}
}

// TestWebhookLimits holds that the largest digest there is fits what Slack and Teams take,
// and that letters which mean something there mean nothing.
func TestWebhookLimits(t *testing.T) {
	d := digest{more: 7}
	for i := range maxPending {
		n := trouble(fmt.Sprintf("_a*b_%d@example.com", i), began)
		n.Cause, n.Remedy = strings.Repeat("\"\u20ac<!channel> & [x](http://evil.example)", 100), strings.Repeat("\u00fc", 5000)
		d.notices = append(d.notices, n)
	}
	for format, limit := range map[string]int{"slack": 16 << 10, "teams": 28 << 10} {
		head := printable.Cut(title(d), maxWords)
		body, err := json.Marshal(newWebhook("http://localhost", format).body(head, d))
		if err != nil || len(body) > limit {
			t.Errorf("%s: %d octets, %v", format, len(body), err)
		}
		for _, want := range []string{"1007 troubles", "TROUBLE: ", " more: caddy smtp doctor"} {
			if !strings.Contains(string(body), want) {
				t.Errorf("%s: no %q in %.200s", format, want, body)
			}
		}
		if format == "slack" && (strings.Contains(string(body), "!channel>") || !strings.Contains(string(body), `"mrkdwn":false`)) ||
			format == "teams" && strings.Contains(string(body), `"TextBlock"`) {
			t.Errorf("%s: %.200s", format, body)
		}
	}
	var said struct{ Text string }
	body, _ := json.Marshal(newWebhook("http://localhost", "slack").body("x", d))
	if err := json.Unmarshal(body, &said); err != nil || len([]rune(said.Text)) > 4000 {
		t.Errorf("Slack: %d letters, %v", len([]rune(said.Text)), err)
	}
	if words := text(d); len(words) > mailRoom+1000 || strings.Count(words, "TROUBLE: ") != maxLines {
		t.Errorf("mail: %d octets", len(words))
	}
}

// TestAskedToComeLater holds that a server that says when to ask again is asked then.
func TestAskedToComeLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{err: &later{errors.New("webhook: status 429"), 7 * time.Second}}
		failures := 0
		d := newDesk([]destination{r}, time.Minute, time.Second, func(error, int) { failures++ })
		d.tell(trouble("a", began))
		time.Sleep(time.Minute + 21*time.Second + 500*time.Millisecond)
		synctest.Wait()
		if failures != 4 {
			t.Errorf("asked %d times in 21 s, want 4", failures)
		}
		r.fail(nil)
		time.Sleep(7 * time.Second)
		synctest.Wait()
		if n := len(r.digests); n != 5 || len(r.digests[4].notices) != 1 {
			t.Errorf("%d digests", n)
		}
		_ = d.Destruct()
	})
}
