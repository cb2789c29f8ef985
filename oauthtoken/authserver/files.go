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

package authserver

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/caddymail/mailgateway/oauthtoken/assertion"
)

// maxKeyFile bounds what is read of a key or a certificate.
const maxKeyFile = 1 << 20

// loadCertificate reads the client's certificate and its key.
func loadCertificate(certPath, keyPath, password string) (*assertion.Certificate, error) {
	cert, err := readBounded(certPath, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("client_certificate: %w", err)
	}
	var key []byte
	if keyPath != "" {
		if key, err = readBounded(keyPath, maxKeyFile); err != nil {
			return nil, fmt.Errorf("client_key: %w", err)
		}
	}
	return assertion.ParseCertificate(cert, key, password)
}

// loadServiceAccount reads a service account's JSON key.
func loadServiceAccount(path string) (*assertion.ServiceAccount, error) {
	b, err := readBounded(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	return assertion.ParseServiceAccount(b)
}

// maxTokenFile bounds what is read of a token file.
const maxTokenFile = 64 << 10

// readTokenFile reads a token that stands alone in a file.
func readTokenFile(path string) (string, error) {
	b, err := readBounded(path, maxTokenFile)
	if err != nil {
		return "", err
	}
	t := strings.TrimSpace(string(b))
	if t == "" {
		return "", os.ErrInvalid
	}
	return t, nil
}

// readBounded reads a file that should be small.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, nil
}
