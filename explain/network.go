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

package explain

// What a login means that the server does not offer, in the log's words and in those
// that clients hear.
const (
	mechanismCause  = "The server that answers offers no login of the upstream's kind: another host or port than the provider's for submission, a login that it offers after TLS only, or a device on the way that takes it away."
	mechanismRemedy = "Correct `dial`, `tls` and `auth` of the upstream."
)

// networkFailures are what the system and the TLS library say.
var networkRows = []row{
	{words: []string{"certificate signed by unknown authority"}, Explanation: Explanation{
		ID:     "cert_unknown_authority",
		Cause:  "The server's certificate comes from an authority that is not trusted: a private one, or a device that opens TLS on the way.",
		Remedy: "For a private server name its authority with `trust_pool file CA.pem`. For a public provider find out who intercepts the connection: have the provider excepted there, or name that device's authority.",
	}},
	{words: []string{"certificate is valid for|certificate is not valid for any names|doesn't contain any ip sans"}, Explanation: Explanation{
		ID:     "cert_name",
		Cause:  "The server's certificate is for another name.",
		Remedy: "Use the server's name in `dial`, or set `server_name` in `tls`.",
	}},
	{words: []string{"certificate has expired or is not yet valid"}, Explanation: Explanation{
		ID:     "cert_expired",
		Cause:  "The server's certificate has expired or is not valid yet, or this machine's clock is wrong.",
		Remedy: "Set the clock by NTP; otherwise the server's operator renews the certificate.",
	}},
	{words: []string{"first record does not look like a tls handshake"}, Explanation: Explanation{
		ID:     "tls_mode",
		Cause:  "The server speaks plain SMTP on this port, where implicit TLS was tried.",
		Remedy: "Use `tls starttls` for port 587, `tls implicit` for port 465.",
	}},
	{words: []string{"server gave http response to https client"}, Explanation: Explanation{
		ID:     "no_tls",
		Cause:  "What answers speaks HTTP in the clear where TLS was begun: a proxy, a network that wants a login, or the wrong port.",
		Remedy: "Open the URL with curl from this machine; correct `endpoint`, HTTPS_PROXY or the network.",
	}},
	{words: []string{"the proxy answers http"}, Explanation: Explanation{
		ID:     "proxy_refused",
		Cause:  "The proxy that the environment names (HTTPS_PROXY) does not let the gateway through: 407 wants a login, 403 forbids the host.",
		Remedy: "Allow the provider's host at the proxy, or name user and password in HTTPS_PROXY.",
	}},
	{words: []string{"does not announce mechanism"}, Explanation: Explanation{
		ID:     "no_mechanism",
		Cause:  mechanismCause,
		Remedy: mechanismRemedy,
	}},
	{words: []string{"starttls", "not offer|not support|not advertise"}, Explanation: Explanation{
		ID:     "no_starttls",
		Cause:  "The server does not offer STARTTLS, or something on the way removes it. The gateway does not go on in the clear.",
		Remedy: "Use `tls implicit` with port 465 if the provider has it; otherwise find out who interferes.",
	}},
	{words: []string{"remote error: tls|tls: handshake failure|tls: protocol version|tls: bad record mac"}, Explanation: Explanation{
		ID:     "tls_refused",
		Cause:  "The server broke the TLS handshake off.",
		Remedy: "Check the port and the TLS mode; an old server may know no TLS 1.2.",
	}},
	{words: []string{"x509:|tls: failed to verify"}, Explanation: Explanation{
		ID:     "cert_other",
		Cause:  "The server's certificate could not be verified.",
		Remedy: "See what the message says of the certificate, and `trust_pool` and `server_name` in `tls`.",
	}},
	{words: []string{"too many open files"}, Explanation: Explanation{
		ID:         "descriptors",
		Cause:      "The gateway has as many files and connections open as the system lets it: the other side is not to blame.",
		Remedy:     "Raise the limit (`LimitNOFILE` of the service, `ulimit -n`), or lower `max_conns` of the servers and upstreams.",
		RetryHelps: true,
	}},
	{words: []string{"no such host"}, Explanation: Explanation{
		ID:     "dns_no_host",
		Cause:  "The server's name does not exist, as far as this machine's resolver knows.",
		Remedy: "Check `dial` and the resolver.",
	}},
	{words: []string{"lookup ", "timeout|server misbehaving|temporary failure"}, Explanation: Explanation{
		ID:         "dns_trouble",
		Cause:      "This machine's resolver does not answer.",
		Remedy:     "Check /etc/resolv.conf and the network.",
		RetryHelps: true,
	}},
	{words: []string{"cannot assign requested address"}, Explanation: Explanation{
		ID:     "source_ip",
		Cause:  "The source_ip of the account or the upstream is not an address of this machine.",
		Remedy: "Give the machine the address, or correct source_ip.",
	}},
	{words: []string{"connection refused"}, Explanation: Explanation{
		ID:         "refused",
		Cause:      "Nothing listens at this address and port, or a firewall rejects the connection.",
		Remedy:     "Check `dial`; many hosting providers block outgoing ports 25, 465 and 587 until asked.",
		RetryHelps: true,
	}},
	{words: []string{"i/o timeout|deadline exceeded|connection timed out|operation timed out"}, Explanation: Explanation{
		ID:         "timeout",
		Cause:      "No answer. If it is the connection that does not come about, a firewall most likely drops it: many hosting providers block outgoing ports 25, 465 and 587.",
		Remedy:     "Try port 587 in place of 465 or the reverse; ask the hosting provider to open the port; or use network_proxy.",
		RetryHelps: true,
	}},
	{words: []string{"no route to host|network is unreachable"}, Explanation: Explanation{
		ID:         "no_route",
		Cause:      "This machine has no route to the server; often IPv6 is configured but not connected.",
		Remedy:     "Check the network; source_ip with an IPv4 address keeps to IPv4.",
		RetryHelps: true,
	}},
	{words: []string{"connection reset|broken pipe|unexpected eof"}, Explanation: Explanation{
		ID:         "reset",
		Cause:      "The server, or something on the way, closed the connection.",
		Remedy:     "If it happens each time, a firewall or a virus scanner on the way is likely.",
		RetryHelps: true,
	}},
}
