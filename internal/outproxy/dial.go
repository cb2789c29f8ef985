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

package outproxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/proxy"
)

// Dial connects to an address through the proxy that the network_proxy module names
// for it: http and https by CONNECT (RFC 9110 section 9.3.6), socks5
// and socks5h by SOCKS (RFC 1928). No proxy for it means a direct connection.
func Dial(ctx context.Context, d *net.Dialer, network, address string, named func(*http.Request) (*url.URL, error)) (net.Conn, error) {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Scheme: "https", Host: address}, Host: address, Header: make(http.Header)}
	u, err := named(req.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("network proxy: %w", err)
	}
	if u == nil {
		return d.DialContext(ctx, network, address)
	}
	switch u.Scheme {
	case "socks5", "socks5h":
		var auth *proxy.Auth
		if u.User != nil {
			password, _ := u.User.Password()
			auth = &proxy.Auth{User: u.User.Username(), Password: password}
		}
		p, err := proxy.SOCKS5("tcp", hostPort(u, "1080"), auth, d)
		if err != nil {
			return nil, err
		}
		return p.(proxy.ContextDialer).DialContext(ctx, "tcp", address)
	case "http", "https":
	default:
		return nil, fmt.Errorf("network proxy: unrecognized scheme '%s'", u.Scheme)
	}
	port := "80"
	if u.Scheme == "https" {
		port = "443"
	}
	nc, err := d.DialContext(ctx, network, hostPort(u, port))
	if err != nil {
		return nil, fmt.Errorf("network proxy: %w", err)
	}
	if u.Scheme == "https" {
		tc := tls.Client(nc, &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12})
		if err := tc.HandshakeContext(ctx); err != nil {
			_ = nc.Close()
			return nil, fmt.Errorf("network proxy: %w", err)
		}
		nc = tc
	}
	if u.User != nil {
		password, _ := u.User.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
	}
	if err := connectThrough(ctx, nc, req); err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("network proxy: %w", err)
	}
	return nc, nil
}

// maxProxyAnswer bounds the header of a proxy's answer.
const maxProxyAnswer = 16 << 10

func connectThrough(ctx context.Context, nc net.Conn, req *http.Request) error {
	if t, ok := ctx.Deadline(); ok {
		if err := nc.SetDeadline(t); err != nil {
			return err
		}
	}
	req.URL = &url.URL{Opaque: req.Host}
	if err := req.Write(nc); err != nil {
		return err
	}
	// An SMTP server speaks first: what follows the proxy's answer is its
	// greeting, so nothing may be read beyond the empty line.
	var head []byte
	for one := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); {
		if len(head) >= maxProxyAnswer {
			return errors.New("answer too long")
		}
		n, err := nc.Read(one)
		if err != nil {
			return err
		}
		head = append(head, one[:n]...)
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("CONNECT refused: %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return nc.SetDeadline(time.Time{})
}

func hostPort(u *url.URL, port string) string {
	if p := u.Port(); p != "" {
		port = p
	}
	return net.JoinHostPort(u.Hostname(), port)
}
