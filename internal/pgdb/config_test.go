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

package pgdb

import (
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestCertificateIsChecked holds that a server on another machine is reached with a
// checked certificate unless the DSN has the option sslmode, not just the word.
func TestCertificateIsChecked(t *testing.T) {
	t.Setenv("PGSSLMODE", "")
	for dsn, checked := range map[string]bool{
		"postgres://u@db.example.com/mail":                                        true,
		"postgres://u@db.example.com/mail?connect_timeout=3":                      true,
		"postgresql://u:sslmode@db.example.com/mail":                              true,
		"postgres://u@db.example.com/sslmode=disable":                             true,
		"postgres://u@db.example.com/mail?application_name=sslmode":               true,
		"host=db.example.com user=u dbname=mail":                                  true,
		"host=db.example.com user=u dbname=mail password=a://b":                   true,
		"host=db.example.com user=u dbname=sslmode":                               true,
		`host=db.example.com user=u dbname=m password='a sslmode=b\'c'`:           true,
		"postgres://u@db.example.com/mail?sslmode=require":                        false,
		"postgres://u@db.example.com/mail?connect_timeout=3&sslmode=disable":      false,
		"host=db.example.com user=u dbname=mail sslmode = require":                false,
		`host=db.example.com password='it\'s' user=u dbname=mail sslmode=disable`: false,
	} {
		set, err := Config{DSN: dsn, MaxConns: 4, Timeout: caddy.Duration(1e9)}.Resolve()
		if err != nil {
			t.Errorf("%s: %v", dsn, err)
			continue
		}
		p, err := set.pool()
		if err != nil {
			t.Errorf("%s: %v", dsn, err)
			continue
		}
		if got := !(&DB{set: p}).unchecked(); got != checked {
			t.Errorf("%s: checked %t, want %t", dsn, got, checked)
		}
	}
}
