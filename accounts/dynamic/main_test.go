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

package dynamic

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/caddymail/mailgateway/accounts"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*FileStorage).Lock.gowrap1"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
}

// fixed is a source whose accounts cannot be changed.
type fixed struct{ index accounts.Index }

func (*fixed) Name() string                 { return "fixed" }
func (f *fixed) Index() *accounts.Index     { return &f.index }
func (*fixed) Start() error                 { return nil }
func (*fixed) Stop()                        {}
func (*fixed) Problems() []accounts.Problem { return nil }

func newFixed(t *testing.T, names ...string) *fixed {
	t.Helper()
	f := new(fixed)
	for _, n := range names {
		a, err := accounts.Compile(accounts.Record{Name: n, Upstream: "sandbox"}, "fixed")
		if err != nil {
			t.Fatal(err)
		}
		f.index.Set(a)
	}
	return f
}
