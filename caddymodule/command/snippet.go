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

package command

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/caddymodule/admin"
)

// snippetData is what the templates get.
type snippetData struct {
	Host, Port string
	// TLS is `starttls`, `implicit` or `off`.
	TLS      string
	Accounts []snippetAccount
}

// snippetAccount is one login, and the senders that use it.
type snippetAccount struct {
	Name string
	// Senders are addresses or @domain.
	Senders []string
	// ID is the name as a word of letters, digits and hyphens.
	ID string
}

func (d snippetData) Many() bool { return len(d.Accounts) > 1 }

func snippetCommand() *cobra.Command {
	names := make([]string, 0, len(snippets))
	for name := range snippets {
		names = append(names, name)
	}
	slices.Sort(names)

	var lf listFlags
	var gateway, tlsMode string
	cmd := &cobra.Command{
		Use:   "snippet " + strings.Join(names, "|") + " [ACCOUNT...]",
		Short: "Prints what an MTA needs to send through the gateway",
		Long: `
Prints the configuration of an MTA that sends through the gateway with the
accounts named, or chosen by the flags, or all. The gateway knows no passwords:
put them in place of PASSWORD.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			tmpl, ok := snippets[args[0]]
			if !ok {
				return fmt.Errorf("unknown MTA %q: want one of %s", args[0], strings.Join(names, ", "))
			}
			data, err := newSnippetData(gateway, tlsMode)
			if err != nil {
				return err
			}
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			if len(args) > 1 {
				for _, name := range args[1:] {
					var v admin.AccountView
					if err := c.call("GET", admin.AccountPath(name), nil, nil, &v); err != nil {
						return fmt.Errorf("account %q: %w", name, err)
					}
					data.add(v)
				}
			} else if err := lf.each(c, func(v admin.AccountView) error {
				data.add(v)
				return nil
			}); err != nil {
				return err
			}
			if len(data.Accounts) == 0 {
				return errors.New("no account is chosen")
			}
			return tmpl.Execute(cmd.OutOrStdout(), data)
		},
	}
	lf.register(cmd)
	cmd.Flags().StringVar(&gateway, "gateway", "localhost:587", "Host and port of the gateway, as the MTA reaches it")
	cmd.Flags().StringVar(&tlsMode, "tls", "", "TLS to the gateway: starttls, implicit or off (default: implicit for port 465, else starttls)")
	return cmd
}

func newSnippetData(gateway, tlsMode string) (*snippetData, error) {
	host, port, err := net.SplitHostPort(gateway)
	if err != nil || host == "" {
		return nil, fmt.Errorf("flag --gateway: want HOST:PORT, got %q", gateway)
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
	return &snippetData{Host: host, Port: port, TLS: tlsMode}, nil
}

// add adds an account. What goes into a configuration file must not break out
// of its place there.
func (d *snippetData) add(v admin.AccountView) {
	if strings.ContainsAny(v.Name, " \t\r\n\"'\\^<>{}$#") {
		return
	}
	a := snippetAccount{Name: v.Name, ID: wordOf(v.Name)}
	for _, pattern := range v.Senders {
		sender := strings.TrimPrefix(pattern, "*")
		if sender != "" && !strings.ContainsAny(sender, "* \t\r\n\"'\\^<>{}$#") {
			a.Senders = append(a.Senders, sender)
		}
	}
	if len(a.Senders) == 0 {
		a.Senders = []string{v.Name}
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
