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

package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/invoked"
)

// EmailProxy reads the configuration file of email-oauth2-proxy: each
// section whose name has an @ is an account. Its tokens cannot be carried over,
// since they are encrypted with the passwords of the mail clients.
func EmailProxy(r io.Reader) (*Foreign, error) {
	data, err := readForeign(r)
	if err != nil {
		return nil, err
	}
	f := new(Foreign)
	sections := parseINI(string(data))
	servers := smtpServers(sections)
	others := 0
	for _, s := range sections {
		switch {
		case strings.Contains(s.name, "@"):
			im := f.emailProxyAccount(s, servers)
			im.Line = s.line
			f.Accounts = append(f.Accounts, im)
		case strings.HasPrefix(s.name, "IMAP-"), strings.HasPrefix(s.name, "POP-"):
			others++
		case strings.HasPrefix(s.name, "SMTP-"):
			f.Notes = append(f.Notes, fmt.Sprintf("[%s]: clients that use this port need a server in the `smtp` app that listens there, or its port", clip(s.name)))
		}
	}
	if len(f.Accounts) == 0 {
		return nil, errors.New("no section of the file is an account: is this the configuration of email-oauth2-proxy?")
	}
	if others > 0 {
		f.Notes = append(f.Notes, fmt.Sprintf("%d IMAP and POP servers are not carried over: this gateway sends only", others))
	}
	f.finish()
	f.passwordNote("The file has no passwords that could be read.")
	return f, nil
}

// smtpServer is a submission server of the configuration.
type smtpServer struct {
	addr string
	tls  string // implicit, or empty for STARTTLS
}

// smtpServers returns the submission servers of the configuration. There, TLS is from the
// start unless an option says STARTTLS.
func smtpServers(sections []*iniSection) []smtpServer {
	var servers []smtpServer
	for _, s := range sections {
		host := s.values["server_address"]
		if !strings.HasPrefix(s.name, "SMTP-") || host == "" {
			continue
		}
		port := cmp.Or(s.values["server_port"], "587")
		server := smtpServer{addr: net.JoinHostPort(host, port)}
		switch strings.ToLower(cmp.Or(s.values["server_starttls"], s.values["starttls"])) {
		case "true", "yes", "on", "1":
		default:
			if port != "587" && port != "25" {
				server.tls = "implicit"
			}
		}
		if !slices.Contains(servers, server) {
			servers = append(servers, server)
		}
	}
	return servers
}

// emailProxyKnown are the options that are translated, or that mean nothing
// here.
var emailProxyKnown = []string{
	"documentation", "permission_url", "token_url", "oauth2_scope", "oauth2_flow", "oauth2_resource",
	"client_id", "client_secret", "client_secret_encrypted", "redirect_uri", "redirect_listen_address",
	"token_salt", "token_iterations", "access_token", "access_token_expiry", "refresh_token", "last_activity",
	"api_key", "auth_code", "jwt_certificate_path", "jwt_key_path",
}

func (f *Foreign) emailProxyAccount(s *iniSection, servers []smtpServer) (im Imported) {
	fail := func(field string, err error) Imported {
		im.Err = &accounts.FieldError{Account: s.name, Field: field, Err: err}
		return im
	}
	if strings.HasPrefix(s.name, "@") {
		return fail("", errors.New("a section for all addresses of a domain: here each account has a record of its own"))
	}
	if s.bad > 0 {
		im.note("line %d is not understood", s.bad)
	}
	clientID := s.values["client_id"]
	flow := accounts.FoldName(s.values["oauth2_flow"])
	switch {
	case strings.Contains(clientID, "***"):
		return fail("client_id", errors.New("the placeholder of the sample configuration"))
	case clientID == "" && flow != "service_account":
		return fail("client_id", errors.New("must not be empty"))
	case s.values["token_url"] == "":
		return fail("token_url", errors.New("must not be empty"))
	}
	kind, u, err := knownEndpoint(s.values["token_url"])
	if err != nil {
		return fail("token_url", err)
	}
	p := SuggestedProvider{Kind: kind, ClientID: clientID}
	switch flow {
	case "", "authorization_code", "device":
	case "client_credentials":
		p.Grant = flow
	case "service_account":
		// There, client_id says of what kind client_secret is.
		p.Grant, p.ClientID = flow, ""
		im.note("option 'client_secret': give the service account's key file to the provider as service_account_file")
	default:
		im.note("option 'oauth2_flow': %s is not supported, the account needs consent instead", clip(flow))
	}
	switch kind {
	case "microsoft":
		p.Tenant = microsoftTenant(u)
		if accounts.FoldName(u.Hostname()) == "login.live.com" {
			p.Tenant = "consumers"
		}
	case "":
		p.Kind = "generic"
		p.TokenURL = u.String()
		p.AuthURL = s.values["permission_url"]
		p.Scopes = strings.Fields(s.values["oauth2_scope"])
		switch {
		case len(servers) == 1:
			p.Dial, p.TLS = servers[0].addr, servers[0].tls
		default:
			im.note("the file does not tell which SMTP server the account uses: give the upstream its `dial`")
		}
	}
	if (p.Kind == "google" || p.Kind == "microsoft") && p.Grant == "" && !sendsMail(p.Kind, s.values["oauth2_scope"]) {
		im.note("option 'oauth2_scope': it does not cover sending; the consent for the gateway has to")
	}
	if p.Certificate = s.values["jwt_certificate_path"]; p.Certificate != "" {
		p.Key = s.values["jwt_key_path"]
		im.note("options 'jwt_certificate_path', 'jwt_key_path': they are `client_certificate` and `client_key` of the provider; the gateway must be allowed to read the files")
	} else if s.values["jwt_key_path"] != "" {
		im.note("option 'jwt_key_path': without a certificate it proves nothing; give the provider `client_certificate` and `client_key`")
	}
	p.Preset = presetOf(kind, s.name)
	im.Record = accounts.Record{Name: s.name, Upstream: "imported"}
	if _, err := accounts.Compile(im.Record, "import"); err != nil {
		im.Err = err
		return im
	}
	// Of the two the certificate is used there, too.
	needsSecret := p.Grant != "service_account" && p.Certificate == "" &&
		(s.values["client_secret"] != "" || s.values["client_secret_encrypted"] != "")
	if s.values["client_secret_encrypted"] != "" {
		im.note("option 'client_secret_encrypted': it cannot be read; take the secret from the provider's console")
	}
	if p.Grant == "client_credentials" && !needsSecret && p.Certificate == "" {
		im.note("option 'client_secret': there is none, and grant `client_credentials` needs it, or `client_certificate`")
	}
	im.Record.Upstream = f.use(p, needsSecret)

	if p.Grant == "" {
		why := "there is no token yet"
		if s.values["refresh_token"] != "" || s.values["access_token"] != "" {
			why = "its token is encrypted with the mail client's password and cannot be carried over"
		}
		im.note("%s: run `%s %s` for consent", why, invoked.Words("caddy smtp login"), s.name)
	}
	for _, option := range s.order {
		if !slices.Contains(emailProxyKnown, option) {
			im.note("option '%s' is not carried over", clip(option))
		}
	}
	return im
}

// sendsMail reports whether scopes cover SMTP.
func sendsMail(kind, scopes string) bool {
	scopes = accounts.FoldName(scopes)
	if kind == "google" {
		return strings.Contains(scopes, "https://mail.google.com/")
	}
	return strings.Contains(scopes, "smtp.send") || strings.Contains(scopes, ".default")
}
