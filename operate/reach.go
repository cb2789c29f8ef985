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
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/internal/invoked"
	"github.com/caddymail/mailgateway/internal/outproxy"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp"
)

// reachTimeout bounds each way to a listener or a provider.
const reachTimeout = 10 * time.Second

// checkEgress looks up an upstream and reads its greeting.
func checkEgress(ctx context.Context, u relay.UpstreamStatus, viaProxy bool) []checkup.Finding {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	egress := checkup.Finding{Check: "egress", Subject: u.Name}
	if viaProxy {
		egress.State, egress.Said = checkup.Unknown, invoked.Words("reached through a proxy; `caddy smtp test ACCOUNT` goes that way")
		return one(egress)
	}
	var out []checkup.Finding
	host, _, err := net.SplitHostPort(u.Dial)
	if _, perr := netip.ParseAddr(host); err == nil && perr != nil {
		dns := checkup.Finding{Check: "dns", Subject: host, State: checkup.OK}
		addrs, err := net.DefaultResolver.LookupHost(ctx, host)
		dns.Said = strings.Join(addrs, ", ")
		if err != nil {
			dns.State, dns.Said = checkup.Wrong, err.Error()
			dns.Cause = "The upstream's name cannot be looked up."
			dns.Remedy = "Check the name, and the resolvers of this machine (/etc/resolv.conf)."
			return append(out, dns)
		}
		out = append(out, dns)
	}
	greeting, err := greet(ctx, u.Dial, u.TLS == "implicit")
	egress.State, egress.Said = checkup.OK, u.Dial+": "+greeting
	if err != nil {
		egress.State, egress.Said = checkup.Wrong, u.Dial+": "+err.Error()
		egress.Cause = "The upstream's port cannot be reached from here, or what answers there is no mail server."
		egress.Remedy = "Open the port outwards in the firewall; hosting companies close 25, and some 465 and 587, until they are asked."
	}
	return append(out, egress)
}

// checkAPI asks a provider's HTTP API for any answer, as messages would.
func checkAPI(ctx context.Context, upstream string, reach func(context.Context, string) (string, bool, error)) []checkup.Finding {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	said, asked, err := reach(ctx, upstream)
	if !asked {
		return nil
	}
	f := checkup.Finding{Check: "egress", Subject: upstream, State: checkup.OK, Said: printable(said)}
	if err != nil {
		f.State, f.Said = checkup.Wrong, printable(err.Error())
		f.Cause = "The provider's API cannot be reached from here."
		f.Remedy = "Open HTTPS outwards to it, or set HTTPS_PROXY in the environment of the service."
		if perr := outproxy.Environment(); perr != nil {
			f.Cause = "The provider's API cannot be reached from here. " + perr.Error() + "."
		}
		if e, ok := (explain.About{}).Of(err.Error()); ok {
			f.Cause, f.Remedy = e.Cause, e.Remedy
		}
	}
	return one(f)
}

// greet reads the greeting of a mail server. It checks no certificate: messages do.
func greet(ctx context.Context, address string, implicit bool) (string, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	if implicit {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // no secret is sent
	}
	s := &speaker{nc: nc}
	return s.begin(ctx)
}

// speaker says a few commands of SMTP.
type speaker struct {
	nc net.Conn
	r  *textproto.Reader
}

func (s *speaker) begin(ctx context.Context) (greeting string, err error) {
	if deadline, ok := ctx.Deadline(); ok {
		if err := s.nc.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	s.r = textproto.NewReader(bufio.NewReaderSize(s.nc, 4<<10))
	_, greeting, err = s.r.ReadResponse(220)
	if err == nil {
		_, err = s.nc.Write([]byte("QUIT\r\n"))
	}
	return printable(greeting), err
}

// say sends a command and returns the reply, which must have the code.
func (s *speaker) say(command string, code int) (string, error) {
	if _, err := s.nc.Write([]byte(command + "\r\n")); err != nil {
		return "", err
	}
	_, text, err := s.r.ReadResponse(code)
	return text, err
}

// printable is the first line of a foreign text, fit for a terminal.
func printable(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return -1
		}
		return r
	}, line)
	return line[:min(len(line), 200)]
}

// checkListener goes to one of the gateway's own addresses as a client does.
func checkListener(ctx context.Context, name, address string, server *smtpapp.Server, hostname string) checkup.Finding {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	f := checkup.Finding{Check: "listener", Subject: name + " " + address, State: checkup.OK}
	mode := "starttls"
	if server.TLS != nil {
		mode = cmp.Or(server.TLS.Mode, mode)
	}
	said, err := visit(ctx, address, mode, hostname)
	f.Said = said
	if err == nil {
		return f
	}
	f.State, f.Said = checkup.Wrong, err.Error()
	f.Cause = "A client of this machine cannot use the server at its own address."
	f.Remedy = "See the log for the server's name: `certificate` and `refused` lines say more. A full server answers 421."
	if server.ListenerWrappersRaw != nil {
		f.State = checkup.Unknown
		f.Cause = "The server has listener wrappers (such as proxy_protocol), which may keep the doctor out."
	}
	return f
}

// visit greets one of the gateway's own servers, with TLS where clients have it.
func visit(ctx context.Context, address, mode, hostname string) (string, error) {
	at, err := caddy.ParseNetworkAddressWithDefaults(address, "tcp", 587)
	if err != nil {
		return "", err
	}
	network, target := at.Network, at.JoinHostPort(0)
	if at.IsUnixNetwork() {
		target = at.Host
	} else if ip, err := netip.ParseAddr(at.Host); at.Host == "" || err == nil && ip.IsUnspecified() {
		target = net.JoinHostPort("localhost", fmt.Sprint(at.StartPort))
	}
	nc, err := new(net.Dialer).DialContext(ctx, network, target)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	deadline, _ := ctx.Deadline()
	_ = nc.SetDeadline(deadline)
	secure := func() (string, error) {
		tc := tls.Client(nc, &tls.Config{ServerName: hostname, InsecureSkipVerify: true}) //nolint:gosec // looked at below, with words
		if err := tc.HandshakeContext(ctx); err != nil {
			return "", fmt.Errorf("TLS handshake: %w", err)
		}
		nc = tc
		return shown(tc.ConnectionState(), hostname), nil
	}
	trust := "no TLS"
	if mode == "implicit" {
		if trust, err = secure(); err != nil {
			return "", err
		}
	}
	s := &speaker{nc: nc, r: textproto.NewReader(bufio.NewReader(nc))}
	if _, _, err := s.r.ReadResponse(220); err != nil {
		return "", fmt.Errorf("greeting: %w", err)
	}
	extensions, err := s.say("EHLO doctor.invalid", 250)
	if err != nil {
		return "", fmt.Errorf("EHLO: %w", err)
	}
	if mode == "starttls" {
		if !strings.Contains(extensions, "STARTTLS") {
			return "", errors.New("STARTTLS is not offered")
		}
		if _, err := s.say("STARTTLS", 220); err != nil {
			return "", fmt.Errorf("STARTTLS: %w", err)
		}
		if trust, err = secure(); err != nil {
			return "", err
		}
	}
	s = &speaker{nc: nc, r: textproto.NewReader(bufio.NewReader(nc))}
	if _, err := s.say("QUIT", 221); err != nil {
		return "", fmt.Errorf("QUIT: %w", err)
	}
	return "answers, " + trust, nil
}

// shown says how a client with the system's roots sees a certificate.
func shown(state tls.ConnectionState, hostname string) string {
	leaf := state.PeerCertificates[0]
	opts := x509.VerifyOptions{DNSName: hostname, Intermediates: x509.NewCertPool()}
	for _, c := range state.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	text := fmt.Sprintf("%s, certificate of %s until %s", tls.VersionName(state.Version), cmp.Or(leaf.Issuer.CommonName, "unnamed issuer"), leaf.NotAfter.UTC().Format(time.RFC3339))
	if _, err := leaf.Verify(opts); err != nil {
		return text + ", which clients must be told to trust: " + err.Error()
	}
	return text + ", which clients trust"
}
