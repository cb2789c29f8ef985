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

package servertls

import (
	"crypto/tls"
	"strings"

	"golang.org/x/net/idna"
)

// AnyName returns a tls.Config.GetCertificate that answers a client whose server name
// can be none of a certificate's, as mail_gateway of an office's own network, as one that
// has said no name: Caddy refuses such a name, where it has a certificate for any other.
func AnyName(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := get(hello)
		if err == nil || hello.ServerName == "" {
			return cert, err
		}
		if _, wrong := idna.Lookup.ToASCII(strings.TrimSpace(hello.ServerName)); wrong == nil {
			return cert, err
		}
		nameless := *hello
		nameless.ServerName = ""
		return get(&nameless)
	}
}
