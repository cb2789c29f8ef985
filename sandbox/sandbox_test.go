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
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func start(t testing.TB, cfg *App) *Sandbox {
	t.Helper()
	s, err := Start(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func (s *Sandbox) clientTLS() *tls.Config {
	return &tls.Config{RootCAs: s.CertPool(), ServerName: "localhost"}
}

// xoauth2 is the client's side of XOAUTH2.
type xoauth2 struct {
	user, token string
	challenge   []byte
}

func (x *xoauth2) Start() (string, []byte, error) {
	return "XOAUTH2", []byte("user=" + x.user + "\x01auth=Bearer " + x.token + "\x01\x01"), nil
}

func (x *xoauth2) Next(challenge []byte) ([]byte, error) {
	x.challenge = challenge
	return []byte{}, nil
}

// post asks the token endpoint and returns its answer.
func post(t testing.TB, s *Sandbox, form url.Values) (int, map[string]any) {
	t.Helper()
	if !form.Has("client_id") {
		form.Set("client_id", "sandbox")
		form.Set("client_secret", "sandbox-secret")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.PostForm(s.TokenURL(), form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	out := map[string]any{}
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatalf("answer %d %q: %v", resp.StatusCode, body, err)
	}
	return resp.StatusCode, out
}

func refresh(t testing.TB, s *Sandbox, rt string) string {
	t.Helper()
	status, out := post(t, s, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {rt}})
	if status != 200 {
		t.Fatalf("token endpoint: %d %v", status, out)
	}
	return out["access_token"].(string)
}

// The whole way: a token from the endpoint, STARTTLS or implicit TLS, XOAUTH2,
// a message, and what the sandbox says of it.
func TestSubmission(t *testing.T) {
	for _, mode := range []string{"starttls", "implicit"} {
		t.Run(mode, func(t *testing.T) {
			s := start(t, &App{})
			var c *smtp.Client
			var err error
			if mode == "starttls" {
				c, err = smtp.DialStartTLS(s.SMTPAddr(), s.clientTLS())
			} else {
				c, err = smtp.DialTLS(s.SMTPSAddr(), s.clientTLS())
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.Auth(&xoauth2{user: "a@example.com", token: refresh(t, s, "rt-a@example.com")}); err != nil {
				t.Fatal(err)
			}
			const body = "Subject: x\r\n\r\n.dot\r\n..\r\nend\r\n"
			if err := c.SendMail("other@example.com", []string{"b@example.net", "c@example.net"}, strings.NewReader(body)); err != nil {
				t.Fatal(err)
			}
			if err := c.Quit(); err != nil {
				t.Fatal(err)
			}
			m := s.Messages()
			if len(m) != 1 {
				t.Fatalf("%d messages", len(m))
			}
			sum := sha256.Sum256([]byte(body))
			if m[0].SHA256 != hex.EncodeToString(sum[:]) || m[0].Size != int64(len(body)) {
				t.Errorf("body is not what was sent: %+v", m[0])
			}
			if m[0].Mailbox != "a@example.com" || m[0].From != "other@example.com" || len(m[0].Rcpts) != 2 || m[0].Framing != "DATA" {
				t.Errorf("envelope: %+v", m[0])
			}
			if st := s.Stats(); st.Auth["ok"] != 1 || st.Messages != 1 || st.Commands["RCPT"] != 2 {
				t.Errorf("stats: %+v", st)
			}
		})
	}
}

func TestXOAUTH2Failure(t *testing.T) {
	for profile, challenged := range map[string]bool{"generic": true, "google": true, "microsoft": false} {
		t.Run(profile, func(t *testing.T) {
			s := start(t, &App{Profile: profile})
			c, err := smtp.DialStartTLS(s.SMTPAddr(), s.clientTLS())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			x := &xoauth2{user: "a@example.com", token: "no"}
			err = c.Auth(x)
			if se, ok := err.(*smtp.SMTPError); !ok || se.Code != 535 {
				t.Fatalf("got %v", err)
			}
			if (x.challenge != nil) != challenged {
				t.Errorf("challenge %q", x.challenge)
			}
			// Another mailbox's token is no better.
			err = c.Auth(&xoauth2{user: "a@example.com", token: s.IssueToken("b@example.com")})
			if se, ok := err.(*smtp.SMTPError); !ok || se.Code != 535 {
				t.Fatalf("got %v", err)
			}
			if err := c.Auth(&xoauth2{user: "a@example.com", token: s.IssueToken("A@example.com")}); err != nil {
				t.Fatal(err)
			}
		})
	}
}
