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

package operate

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/internal/presence"
)

// TestProcesses: a gateway beside this one on its host is mostly one too many; one
// on another host is a second node.
func TestProcesses(t *testing.T) {
	since := time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)
	found := processes("here", []presence.Process{
		{PID: 7, Host: "here", Program: "caddy\x1b", Since: since, Listen: []string{":25", ":587"}},
		{PID: 8, Host: "there", Since: since},
		{},
	})
	for i, want := range []struct {
		state         checkup.State
		subject, said string
	}{
		{checkup.Warning, "process 7", "uses the same storage since 2026-11-26T10:00:00Z as caddy, listening at :25, :587"},
		{checkup.OK, "process 8 on there", "uses the same storage since 2026-11-26T10:00:00Z"},
		{checkup.Warning, "another process", "uses the same storage"},
	} {
		f := found[i]
		if f.Check != "processes" || f.State != want.state || f.Subject != want.subject || strings.TrimSpace(f.Said) != want.said {
			t.Errorf("%+v, want %+v", f, want)
		}
		if told := f.Cause != "" && f.Remedy != ""; told != (want.state == checkup.Warning) {
			t.Errorf("cause and remedy: %+v", f)
		}
	}
}

// TestSourceThatIsAway: a source that cannot be read is no malformed record, and the
// finding says what it is and where.
func TestSourceThatIsAway(t *testing.T) {
	away := errors.New("ldaps://dc1.example.com: connection refused")
	found := examineRecords([]accounts.Problem{
		accounts.Unread("ldap dc=example", away, false), accounts.Unread("sql people", away, true),
		{Source: "file", Line: 3, Message: "malformed"},
	}, 7)
	for i, want := range []struct {
		state       checkup.State
		said, cause string
	}{
		{checkup.Wrong, "connection refused", "does not answer"},
		{checkup.Warning, "connection refused", "does not answer"},
		{checkup.Warning, "1 problems, the first: file, line 3", "malformed"},
	} {
		if f := found[i]; f.State != want.state || !strings.Contains(f.Said, want.said) || !strings.Contains(f.Cause, want.cause) || f.Remedy == "" {
			t.Errorf("%+v, want %+v", f, want)
		}
	}
	if f := examineRecords(nil, 7); len(f) != 1 || f[0].State != checkup.OK {
		t.Errorf("%+v", f)
	}
}

// TestEgressOfAPI: what keeps an API from being reached is told with cause and remedy.
func TestEgressOfAPI(t *testing.T) {
	for said, want := range map[string]string{
		"graph.microsoft.com: tls: failed to verify certificate: x509: certificate signed by unknown authority (the certificate is by 'Example Inspection CA')": "not trusted",
		"graph.microsoft.com: the proxy answers HTTP 407 to CONNECT": "proxy",
		"graph.microsoft.com: something new":                         "cannot be reached",
	} {
		found := checkAPI(t.Context(), "office", func(context.Context, string) (string, bool, error) { return "", true, errors.New(said) })
		if len(found) != 1 || found[0].State != checkup.Wrong || found[0].Subject != "office" || found[0].Said != said || !strings.Contains(found[0].Cause, want) || found[0].Remedy == "" {
			t.Errorf("%+v", found)
		}
	}
	if found := checkAPI(t.Context(), "office", func(context.Context, string) (string, bool, error) {
		return "https://graph.microsoft.com: HTTP 404", true, nil
	}); len(found) != 1 || found[0].State != checkup.OK {
		t.Errorf("%+v", found)
	}
	if found := checkAPI(t.Context(), "several", func(context.Context, string) (string, bool, error) { return "", false, nil }); len(found) != 0 {
		t.Errorf("%+v", found)
	}
}

// TestMarks: what a test found holds for the account as it was, and a refusal until
// a message is accepted.
func TestMarks(t *testing.T) {
	var m marks
	a := &accounts.Account{Record: accounts.Record{Name: "a@example.com", Upstream: "u"}}
	want := func(what string, accepted uint64, ok bool, refused string) {
		t.Helper()
		if gotOK, got := m.of(a, accepted); gotOK != ok || got != refused {
			t.Errorf("%s: %t, %q", what, gotOK, got)
		}
	}
	want("never tested", 0, false, "")
	m.set(a, "535 no", 3)
	want("refused", 3, false, "535 no")
	want("a message since", 4, false, "")
	m.set(a, "", 0)
	want("passed", 9, true, "")
	a.Upstream = "v"
	want("changed", 9, false, "")
}

func TestSecretIsID(t *testing.T) {
	const id = "8f3c2a1e-5b7d-4c9a-9e1f-0a2b3c4d5e6f"
	for _, tc := range []struct {
		kind, secret string
		want         bool
	}{
		{"microsoft", id, true},
		{"microsoft", strings.ToUpper(id), true},
		{"microsoft", "abc8Q~abcdefghijklmnopqrstuvwxyz0123456", false},
		{"generic", id, false},
		{"microsoft", "", false},
	} {
		if got := secretIsID(tc.kind, tc.secret); got != tc.want {
			t.Errorf("%s %q: %t", tc.kind, tc.secret, got)
		}
	}
}
