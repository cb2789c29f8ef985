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

package interop

import (
	"testing"

	"github.com/caddymail/mailgateway/internal/testpki"
)

// pki is a certificate authority and one certificate of its own for localhost.
type pki struct {
	caFile, certFile, keyFile string
}

func newPKI(t testing.TB, dir string) (p pki) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ca := testpki.NewAuthority("Interop Test CA")
	var err error
	p.caFile, err = ca.Write(dir)
	must(err)
	p.certFile, p.keyFile, err = testpki.Write(dir, ca.Issue(testpki.Leaf{Names: []string{"localhost", "127.0.0.1"}}))
	must(err)
	return p
}
