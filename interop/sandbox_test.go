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

package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/sandbox"
)

// sandboxClient asks the sandbox what it received, over HTTP as users do.
type sandboxClient struct {
	t    testing.TB
	base string
}

func (c *sandboxClient) do(method, path string, body io.Reader) []byte {
	c.t.Helper()
	req, err := http.NewRequest(method, c.base+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if res.StatusCode >= 300 {
		c.t.Fatalf("%s %s: %s\n%s", method, path, res.Status, b)
	}
	return b
}

// messages are those of one mailbox, in the order of acceptance.
func (c *sandboxClient) messages(mailbox string) []sandbox.Message {
	c.t.Helper()
	var all struct {
		Messages []sandbox.Message `json:"messages"`
	}
	b := c.do(http.MethodGet, "/messages?limit=10000", nil)
	if err := json.Unmarshal(b, &all); err != nil {
		c.t.Fatalf("GET /messages: %v\n%s", err, b)
	}
	var out []sandbox.Message
	for _, m := range all.Messages {
		if strings.EqualFold(m.Mailbox, mailbox) {
			out = append(out, m)
		}
	}
	return out
}

// waitMessages waits until a mailbox has n messages and returns them.
func (c *sandboxClient) waitMessages(mailbox string, n int) []sandbox.Message {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got := c.messages(mailbox)
		if len(got) >= n {
			return got
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("the sandbox has %d messages of %s, want %d", len(got), mailbox, n)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (c *sandboxClient) body(id uint64) []byte {
	c.t.Helper()
	return c.do(http.MethodGet, fmt.Sprintf("/messages/%d/body", id), nil)
}

func (c *sandboxClient) stats() sandbox.Stats {
	c.t.Helper()
	var st sandbox.Stats
	if err := json.Unmarshal(c.do(http.MethodGet, "/stats", nil), &st); err != nil {
		c.t.Fatal(err)
	}
	return st
}

func (c *sandboxClient) fault(f sandbox.Fault) {
	c.t.Helper()
	b, err := json.Marshal(f)
	if err != nil {
		c.t.Fatal(err)
	}
	c.do(http.MethodPost, "/faults", bytes.NewReader(b))
}

// accessToken gets one as any client of the provider would.
func (c *sandboxClient) accessToken(refreshToken string) string {
	c.t.Helper()
	res, err := http.PostForm(c.base+"/token", url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {refreshToken},
		"client_id": {"sandbox"}, "client_secret": {sandboxSecret},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	var tok struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&tok); err != nil || tok.AccessToken == "" {
		c.t.Fatalf("no access token: %s, %v", res.Status, err)
	}
	return tok.AccessToken
}

// want is what the provider must have received for one message.
type want struct {
	from  string
	rcpts []string
	msg   []byte
}

// checkReceived compares all messages of a mailbox, whatever their order, with
// what was sent. They are told apart by their hash.
func (c *sandboxClient) checkReceived(mailbox string, wants []want) {
	c.t.Helper()
	got := c.messages(mailbox)
	if len(got) != len(wants) {
		c.t.Errorf("the sandbox has %d messages of %s, want %d", len(got), mailbox, len(wants))
	}
	bySum := make(map[string][]sandbox.Message)
	for _, m := range got {
		bySum[m.SHA256] = append(bySum[m.SHA256], m)
	}
	for i, w := range wants {
		sum := sha256hex(w.msg)
		list := bySum[sum]
		if len(list) == 0 {
			c.t.Errorf("message %d (%d bytes, %s) did not arrive as it was sent: %.120q", i, len(w.msg), sum, w.msg)
			continue
		}
		m := list[0]
		bySum[sum] = list[1:]
		if m.From != w.from || strings.Join(m.Rcpts, " ") != strings.Join(w.rcpts, " ") {
			c.t.Errorf("message %d: envelope %s -> %v, want %s -> %v", i, m.From, m.Rcpts, w.from, w.rcpts)
		}
	}
	if !c.t.Failed() {
		return
	}
	for _, list := range bySum {
		for _, m := range list {
			c.t.Logf("unexpected: %s -> %v, %d bytes:\n%.400q", m.From, m.Rcpts, m.Size, c.body(m.ID))
		}
	}
}
