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

package caddymodule

import (
	"crypto/x509"
	"testing"

	"github.com/caddymail/mailgateway/internal/testpki"
)

// WriteCertificate makes a certificate for localhost and returns the paths of
// it and its key, and a pool that trusts it.
func WriteCertificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	pair := testpki.SelfSigned(testpki.Leaf{Names: []string{"localhost"}, Trusted: true})
	certFile, keyFile, err := testpki.Write(t.TempDir(), pair)
	if err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile, testpki.Trust(pair)
}
