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

package tokenstore

import (
	"strings"
	"testing"
)

func FuzzRecord(f *testing.F) {
	s, _ := NewSealer([]string{strings.Repeat("a1", 32)})
	good, _ := EncodeRecord(s, "k", &Record{Subject: "a", RefreshToken: "r", Seeds: []string{"00$11"}})
	plain, _ := EncodeRecord(nil, "k", &Record{Subject: "a", RefreshToken: "r"})
	for _, b := range [][]byte{good, plain, []byte(`{"alg":"A256GCM","kid":"","nonce":"AA==","data":""}`), []byte(`{"version":1,"seeds":["$","zz$"]}`), nil} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, k := range []*Sealer{s, nil} {
			if r, err := DecodeRecord(k, "k", b); err == nil {
				r.SeedIs("x")
				r.Refuses("x", "c")
				r.AddSeed("x")
				if r.SeedIs("x") != SeedCurrent {
					t.Fatal("the seed just added is not the current one")
				}
			}
		}
	})
}
