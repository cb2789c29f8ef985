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

package accounts

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddymail/mailgateway/accounts/password"
)

func TestCompile(t *testing.T) {
	a, err := Compile(Record{Name: "Me@Example.com", Upstream: "u", SourceIP: "::ffff:127.0.0.1"}, "inline")
	if err != nil || a.Key() != "me@example.com" || a.Name != "Me@Example.com" || a.Mailbox != "Me@Example.com" ||
		a.Source != "inline" || a.SourceAddr().String() != "127.0.0.1" {
		t.Errorf("%v, %v", a, err)
	}
	good := Record{Name: "a@example.com", Upstream: "u"}
	for field, spoil := range map[string]func(*Record){
		"name":               func(r *Record) { r.Name = "" },
		"name#2":             func(r *Record) { r.Name = "a\r\nb" },
		"name#3":             func(r *Record) { r.Name = " a" },
		"name#4":             func(r *Record) { r.Name = "\xff" },
		"name#5":             func(r *Record) { r.Name = strings.Repeat("x", 257) },
		"name#6":             func(r *Record) { r.Name = "a\u0085b" },
		"upstream":           func(r *Record) { r.Upstream = "" },
		"mailbox":            func(r *Record) { r.Mailbox = "a\x01auth=Bearer x" },
		"refresh_token":      func(r *Record) { r.RefreshToken = "MARKED\n" },
		"secret":             func(r *Record) { r.Secret = "MARKED\x00" },
		"password_hashes[1]": func(r *Record) { r.PasswordHashes = []string{password.HashGenerated("x"), "MARKED"} },
		"password_hashes":    func(r *Record) { r.PasswordHashes = make([]string, 17) },
		"senders[0]":         func(r *Record) { r.Senders = []string{"a*@b"} },
		"limits.max_conns":   func(r *Record) { r.Limits = &Limits{MaxConns: -1} },
		"source_ip":          func(r *Record) { r.SourceIP = "127.0.0.1:25" },
		"source_ip#2":        func(r *Record) { r.SourceIP = "0.0.0.0" },
		"source_ip#3":        func(r *Record) { r.SourceIP = "fe80::1%eth0" },
		"labels":             func(r *Record) { r.Labels = map[string]string{"": "x"} },
		"labels.x":           func(r *Record) { r.Labels = map[string]string{"x": "\n"} },
	} {
		r := good
		spoil(&r)
		_, err := Compile(r, "inline")
		var fe *FieldError
		want, _, _ := strings.Cut(field, "#")
		if !errors.As(err, &fe) || fe.Field != want || !strings.Contains(err.Error(), "'"+want+"'") || strings.Contains(err.Error(), "MARKED") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestMaySend(t *testing.T) {
	for _, c := range []struct {
		senders string
		from    string
		want    bool
	}{
		{"", "anyone@example.net", true},
		{"", "", true},
		{"a@example.com", "", true},
		{"a@example.com", "a@example.com", true},
		{"a@example.com", "a@EXAMPLE.com", true},
		{"a@EXAMPLE.com", "a@example.com", true},
		{"a@example.com", "A@example.com", true},
		{"Scanner@example.com", "sCANNER@EXAMPLE.COM", true},
		{"k@example.com", "\u212a@example.com", false},
		{"\u00e9@example.com", "\u00c9@example.com", false}, // no folding is agreed on (RFC 6530 section 10.1)
		{"a@example.com", "a@example.com.", true},
		{"a@example.com", "a@example.com..", false},
		{"a@example.com", "b@example.com", false},
		{"a@example.com", "a@sub.example.com", false},
		{"a@example.com", "a@example.com.evil", false},
		{"a@example.com", "a@evil@example.com", false},
		{"a@example.com", `"a"@example.com`, true},
		{"a@example.com", `"\a"@example.com`, true},
		{`"a b"@example.com`, `"a b"@example.com`, true},
		{`"*"@example.com`, "x@example.com", false},
		{`"*"@example.com`, "*@example.com", true},
		{"*@example.com", "x@example.com", true},
		{"*@example.com", `"x@evil.com"@example.com`, true},
		{"*@example.com", "x@sub.example.com", false},
		{"*@example.com", "x", false},
		{"*@example.com", "@example.com", false},
		{"*@example.com", "x@", false},
		{"*", "x", true},
		{"a@example.com *", "b@example.net", true},
		{"*@bücher.example", "x@xn--bcher-kva.example", true},
		{"*@xn--bcher-kva.example", "x@BÜCHER.example", true},
		{"*@bücher.example", "x@bucher.example", false},
		{"*@example.com", "x@example.co\u212a", false}, // the Kelvin sign folds to k
		{"*@example.cok", "x@example.co\u212a", true},  // and IDNA maps it too
		{"*@[192.0.2.1]", "x@[192.0.2.1]", true},
		{"*@[192.0.2.1]", "x@192.0.2.1", false},
	} {
		r := Record{Name: "n", Upstream: "u", Senders: strings.Fields(c.senders)}
		if strings.Contains(c.senders, "a b") {
			r.Senders = []string{c.senders}
		}
		a, err := Compile(r, "x")
		if err != nil {
			t.Errorf("%s: %v", c.senders, err)
			continue
		}
		if got := a.MaySend(c.from); got != c.want {
			t.Errorf("senders %q, from %q: %v", c.senders, c.from, got)
		}
		if got := (&Account{Record: r}).MaySend(c.from); got != c.want {
			t.Errorf("senders %q, from %q, not compiled: %v", c.senders, c.from, got)
		}
	}
	a := mustCompile(t, Record{Name: "n", Senders: []string{"a@example.com", "*@example.org"}})
	if n := testing.AllocsPerRun(100, func() { a.MaySend("someone@EXAMPLE.org") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for _, bad := range []string{
		"", "@", "a", "a@", "@b", "**", "*@*", "*@*.example.com", "a*@example.com", "a b@example.com", "a@b@example.com",
		"a@-\x00", "a@exa mple.com", "a@example..com", "a@example.com.", "a@" + strings.Repeat("x", 64), "<a@b>", "a@[1", "a@b\n", `"a@b`, `""@b`, `"a"b"@c`,
		"a@\u2028", "a@xn--\u00fc", "a@[\u0213]", "a@[]", "a@[[]", "a@[a]]",
	} {
		if _, err := parseSenderPattern(bad); err == nil {
			t.Errorf("pattern %q is accepted", bad)
		}
	}
}

func FuzzSenderPattern(f *testing.F) {
	for _, s := range []string{"a@b", "*@example.com", "*", `"a b"@c`, "x@bücher.example", "x@[192.0.2.1]", "0@[ȓ]"} {
		f.Add(s, "a@b")
	}
	f.Fuzz(func(t *testing.T, pattern, from string) {
		a := &Account{Record: Record{Senders: []string{pattern}}}
		ok := a.MaySend(from) // must not panic
		p, err := parseSenderPattern(pattern)
		if err != nil {
			if ok && from != "" {
				t.Errorf("a bad pattern %q lets %q send", pattern, from)
			}
			return
		}
		if p.any {
			return
		}
		if !isASCII(p.domain) || p.domain != FoldName(p.domain) || p.domain == "" {
			t.Errorf("pattern %q: domain %q", pattern, p.domain)
		}
		// What a pattern without a wildcard names may send.
		if p.local != "" && !a.MaySend(pattern) {
			t.Errorf("pattern %q does not let itself send", pattern)
		}
	})
}

func TestSecretsAreNotShown(t *testing.T) {
	const marked = "MARKED"
	r := Record{
		Name: "a@example.com", Upstream: "u", RefreshToken: marked + "-token", Secret: marked + "-secret",
		PasswordHashes: []string{password.HashGenerated("x"), argonHash(t, "x", 64, 1)},
	}
	a := mustCompile(t, r)
	hash := r.PasswordHashes[0][10:]

	var shown strings.Builder
	for _, v := range []any{a, *a, r, &r, []*Account{a}, []Record{r}, map[string]*Account{"x": a}, struct{ A *Account }{a}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if _, ok := v.([]*Account); ok && verb == "%p" {
				continue
			}
			fmt.Fprintf(&shown, verb+"\n", v)
		}
	}
	data, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	shown.Write(data)
	data, err = json.Marshal([]any{a.Redacted(), r.Redacted()})
	if err != nil {
		t.Fatal(err)
	}
	shown.Write(data)

	core, logs := observer.New(zapcore.DebugLevel)
	logger := zap.New(core)
	logger.Info("x", zap.Any("account", a), zap.Object("object", a), zap.Inline(a), zap.Any("record", r), zap.Stringer("s", a), zap.Reflect("r", a))
	enc := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	for _, e := range logs.All() {
		buf, err := enc.EncodeEntry(e.Entry, e.Context)
		if err != nil {
			t.Fatal(err)
		}
		shown.Write(buf.Bytes())
	}
	if s := shown.String(); strings.Contains(s, marked) || strings.Contains(s, hash) || strings.Contains(s, fmt.Sprintf("%x", marked)) {
		t.Errorf("secrets are shown:\n%s", s)
	}

	v := a.Redacted()
	if !v.HasRefreshToken || !v.HasSecret || v.Passwords["sha256"] != 1 || v.Passwords["argon2id"] != 1 || v.Mailbox != a.Name {
		t.Errorf("view: %+v", v)
	}
}

func TestParseCondition(t *testing.T) {
	a := mustCompile(t, Record{Name: "a", RefreshToken: "x"})
	b := mustCompile(t, Record{Name: "a", RefreshToken: "y"})
	if a.Version() == b.Version() || a.Version() != mustCompile(t, Record{Name: "a", RefreshToken: "x"}).Version() {
		t.Error("versions")
	}
	for _, c := range []struct {
		match, none string
		account     *Account
		ok          bool
	}{
		{"", "", nil, true}, {"", "", a, true},
		{"*", "", a, true}, {"*", "", nil, false},
		{"", "*", nil, true}, {"", "*", a, false},
		{a.ETag(), "", a, true}, {a.ETag(), "", b, false}, {a.ETag(), "", nil, false},
		{`"x", ` + b.ETag(), "", b, true},
	} {
		cond, err := ParseCondition(c.match, c.none)
		if err != nil {
			t.Fatal(err)
		}
		if err := cond.Check(c.account); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrPrecondition) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, bad := range [][2]string{{"x", ""}, {`W/"x"`, ""}, {`"x",`, ""}, {"", `"x"`}} {
		if _, err := ParseCondition(bad[0], bad[1]); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}
