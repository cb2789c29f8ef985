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

package admin_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/smtp"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/smtpapp/counters"
	"github.com/caddymail/mailgateway/spool"
	"github.com/caddymail/mailgateway/upstreamapp"
)

// description is what the test reads of openapi.json.
type description struct {
	Paths map[string]map[string]struct {
		OperationID string `json:"operationId"`
		Parameters  []struct{ Name, In string }
		RequestBody *struct {
			Content map[string]struct{ Schema *schema }
		}
		Responses map[string]struct {
			Content map[string]struct{ Schema *schema }
		}
	}
	Components struct{ Schemas map[string]*schema }
}

// schema is the part of JSON Schema that openapi.json uses.
type schema struct {
	Ref                  string `json:"$ref"`
	Type, Format         string
	Description          string
	Properties           map[string]*schema
	Required             []string
	Items                *schema
	Enum                 []string
	AdditionalProperties json.RawMessage
	WriteOnly            bool
}

func readDescription(t *testing.T) *description {
	t.Helper()
	d := new(description)
	if err := json.Unmarshal(admin.OpenAPI, d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestOpenAPIRoutes holds that the description has the routes that there are.
func TestOpenAPIRoutes(t *testing.T) {
	d := readDescription(t)
	var described, real []string
	for path, ops := range d.Paths {
		for method, op := range ops {
			described = append(described, strings.ToUpper(method)+" "+path)
			for _, segment := range strings.Split(path, "/") {
				if name, ok := strings.CutPrefix(segment, "{"); ok && !slices.ContainsFunc(op.Parameters, func(p struct{ Name, In string }) bool {
					return p.In == "path" && p.Name == strings.TrimSuffix(name, "}")
				}) {
					t.Errorf("%s %s: the parameter %s is not described", method, path, segment)
				}
			}
		}
	}
	for _, route := range (admin.API{}).Routes() {
		real = append(real, route.Pattern)
	}
	slices.Sort(described)
	slices.Sort(real)
	if !slices.Equal(described, real) {
		t.Errorf("described\n%s\nreal\n%s", strings.Join(described, "\n"), strings.Join(real, "\n"))
	}
}

// TestOpenAPISchemas holds that schemas have the fields of the structs.
func TestOpenAPISchemas(t *testing.T) {
	d := readDescription(t)
	for name, v := range map[string]any{
		"DoctorReport": operate.DoctorReport{}, "Finding": checkup.Finding{}, "Error": admin.ErrorAnswer{}, "Explanation": explain.Explanation{}, "Limits": accounts.Limits{}, "Record": accounts.Record{},
		"Account": admin.AccountView{}, "AccountPage": admin.AccountPage{}, "ImportResult": accounts.ImportResult{}, "Problem": admin.Problem{},
		"AccountDetail": struct {
			admin.AccountView
			operate.AccountStatus
		}{},
		"VerifyRequest": admin.VerifyRequest{}, "VerifyStep": operate.VerifyStep{}, "VerifyResult": operate.VerifyResult{},
		"LoginRequest": admin.LoginRequest{}, "Login": admin.LoginStatus{}, "ConnCounts": upstreamapp.ConnCounts{},
		"UpstreamStatus": upstreamapp.UpstreamStatus{}, "AccountStatus": upstreamapp.AccountStatus{}, "LimitStatus": upstreamapp.LimitStatus{},
		"Counters": counters.Counters{},
		"Session":  smtpapp.SessionInfo{}, "Refusal": smtpapp.Refusal{}, "Ban": smtpapp.Ban{}, "LiftResult": admin.LiftResult{}, "Tokens": admin.TokenPage{}, "TokenStatus": oauthtoken.AccountStatus{},
		"SpoolPage": admin.SpoolPage{}, "SpoolStatus": spool.Status{}, "SpoolOddity": spool.Oddity{}, "SpoolDrain": admin.SpoolDrain{}, "SpoolDraining": spool.Draining{},
		"SpooledMessage": spool.Message{}, "SpooledRecipient": spool.Recipient{},
		"TokenError": oauthtoken.StatusError{}, "ProviderStatus": oauthtoken.ProviderStatus{},
	} {
		s := d.Components.Schemas[name]
		if s == nil {
			t.Errorf("no schema %s", name)
			continue
		}
		var described []string
		for field := range s.Properties {
			described = append(described, field)
		}
		fields := jsonFields(reflect.TypeOf(v))
		slices.Sort(described)
		slices.Sort(fields)
		if !slices.Equal(described, fields) {
			t.Errorf("%s: described %v, real %v", name, described, fields)
		}
	}
}

func jsonFields(typ reflect.Type) (names []string) {
	for f := range typ.Fields() {
		tag, ok := f.Tag.Lookup("json")
		name, _, _ := strings.Cut(tag, ",")
		switch {
		case f.Anonymous && !ok:
			names = append(names, jsonFields(f.Type)...)
		case f.IsExported() && name != "-":
			names = append(names, name)
		}
	}
	return names
}

// validate compares a value with a schema.
func (d *description) validate(where string, s *schema, v any) error {
	if s.Ref != "" {
		s = d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	}
	if s == nil {
		return fmt.Errorf("%s: no schema", where)
	}
	switch v := v.(type) {
	case map[string]any:
		if s.Type != "object" {
			return fmt.Errorf("%s: an object, want %s", where, s.Type)
		}
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				return fmt.Errorf("%s: no %s", where, name)
			}
		}
		for name, value := range v {
			p := s.Properties[name]
			if p == nil && len(s.AdditionalProperties) > 0 && string(s.AdditionalProperties) != "false" {
				p = new(schema)
				if err := json.Unmarshal(s.AdditionalProperties, p); err != nil {
					return err
				}
			}
			if p == nil && s.Properties == nil {
				continue
			}
			if p == nil || p.WriteOnly {
				return fmt.Errorf("%s: %s does not belong there", where, name)
			}
			if err := d.validate(where+"."+name, p, value); err != nil {
				return err
			}
		}
	case []any:
		if s.Type != "array" {
			return fmt.Errorf("%s: an array, want %s", where, s.Type)
		}
		for i, item := range v {
			if err := d.validate(fmt.Sprintf("%s[%d]", where, i), s.Items, item); err != nil {
				return err
			}
		}
	case string:
		if s.Type != "string" || s.Enum != nil && !slices.Contains(s.Enum, v) {
			return fmt.Errorf("%s: %q", where, v)
		}
	case bool:
		if s.Type != "boolean" {
			return fmt.Errorf("%s: a boolean, want %s", where, s.Type)
		}
	case float64:
		if s.Type != "integer" {
			return fmt.Errorf("%s: a number, want %s", where, s.Type)
		}
	default:
		return fmt.Errorf("%s: %v", where, v)
	}
	return nil
}

// TestOpenAPIAnswers holds that each route answers as it is described.
func TestOpenAPIAnswers(t *testing.T) {
	d := readDescription(t)
	g := gatewaytest.New(t, fmt.Sprintf(`smtp_upstreams {
		upstream kept {
			transport spool oauth {
				min_free 0.001 # whatever disk the tests run on
				directory %s
				always
			}
		}
	}
	smtp {
		messages
	}`, t.TempDir()))
	const name = "api@example.com"
	path := admin.AccountPath(name)
	done := make(map[string]bool)
	check := func(method, pattern, path, body string, status int, header ...string) map[string]any {
		t.Helper()
		done[method+" "+pattern] = true
		a := g.Do(t, method, path, body, header...)
		if a.Status != status {
			t.Fatalf("%s %s: %d, want %d: %s", method, path, a.Status, status, a.Body)
		}
		op := d.Paths[pattern][strings.ToLower(method)]
		described, ok := op.Responses[fmt.Sprint(status)]
		if !ok {
			t.Errorf("%s %s: status %d is not described", method, pattern, status)
			return nil
		}
		mediaType := a.Header.Get("Content-Type")
		content, ok := described.Content[mediaType]
		if len(described.Content) == 0 {
			if len(a.Body) > 0 {
				t.Errorf("%s %s: a body that is not described: %s", method, pattern, a.Body)
			}
			return nil
		}
		if !ok {
			t.Errorf("%s %s: media type %q is not described", method, pattern, mediaType)
			return nil
		}
		var first map[string]any
		dec := json.NewDecoder(bytes.NewReader(a.Body))
		for dec.More() {
			var v map[string]any
			if err := dec.Decode(&v); err != nil {
				t.Fatalf("%s %s: %v: %s", method, pattern, err, a.Body)
			}
			if err := d.validate(method+" "+pattern, content.Schema, v); err != nil {
				t.Errorf("%v: %s", err, a.Body)
			}
			if first == nil {
				first = v
			}
		}
		return first
	}

	check("GET", "/smtp/live", "/smtp/live", "", 204)
	check("GET", "/smtp/live", "/smtp/live?x=1", "", 400)
	check("GET", "/smtp/ready", "/smtp/ready", "", 204)
	check("GET", "/smtp/ready", "/smtp/ready?x=1", "", 400)
	check("GET", "/smtp/doctor", "/smtp/doctor", "", 200)
	check("GET", "/smtp/doctor", "/smtp/doctor?x=1", "", 400)

	const one = "/smtp/accounts/{name}"
	check("GET", one, path, "", 404)
	check("PUT", one, path, `{"colour": 1}`, 400)
	check("PUT", one, path, `{"upstream": "oauth", "refresh_token": "rt-`+name+`", "labels": {"a": "b"}, "limits": {"rate": "100/1m", "messages": "5/24h"}, "senders": ["*"]}`, 201)
	check("PUT", one, path, `{"upstream": "oauth", "limits": {"rate": "100/1m"}}`, 200)
	check("PUT", one, path, `{"upstream": "oauth"}`, 412, "If-None-Match", "*")
	check("PATCH", one, path, `{"labels": {"c": "d"}}`, 200)
	check("POST", one+"/pause", path+"/pause", "", 200)
	check("POST", one+"/resume", path+"/resume", "", 200)
	check("POST", one+"/resume", admin.AccountPath("none")+"/resume", "", 404)

	m := check("POST", one+"/verify", path+"/verify", `{"from": "`+name+`"}`, 200)
	if m["ok"] != true {
		t.Errorf("verify: %v", m)
	}
	g.Sandbox.RevokeMailbox("revoked@example.com")
	revoked := admin.AccountPath("revoked@example.com")
	check("PUT", one, revoked, `{"upstream": "oauth", "refresh_token": "rt-revoked@example.com"}`, 201)
	m = check("POST", one+"/verify", revoked+"/verify", "", 200)
	if m["ok"] != false || m["explanation"] == nil {
		t.Errorf("verify of a revoked account: %v", m)
	}
	m = check("GET", one, path, "", 200)
	if m["token"] == nil || m["upstream_status"] == nil {
		t.Errorf("account: %v", m)
	}
	check("GET", "/smtp/accounts", "/smtp/accounts?limit=1", "", 200)
	check("GET", "/smtp/accounts", "/smtp/accounts?limit=x", "", 400)
	check("POST", "/smtp/accounts/import/check", "/smtp/accounts/import/check", `{"name":"i@example.com","upstream":"oauth"}`+"\n{}\n", 200)
	check("POST", "/smtp/accounts/import", "/smtp/accounts/import", `{"name":"i@example.com","upstream":"oauth"}`+"\n{}\n", 200)

	login := check("POST", one+"/login", path+"/login", "", 201)
	loginPath := fmt.Sprintf("/smtp/logins/%s", login["id"])
	check("GET", "/smtp/logins/{id}", loginPath, "", 200)
	check("GET", "/smtp/logins/{id}", loginPath+"?wait=long", "", 400)
	check("GET", "/smtp/logins/{id}", loginPath+"x", "", 404)
	check("POST", "/smtp/logins/{id}", loginPath, `{"redirected": "nonsense"}`, 400)
	resp, err := http.Get(fmt.Sprint(login["url"]))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if m := check("GET", "/smtp/logins/{id}", loginPath+"?wait=20s", "", 200); m["state"] != "done" {
		t.Errorf("login: %v", m)
	}
	device := check("POST", one+"/login", path+"/login", `{"device": true}`, 201)
	check("POST", "/smtp/logins/{id}", fmt.Sprintf("/smtp/logins/%s", device["id"]), `{"redirected": "x"}`, 409)

	check("GET", "/smtp/problems", "/smtp/problems", "", 200)
	check("GET", "/smtp/upstreams", "/smtp/upstreams", "", 200)
	check("POST", "/smtp/upstreams/{name}/drain", "/smtp/upstreams/oauth/drain", "", 204)
	check("POST", "/smtp/upstreams/{name}/drain", "/smtp/upstreams/none/drain", "", 404)
	c := gatewaytest.Session(t, gatewaytest.Dial(t, g.SMTP))
	check("GET", "/smtp/sessions", "/smtp/sessions?server=local", "", 200)
	_ = c.Quit()
	check("DELETE", "/smtp/sessions", "/smtp/sessions", "", 400)
	check("DELETE", "/smtp/sessions", "/smtp/sessions?account=none@example.com&now=true", "", 200)
	check("DELETE", "/smtp/sessions", "/smtp/sessions?server=local&now=soon", "", 400)
	check("DELETE", "/smtp/sessions/{id}", "/smtp/sessions/none", "", 404)
	check("GET", "/smtp/refusals", "/smtp/refusals?client_ip=127.0.0.0/8", "", 200)
	check("GET", "/smtp/refusals", "/smtp/refusals?client_ip=office", "", 400)
	tryUnknownWords(t, check)
	check("GET", "/smtp/bans", "/smtp/bans?server=local", "", 200)
	check("DELETE", "/smtp/bans", "/smtp/bans", "", 400)
	check("DELETE", "/smtp/bans", "/smtp/bans?network=192.0.2.7", "", 200)
	check("GET", "/smtp/messages", "/smtp/messages?since=soon", "", 400)
	check("GET", "/smtp/messages", "/smtp/messages?failed=true", "", 200)
	trySpool(t, g, check)
	tryInvitations(t, g, name, check)
	check("GET", "/oauth_tokens", "/oauth_tokens?limit=1", "", 200)
	check("DELETE", one, path, "", 204)
	check("GET", "/smtp/openapi.json", "/smtp/openapi.json", "", 200)

	for pattern, ops := range d.Paths {
		for method := range ops {
			if !done[strings.ToUpper(method)+" "+pattern] {
				t.Errorf("%s %s is not tried", method, pattern)
			}
		}
	}
}

// trySpool tries the routes of the spool with a message that its account cannot
// send.
func trySpool(t *testing.T, g *gatewaytest.Gateway, check func(method, pattern, path, body string, status int, header ...string) map[string]any) {
	t.Helper()
	const name = "spooled@example.com"
	plain, hash := password.Generate()
	check("PUT", "/smtp/accounts/{name}", admin.AccountPath(name), `{"upstream": "kept", "password_hashes": ["`+hash+`"]}`, 201)
	c := gatewaytest.Session(t, gatewaytest.Dial(t, g.SMTP))
	if err := c.Auth(smtp.PlainAuth("", name, plain, "localhost")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Mail(name), c.Rcpt("to@example.org")); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "Subject: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var id string
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		// Its first attempt, which fails for want of a token.
		if list := spool.Messages(name, "waiting"); len(list) == 1 && list[0].Attempts > 0 {
			id = list[0].ID
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("in the spool: %+v", spool.Messages("", ""))
		}
	}
	tryNodes(t, g, check)
	const one = "/smtp/spool/{id}"
	path := "/smtp/spool/" + id
	check("GET", "/smtp/spool", "/smtp/spool?account="+name, "", 200)
	check("GET", "/smtp/spool", "/smtp/spool?state=lost", "", 400)
	check("POST", one+"/hold", path+"/hold", "", 204)
	if m := check("GET", one, path, "", 200); m["state"] != "held" {
		t.Errorf("held: %v", m)
	}
	out := g.MustRun(t, "", "spool", "list")
	if !strings.Contains(out, id) || !strings.Contains(g.MustRun(t, "", "spool", "show", id), "to@example.org") {
		t.Errorf("smtp spool list: %s", out)
	}
	attempts := func() int { m, _ := spool.Get(id); return m.Attempts }
	before := attempts()
	check("POST", one+"/release", path+"/release", "", 204)
	for deadline := time.Now().Add(20 * time.Second); attempts() == before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("released, and not tried")
		}
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if m, _ := spool.Get(id); m.State == "waiting" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("still being tried")
		}
	}
	check("POST", one+"/hold", path+"/hold", "", 204)
	const drain = "/smtp/spool/drain"
	check("POST", drain, drain, `{"upstream": "none"}`, 404)
	check("POST", drain, drain, `{"hand_over": true}`, 409)
	check("POST", drain, drain, `{"all": true}`, 400)
	check("POST", drain, drain, `{"upstream": "kept"}`, 200)
	if out := g.MustRun(t, "", "spool", "list"); !strings.Contains(out, "being drained") {
		t.Errorf("smtp spool list: %s", out)
	}
	if out, said, err := g.Run(t, "", "spool", "drain", "--timeout", "10s"); err == nil || !strings.Contains(out+said+err.Error(), "1 held message is left") {
		t.Errorf("smtp spool drain: %v\n%s%s", err, out, said)
	}
	check("DELETE", drain, drain, "", 204)
	check("POST", one+"/retry", "/smtp/spool/none/retry", "", 404)
	check("DELETE", one, path, "", 204)
	check("GET", one, path, "", 404)
}

// tryNodes tries the routes of nodes, where nothing is shared.
func tryNodes(t *testing.T, g *gatewaytest.Gateway, check func(method, pattern, path, body string, status int, header ...string) map[string]any) {
	t.Helper()
	check("GET", "/smtp/nodes", "/smtp/nodes", "", 200)
	check("GET", "/smtp/nodes", "/smtp/nodes?x=1", "", 400)
	const drain = "/smtp/nodes/drain"
	check("POST", drain, drain+"?x=1", "", 400)
	check("POST", drain, drain, "", 200)
	if out := g.MustRun(t, "", "node", "drain", "--timeout", "10s"); !strings.Contains(out, "nothing is left") {
		t.Errorf("smtp node drain: %s", out)
	}
	check("DELETE", drain, drain+"?x=1", "", 400)
	check("DELETE", drain, drain, "", 204)
	const one, none = "/smtp/nodes/{id}/drain", "/smtp/nodes/none/drain"
	for _, method := range []string{"POST", "DELETE"} {
		check(method, one, none, "", 404)
		check(method, one, none+"?x=1", "", 400)
	}
	if out, said, err := g.Run(t, "", "node", "drain", "none"); err == nil || !strings.Contains(out+said+err.Error(), "no living node has this ID") {
		t.Errorf("smtp node drain none: %v\n%s%s", err, out, said)
	}
}

// tryInvitations tries the routes of invitations, with and without pages that they
// lead to.
func tryInvitations(t *testing.T, g *gatewaytest.Gateway, account string, check func(method, pattern, path, body string, status int, header ...string) map[string]any) {
	t.Helper()
	const all, one = "/smtp/invitations", "/smtp/invitations/{id}"
	request := `{"account": "` + account + `"}`
	check("GET", all, all, "", 409)
	check("POST", all, all, request, 409)
	check("DELETE", one, all+"/none", "", 409)
	site := "http://" + gatewaytest.FreeAddress(t)
	g.Load(t, "}\n"+site+" {\nbind 127.0.0.1\nsmtp_connect {\nurl "+site+"/connect\nunidentified\n}\n")
	m := check("POST", all, all, request, 201)
	check("POST", all, all, `{"account": "`+account+`", "expires": "x"}`, 400)
	check("POST", all, all, `{"account": "none@example.com"}`, 404)
	check("GET", all, all+"?state=open&limit=1", "", 200)
	check("GET", all, all+"?state=lost", "", 400)
	check("DELETE", one, fmt.Sprintf("%s/%s", all, m["id"]), "", 204)
	check("DELETE", one, fmt.Sprintf("%s/%s", all, m["id"]), "", 404)
}
