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
	"sync"
)

// legacyCiphers are what devices of TLS 1.0 and 1.1 know. Broken ones (RC4)
// are not among them.
var legacyCiphers = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA,
	tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
}

// AllowLegacy lets TLS 1.0 and 1.1 in: Caddy's policies cannot.
func AllowLegacy(cfg *tls.Config) {
	cfg.MinVersion = tls.VersionTLS10
	suites := append([]uint16(nil), cfg.CipherSuites...)
	if len(suites) == 0 {
		for _, s := range tls.CipherSuites() {
			suites = append(suites, s.ID)
		}
	}
	cfg.CipherSuites = append(suites, legacyCiphers...)
}

// Override returns a config that changes each one which outer would have
// chosen. The changed ones are kept: what belongs to them must last.
func Override(outer *tls.Config, change func(*tls.Config)) *tls.Config {
	var mu sync.Mutex
	changed := make(map[*tls.Config]*tls.Config)
	return &tls.Config{
		MinVersion: tls.VersionTLS10, // the chosen config decides
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			cfg, err := outer.GetConfigForClient(hello)
			if err != nil || cfg == nil {
				return cfg, err
			}
			mu.Lock()
			defer mu.Unlock()
			if c, ok := changed[cfg]; ok {
				return c, nil
			}
			// Not Clone: Caddy rotates the ticket keys of its own
			// config, and a copy would keep the old ones for ever.
			c := &tls.Config{
				GetCertificate:         cfg.GetCertificate,
				VerifyPeerCertificate:  cfg.VerifyPeerCertificate,
				VerifyConnection:       cfg.VerifyConnection,
				NextProtos:             cfg.NextProtos,
				ClientAuth:             cfg.ClientAuth,
				ClientCAs:              cfg.ClientCAs,
				CipherSuites:           cfg.CipherSuites,
				SessionTicketsDisabled: cfg.SessionTicketsDisabled,
				MinVersion:             cfg.MinVersion,
				MaxVersion:             cfg.MaxVersion,
				CurvePreferences:       cfg.CurvePreferences,
				KeyLogWriter:           cfg.KeyLogWriter,
			}
			change(c)
			changed[cfg] = c
			return c, nil
		},
	}
}
