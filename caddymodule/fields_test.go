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
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/dynamic"
	"github.com/caddymail/mailgateway/notify"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
	"github.com/caddymail/mailgateway/sandbox"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/spool"
	"github.com/caddymail/mailgateway/transports/choice"
	"github.com/caddymail/mailgateway/transports/gmail"
	"github.com/caddymail/mailgateway/transports/graph"
	"github.com/caddymail/mailgateway/upstreamapp"
	"github.com/caddymail/mailgateway/upstreampool"
)

const ours = "github.com/caddymail/mailgateway/"

// apps are the configurations by app name.
func apps() map[string]any {
	return map[string]any{
		"smtp":           new(smtpapp.App),
		"oauth_tokens":   new(oauthtoken.App),
		"smtp_upstreams": new(upstreamapp.App),
		"smtp_sandbox":   new(sandbox.App),
		"events":         new(caddyevents.App),
	}
}

// guests are the configurations of guest modules by the value of their inline
// key.
var guests = map[string]func() any{
	"transport smtp":      func() any { return new(upstreampool.SMTPTransport) },
	"transport graph":     func() any { return new(graph.Transport) },
	"transport gmail":     func() any { return new(gmail.Transport) },
	"transport choice":    func() any { return new(choice.Transport) },
	"transport spool":     func() any { return new(spool.Transport) },
	"store storage":       func() any { return new(tokenstore.StorageStore) },
	"source inline":       func() any { return new(accounts.InlineSource) },
	"source file":         func() any { return new(accounts.FileSource) },
	"handler smtp_notify": func() any { return new(notify.Handler) },
	"source dynamic":      func() any { return new(dynamic.Source) },
	"source sql":          func() any { return new(SQLAccounts) },
	"source ldap":         func() any { return new(LDAPAccounts) },
}

// fieldSet is a set of fields of our configuration structs.
type fieldSet map[string]bool

// walk adds the fields that v sets, and goes on into what they hold.
func (set fieldSet) walk(t *testing.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			set.walk(t, v.Elem())
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			set.walkGuest(t, v.Bytes())
			return
		}
		for i := range v.Len() {
			set.walk(t, v.Index(i))
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			set.walk(t, it.Value())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !v.Field(i).IsZero() && isConfigField(f) {
				set[v.Type().String()+"."+f.Name] = true
				set.walk(t, v.Field(i))
			}
		}
	}
}

func (set fieldSet) walkGuest(t *testing.T, raw []byte) {
	var keys map[string]any
	if json.Unmarshal(raw, &keys) != nil {
		return
	}
	for key, value := range keys {
		name, _ := value.(string)
		newGuest, ok := guests[key+" "+name]
		if !ok {
			continue
		}
		delete(keys, key)
		rest, err := json.Marshal(keys)
		if err != nil {
			t.Fatal(err)
		}
		guest := newGuest()
		if err := caddy.StrictUnmarshalJSON(rest, guest); err != nil {
			t.Errorf("%s %s: %v", key, name, err)
		}
		set.walk(t, reflect.ValueOf(guest))
	}
}

func isConfigField(f reflect.StructField) bool {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return f.IsExported() && name != "" && name != "-"
}

// allFields adds every field of a configuration struct, and of those in it.
func (set fieldSet) allFields(typ reflect.Type) {
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		set.allFields(typ.Elem())
	case reflect.Struct:
		if !strings.HasPrefix(typ.PkgPath()+"/", ours) || typ == reflect.TypeFor[accounts.Rate]() {
			return
		}
		for f := range typ.Fields() {
			if isConfigField(f) {
				set[typ.String()+"."+f.Name] = true
				set.allFields(f.Type)
			}
		}
	}
}

// TestFixturesCoverFields holds that a fixture sets each field of each
// configuration struct, and that what fixtures adapt to unmarshals strictly.
func TestFixturesCoverFields(t *testing.T) {
	covered := make(fieldSet)
	for _, f := range readFixtures(t, "ok_*.caddyfiletest") {
		var cfg struct {
			Apps map[string]json.RawMessage `json:"apps"`
		}
		if err := json.Unmarshal([]byte(f.want), &cfg); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		for name, raw := range cfg.Apps {
			app, ok := apps()[name]
			if !ok {
				continue
			}
			if err := caddy.StrictUnmarshalJSON(raw, app); err != nil {
				t.Errorf("%s: app %s: %v", f.name, name, err)
			}
			covered.walk(t, reflect.ValueOf(app))
		}
	}

	all := make(fieldSet)
	for _, app := range apps() {
		all.allFields(reflect.TypeOf(app))
	}
	for _, newGuest := range guests {
		all.allFields(reflect.TypeOf(newGuest()))
	}
	for field := range all {
		if !covered[field] {
			t.Errorf("no fixture sets %s", field)
		}
	}
}

// TestUnknownJSONField holds that an unknown field in JSON is an error that
// names it, in every app and at every depth.
func TestUnknownJSONField(t *testing.T) {
	for _, cfg := range []string{
		`"smtp": {%s}`,
		`"smtp": {"servers": {"a": {%s}}}`,
		`"smtp": {"servers": {"a": {"tls": {%s}}}}`,
		`"smtp": {"servers": {"a": {"trust": [{%s}]}}}`,
		`"smtp": {"servers": {"a": {"auth_failures": {%s}}}}`,
		`"smtp": {"accounts": [{"source": "inline", %s}]}`,
		`"smtp": {"accounts": [{"source": "inline", "accounts": [{%s}]}]}`,
		`"smtp": {"accounts": [{"source": "inline", "accounts": [{"limits": {%s}}]}]}`,
		`"smtp": {"accounts": [{"source": "file", %s}]}`,
		`"smtp": {"accounts": [{"source": "dynamic", %s}]}`,
		`"oauth_tokens": {%s}`,
		`"oauth_tokens": {"store": {"store": "storage", %s}}`,
		`"oauth_tokens": {"providers": {"google": {%s}}}`,
		`"smtp_upstreams": {%s}`,
		`"smtp_upstreams": {"upstreams": {"gmail": {%s}}}`,
		`"smtp_upstreams": {"upstreams": {"gmail": {"tls": {%s}}}}`,
		`"smtp_upstreams": {"upstreams": {"gmail": {"auth": {%s}}}}`,
		`"smtp_sandbox": {%s}`,
		`"smtp_sandbox": {"faults": [{%s}]}`,
		`"events": {"subscriptions": [{"handlers": [{"handler": "smtp_notify", %s}]}]}`,
	} {
		_, err := provision(t, `{"apps": {`+strings.Replace(cfg, "%s", `"no_such_field": 1`, 1)+`}}`)
		wantError(t, err, `no_such_field`)
		wantError(t, err, `unknown field`)
	}
}

// provision decodes and provisions a configuration and cleans up after it.
func provision(t *testing.T, body string) (*caddy.Config, error) {
	t.Helper()
	cfg := new(caddy.Config)
	if err := caddy.StrictUnmarshalJSON([]byte(body), cfg); err != nil {
		return nil, err
	}
	cfg.Admin = &caddy.AdminConfig{Disabled: true}
	cfg.StorageRaw = caddyconfig.JSON(map[string]string{"module": "file_system", "root": t.TempDir()}, nil)
	return cfg, caddy.Validate(cfg)
}
