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

package snippet

import (
	"fmt"
	"io"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
)

// Names are the MTAs that there are snippets for, in order.
func Names() []string { return slices.Sorted(maps.Keys(snippets)) }

// Write writes the snippet for an MTA.
func Write(w io.Writer, mta string, d *Data) error { return snippets[mta].Execute(w, d) }

// Data is what a snippet is about.
type Data struct {
	Host, Port string
	// TLS is `starttls`, `implicit` or `off`.
	TLS      string
	Accounts []Account
}

// Account is one login, and the senders that use it.
type Account struct {
	Name string
	// Senders are addresses or @domain.
	Senders []string
	// ID is the name as a word of letters, digits and hyphens.
	ID string
}

// Many reports whether the sender chooses the login.
func (d Data) Many() bool { return len(d.Accounts) > 1 }

// New
func New(gateway, tlsMode string) (*Data, error) {
	host, port, err := net.SplitHostPort(gateway)
	if err != nil || host == "" {
		return nil, fmt.Errorf("flag --gateway: want HOST:PORT, got %q", gateway)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("flag --gateway: want HOST:PORT with a port from 1 to 65535, got %q", gateway)
	}
	if tlsMode == "" {
		tlsMode = "starttls"
		if port == "465" {
			tlsMode = "implicit"
		}
	}
	if !slices.Contains([]string{"starttls", "implicit", "off"}, tlsMode) {
		return nil, fmt.Errorf("flag --tls: '%s' is not starttls, implicit or off", tlsMode)
	}
	return &Data{Host: host, Port: port, TLS: tlsMode}, nil
}

// Add adds an account with the senders that may use it. What goes into a
// configuration file must not break out of its place there: such an account is
// left out.
func (d *Data) Add(name string, senders []string) {
	if strings.ContainsAny(name, " \t\r\n\"'\\^<>{}$#") {
		return
	}
	a := Account{Name: name, ID: wordOf(name)}
	for _, pattern := range senders {
		sender := strings.TrimPrefix(pattern, "*")
		if sender != "" && !strings.ContainsAny(sender, "* \t\r\n\"'\\^<>{}$#") {
			a.Senders = append(a.Senders, sender)
		}
	}
	if len(a.Senders) == 0 {
		a.Senders = []string{name}
	}
	d.Accounts = append(d.Accounts, a)
}

func wordOf(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '-'
	}, name)
}

var snippets = map[string]*template.Template{
	"postfix": template.Must(template.New("postfix").Parse(`# /etc/postfix/main.cf
relayhost = [{{.Host}}]:{{.Port}}
smtp_sasl_auth_enable = yes
smtp_sasl_mechanism_filter = plain, login
smtp_sasl_security_options = noanonymous
smtp_sasl_password_maps = texthash:/etc/postfix/mailgateway_passwd
{{- if eq .TLS "off"}}
# The gateway offers AUTH without TLS to loopback, and to the networks of
# plaintext_auth.
smtp_tls_security_level = none
{{- else}}
smtp_tls_security_level = secure
smtp_tls_secure_cert_match = nexthop
smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt
{{- if eq .TLS "implicit"}}
smtp_tls_wrappermode = yes
{{- end}}
{{- end}}
{{- if .Many}}
# The sender chooses the login.
smtp_sender_dependent_authentication = yes
{{- end}}

# /etc/postfix/mailgateway_passwd (mode 0600)
{{- if .Many}}
{{- range $a := .Accounts}}
{{- range .Senders}}
{{.}} {{$a.Name}}:PASSWORD
{{- end}}
{{- end}}
{{- else}}
{{- $a := index .Accounts 0}}
[{{.Host}}]:{{.Port}} {{$a.Name}}:PASSWORD
{{- end}}
`)),

	"exim": template.Must(template.New("exim").Parse(`# routers, before any that deliver to remote hosts
mailgateway:
  driver = manualroute
  domains = ! +local_domains
  transport = mailgateway
  route_list = * {{.Host}}
  no_more

# transports
mailgateway:
  driver = smtp
  port = {{.Port}}
  hosts_require_auth = *
{{- if eq .TLS "off"}}
  hosts_avoid_tls = *
{{- else}}
  hosts_require_tls = *
  tls_verify_certificates = system
  tls_verify_hosts = *
{{- if eq .TLS "implicit"}}
  protocol = smtps
{{- end}}
{{- end}}
{{- if .Many}}
  # A connection is logged in once: the next message may be another sender's.
  connection_max_messages = 1
{{- end}}

# authenticators
mailgateway_plain:
  driver = plaintext
  public_name = PLAIN
{{- if .Many}}
  # The sender chooses the login. Without one in the file there is none, and
  # the message waits.
  client_send = <; ^${extract{1}{:}{${lookup{${lc:$sender_address}}lsearch*@{/etc/exim4/mailgateway_passwd}{$value}fail}}}^${extract{2}{:}{${lookup{${lc:$sender_address}}lsearch*@{/etc/exim4/mailgateway_passwd}{$value}fail}}}

# /etc/exim4/mailgateway_passwd (mode 0640, group of Exim)
# "*: NAME:PASSWORD" would be for bounces, which have no sender, and all others.
{{- range $a := .Accounts}}
{{- range .Senders}}
{{if eq (slice . 0 1) "@"}}*{{end}}{{.}}: {{$a.Name}}:PASSWORD
{{- end}}
{{- end}}
{{- else}}
{{- $a := index .Accounts 0}}
  client_send = ^{{$a.Name}}^PASSWORD
{{- end}}
`)),

	"powermta": template.Must(template.New("powermta").Funcs(template.FuncMap{"quotemeta": regexp.QuoteMeta}).Parse(`# One virtual MTA per account; choose it with the header X-Virtual-MTA or with
# a pattern list over MAIL FROM.
{{- range $a := .Accounts}}
<virtual-mta mailgateway-{{.ID}}>
    <domain *>
        route [{{$.Host}}]:{{$.Port}}
        auth-username {{.Name}}
        auth-password PASSWORD
{{- if eq $.TLS "off"}}
        use-starttls no
        use-unencrypted-plain-auth yes
{{- else}}
        use-starttls yes
        require-starttls yes
{{- end}}
        # At least the account's max_conns_per_account; the gateway makes the
        # rest wait.
        max-smtp-out 10
        max-msg-per-connection 1000
    </domain>
</virtual-mta>
{{- end}}
<pattern-list mailgateway>
{{- range $a := .Accounts}}
{{- range .Senders}}
    mail-from /{{if ne (slice . 0 1) "@"}}^{{end}}{{quotemeta .}}$/ virtual-mta=mailgateway-{{$a.ID}}
{{- end}}
{{- end}}
</pattern-list>
{{- if eq .TLS "implicit"}}
# PowerMTA has no implicit TLS: use a server with tls starttls.
{{- end}}
`)),

	"kumomta": template.Must(template.New("kumomta").Parse(`-- In init.lua. Mail goes to the gateway with the login of its sender.
local GATEWAY = '{{.Host}}'
local LOGINS = {
{{- range $a := .Accounts}}
{{- range .Senders}}
  ['{{.}}'] = '{{$a.Name}}',
{{- end}}
{{- end}}
}

kumo.on('smtp_server_message_received', function(msg)
  local sender = tostring(msg:sender()):lower()
  local login = LOGINS[sender] or LOGINS[sender:match('@.*$') or '']
  if not login then
    kumo.reject(550, '5.7.1 no login for this sender')
  end
  msg:set_meta('tenant', login)
  msg:set_meta('routing_domain', GATEWAY)
end)

kumo.on('get_queue_config', function(domain, tenant, campaign, routing_domain)
  return kumo.make_queue_config {
    egress_pool = tenant,
    protocol = { smtp = { mx_list = { GATEWAY } } },
  }
end)

-- One source per login keeps the connections of logins apart.
kumo.on('get_egress_pool', function(pool)
  return kumo.make_egress_pool { name = pool, entries = { { name = pool } } }
end)
kumo.on('get_egress_source', function(source)
  return kumo.make_egress_source { name = source, remote_port = {{.Port}} }
end)
kumo.on('get_egress_path_config', function(routing_domain, source, site)
  return kumo.make_egress_path {
    enable_tls = '{{if eq .TLS "off"}}Disabled{{else}}Required{{end}}',
{{- if eq .TLS "off"}}
    allow_smtp_auth_plain_without_tls = true,
{{- end}}
    smtp_auth_plain_username = source,
    -- A file per login, which holds the password.
    smtp_auth_plain_password = '/opt/kumomta/etc/mailgateway/' .. source,
  }
end)
{{- if eq .TLS "implicit"}}
-- KumoMTA has no implicit TLS: use a server with tls starttls.
{{- end}}
`)),
}
