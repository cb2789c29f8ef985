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

package connect_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/connect"
)

// from is a browser behind a proxy of the site's, which says where it is.
type from struct{ address string }

func (f from) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Forwarded-For", f.address)
	return http.DefaultTransport.RoundTrip(r)
}

// TestHour is what an hour brings a large organization, all at once: each owner opens
// the link, goes to the provider and comes back. MAILGATEWAY_INVITATIONS=10000, else a
// short one.
func TestHour(t *testing.T) {
	n := 60
	if text := os.Getenv("MAILGATEWAY_INVITATIONS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	s := newSite(t)
	s.more[0] += "\nservers {\ntrusted_proxies static 127.0.0.0/8\n}"
	s.Load(t, s.more...)
	links := make([]string, n)
	for i := range links {
		name := fmt.Sprintf("user%d@example.com", i)
		s.account(t, name)
		invited, err := connect.Invite(t.Context(), connect.Request{Account: name})
		if err != nil {
			t.Fatal(err)
		}
		links[i] = invited.Link
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most := heap(), uint64(0)
	var next, busy atomic.Int64
	began := time.Now()
	done := make(chan error)
	const browsers = 16
	for range browsers {
		go func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					done <- nil
					return
				}
				if err := consent(links[i], fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), &busy); err != nil {
					done <- fmt.Errorf("owner %d: %w", i, err)
					return
				}
			}
		}()
	}
	for left := browsers; left > 0; {
		select {
		case err := <-done:
			if left--; err != nil {
				t.Error(err)
			}
		case <-time.After(time.Second):
			most = max(most, heap())
		}
	}
	most = max(most, heap())
	took := time.Since(began)
	current, err := connect.Current()
	if err != nil {
		t.Fatal(err)
	}
	used, after := 0, ""
	for {
		list, more, err := current.Invitations.List(t.Context(), connect.Filter{State: connect.StateUsed}, after, 100)
		if err != nil {
			t.Fatal(err)
		}
		used += len(list)
		if after = more; after == "" {
			break
		}
	}
	if used != n {
		t.Errorf("%d of %d invitations are used", used, n)
	}
	t.Logf("%d consents in %s (%.0f a second), %d times told to wait, the heap grew by %d KiB", n, took.Round(time.Millisecond), float64(n)/took.Seconds(), busy.Load(), int64(most-before)>>10)
	// What a consent leaves is its token: of a consent under way nothing is here.
	if limit := before + 16<<20 + uint64(n)*4<<10; most > limit {
		t.Errorf("%d KiB of heap, of %d before", most>>10, before>>10)
	}
}

// consent is one owner's way. A browser that is told to wait does so.
func consent(link, address string, busy *atomic.Int64) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	c := &http.Client{Jar: jar, Transport: from{address}}
	ask := func(method, address string) (body, next string, err error) {
		for {
			r, err := http.NewRequest(method, address, nil)
			if err != nil {
				return "", "", err
			}
			resp, err := c.Do(r)
			if err != nil {
				return "", "", err
			}
			text, err := io.ReadAll(resp.Body)
			if err = errors.Join(err, resp.Body.Close()); err != nil {
				return "", "", err
			}
			if resp.StatusCode == http.StatusTooManyRequests {
				busy.Add(1)
				// A page loaded again is the last one of the way, not the first.
				method, address = resp.Request.Method, resp.Request.URL.String()
				time.Sleep(100 * time.Millisecond) // a browser is no event
				continue
			}
			_, next, _ := strings.Cut(resp.Header.Get("Refresh"), "url=")
			return string(text), next, nil
		}
	}
	for _, step := range []struct{ method, want string }{{http.MethodGet, "Connect your mailbox"}, {http.MethodPost, "One moment"}, {http.MethodGet, "Your mailbox is connected"}} {
		body, next, err := ask(step.method, link)
		if err != nil {
			return err
		}
		if !strings.Contains(body, "<h1>"+step.want) {
			return fmt.Errorf("%s %s: want %q, got %.300s", step.method, link, step.want, body)
		}
		if next != "" {
			link = next
		}
	}
	return nil
}
