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

package graph_test

import (
	"context"
	"fmt"
	"net/smtp"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/sandbox"
)

func TestMain(m *testing.M) { gatewaytest.Main(m) }

// TestOneMessage goes the whole way: Caddyfile, SMTP, token, Graph, mailbox.
func TestOneMessage(t *testing.T) {
	sb, err := sandbox.Start(&sandbox.App{Profile: "microsoft", KeepBodies: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sb.Close)
	addr := gatewaytest.FreeAddress(t)
	plain, hash := password.Generate()
	cfg, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(fmt.Appendf(nil, `{
	admin off
	persist_config off
	storage file_system %[1]s
	oauth_tokens {
		provider microsoft generic {
			token_url %[2]s/token
			client_id sandbox
			client_secret sandbox-secret
			scopes https://outlook.office.com/SMTP.Send
		}
	}
	smtp_upstreams {
		upstream graph {
			transport graph {
				endpoint %[2]s
			}
		}
	}
	smtp {
		hostname localhost
		accounts {
			account box@example.com {
				upstream graph
				password_hash %[3]s
				refresh_token rt-box@example.com
			}
		}
		server local %[4]s {
			tls off
		}
	}
}
`, filepath.Join(t.TempDir(), "storage"), sb.HTTPURL(), hash, addr), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	if err := caddy.Load(cfg, true); err != nil {
		t.Fatal(err)
	}
	msg := "From: Box <box@example.com>\r\nTo: To <to@example.org>\r\nSubject: hello\r\n\r\nHello.\r\n"
	auth := smtp.PlainAuth("", "box@example.com", plain, "127.0.0.1")
	if err := smtp.SendMail(addr, auth, "box@example.com", []string{"to@example.org", "blind@example.net"}, []byte(msg)); err != nil {
		t.Fatal(err)
	}
	if err := sb.WaitMessages(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	m := sb.MessagesAfter(0, 10)
	if len(m) != 1 || m[0].Framing != "GRAPH" || m[0].Mailbox != "box@example.com" || string(m[0].Body) != msg {
		t.Fatalf("%+v\n%q", m, m[0].Body)
	}
	if got := strings.Join(m[0].Rcpts, " "); got != "blind@example.net to@example.org" {
		t.Errorf("delivered to %s", got)
	}
}
