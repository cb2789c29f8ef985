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

package smtpapp

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
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

// makeLegacy lets TLS 1.0 and 1.1 in: Caddy's policies cannot.
func makeLegacy(cfg *tls.Config) {
	cfg.MinVersion = tls.VersionTLS10
	suites := append([]uint16(nil), cfg.CipherSuites...)
	if len(suites) == 0 {
		for _, s := range tls.CipherSuites() {
			suites = append(suites, s.ID)
		}
	}
	cfg.CipherSuites = append(suites, legacyCiphers...)
}

// overrideTLS returns a config that changes each one which outer would have
// chosen. The changed ones are kept: what belongs to them must last.
func overrideTLS(outer *tls.Config, change func(*tls.Config)) *tls.Config {
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

// fileCertificate is a certificate of files, read again when they change. A
// pair that does not load leaves the one before it in use.
type fileCertificate struct {
	cert, key string
	logger    *zap.Logger

	mu      sync.Mutex
	loaded  *tls.Certificate
	changed [2]time.Time
}

func newFileCertificate(cert, key string, logger *zap.Logger) (*fileCertificate, error) {
	f := &fileCertificate{cert: cert, key: key, logger: logger}
	stamp, err := f.stamp()
	if err != nil {
		return nil, err
	}
	if err := f.load(stamp); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *fileCertificate) stamp() (stamp [2]time.Time, err error) {
	for i, name := range []string{f.cert, f.key} {
		info, err := os.Stat(name)
		if err != nil {
			return stamp, err
		}
		stamp[i] = info.ModTime()
	}
	return stamp, nil
}

func (f *fileCertificate) load(stamp [2]time.Time) error {
	f.changed = stamp
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("loading certificate %s: %w", f.cert, err)
	}
	f.loaded = &pair
	return nil
}

// get implements tls.Config.GetCertificate.
func (f *fileCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if stamp, err := f.stamp(); err == nil && stamp != f.changed {
		if err := f.load(stamp); err != nil {
			f.logger.Error("certificate has changed but cannot be used; keeping the one before", zap.Error(err))
		}
	}
	return f.loaded, nil
}
