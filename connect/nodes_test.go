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
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/internal/testpg"
	"github.com/caddymail/mailgateway/internal/testproc"
)

// nodes are two gateways on one database, the second of them a process, behind an address
// that sends each request to one of them.
type nodes struct {
	*site
	at    atomic.Int32 // which of them is asked, but for requests that say
	codes atomic.Int32 // that were exchanged
	hold  chan struct{}
	ended <-chan struct{} // the second one
}

func newNodes(t *testing.T) *nodes {
	t.Helper()
	db := testpg.Start(t)
	g := gatewaytest.New(t)
	n := &nodes{hold: make(chan struct{})}
	provider, err := url.Parse(g.Sandbox.HTTPURL())
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(provider)
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		if r.Form.Get("grant_type") == "authorization_code" {
			n.codes.Add(1)
			<-n.hold
		}
		body := r.Form.Encode()
		r.Body, r.ContentLength = http.NoBody, 0
		if r.Method == http.MethodPost {
			r.Body, r.ContentLength = readCloser{strings.NewReader(body)}, int64(len(body))
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(tokens.Close)

	var behind [2]*httputil.ReverseProxy
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := n.at.Load()
		if which := r.Header.Get("X-Node"); which != "" {
			at = int32(which[0] - '0')
		}
		behind[at].ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	n.site = &site{Gateway: g, base: front.URL}
	two := *g
	two.Admin, two.SMTP = gatewaytest.FreeAddress(t), gatewaytest.FreeAddress(t)
	for i, g := range []*gatewaytest.Gateway{g, &two} {
		listen := "http://" + gatewaytest.FreeAddress(t)
		u, err := url.Parse(listen)
		if err != nil {
			t.Fatal(err)
		}
		behind[i] = httputil.NewSingleHostReverseProxy(u)
		config := g.Config(t, sitesOptions(g, tokens.URL), sitesPages(listen, front.URL+"/connect", ""))
		var c map[string]any
		if err := json.Unmarshal(config, &c); err != nil {
			t.Fatal(err)
		}
		c["storage"] = map[string]any{"module": "postgres", "dsn": db.DSN()}
		if config, err = json.Marshal(c); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if err := caddy.Load(config, true); err != nil {
				t.Fatal(err)
			}
			continue
		}
		n.process(t, g, config)
	}
	n.account(t, owner)
	// The second node hears of the account within a second, and owners come later.
	n.answers(t, "http://"+two.Admin+"/smtp/accounts/"+owner)
	return n
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// process runs a gateway in a process of its own.
func (n *nodes) process(t *testing.T, g *gatewaytest.Gateway, config []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "two.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "run", "--config", file) //nolint:gosec // a test's arguments
	cmd.Env = append(os.Environ(), gatewaytest.CommandVar+"=1")
	cmd.Stderr = os.Stderr
	n.ended = testproc.Start(t, cmd)
	n.answers(t, "http://"+g.Admin+"/smtp/upstreams")
}

// answers waits until the second node has what is asked for.
func (n *nodes) answers(t *testing.T, url string) {
	t.Helper()
	for {
		r, err := http.Get(url) //nolint:gosec,noctx // a test's
		if err == nil {
			_ = r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-n.ended:
			t.Fatal("the second node has ended")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestConsentAcrossNodes begins a consent on one node and ends it on the other one.
func TestConsentAcrossNodes(t *testing.T) {
	n := newNodes(t)
	close(n.hold)
	for i := range int32(2) {
		link, _ := n.invite(t, "")
		b := newBrowser(t)
		n.at.Store(i)
		b.get(t, link).want(t, "Connect your mailbox")
		p := b.post(t, link, nil)
		n.at.Store(1 - i)
		b.get(t, p.next).want(t, "Your mailbox is connected", owner)
		n.at.Store(i)
		b.get(t, link).want(t, "Your mailbox is connected")
		newBrowser(t).get(t, link).want(t, "This invitation has been used")
	}
	if c := n.codes.Load(); c != 2 {
		t.Errorf("%d codes were exchanged", c)
	}
}

// TestCallbackAtTwoNodes has both nodes asked for the same callback at the same moment: the code
// is sent once, since a provider that sees it twice may take back what it gave, the
// invitation is used once, and both browsers' windows hear that it succeeded.
func TestCallbackAtTwoNodes(t *testing.T) {
	n := newNodes(t)
	link, id := n.invite(t, "")
	b := newBrowser(t)
	p := b.post(t, link, nil)
	b.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), n.base) {
			return http.ErrUseLastResponse
		}
		return nil
	}
	at := b.answer(t, p.next)
	b.CheckRedirect = nil
	var all sync.WaitGroup
	var shows [2]shown
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range shows {
		jar := b.Jar.Cookies(at)
		window := newBrowser(t)
		window.Jar.SetCookies(at, jar)
		all.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("X-Node", string(rune('0'+i)))
			resp, err := window.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			shows[i] = read(t, resp, err)
		})
	}
	for n.codes.Load() == 0 {
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(500 * time.Millisecond) // the other one would have sent it, too
	close(n.hold)
	all.Wait()
	for i, s := range shows {
		if s.title != "Your mailbox is connected" {
			t.Errorf("node %d: %q\n%s", i, s.title, s.body)
		}
	}
	if c := n.codes.Load(); c != 1 {
		t.Errorf("the code was sent %d times", c)
	}
	list := string(n.Do(t, "GET", "/smtp/invitations?state=used", "").Body)
	if strings.Count(list, id) != 1 {
		t.Errorf("the list: %s", list)
	}
}
