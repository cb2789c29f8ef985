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

package docs

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// TestRepliesAreDocumented holds that replies.md has a row for each reply of
// the gateway's own, with its code. Explanations are held by explain.TestManual.
func TestRepliesAreDocumented(t *testing.T) {
	text := read(t, "replies.md")
	lines := strings.Split(text, "\n")
	has := func(words ...string) bool {
		for _, line := range lines {
			found := true
			for _, w := range words {
				found = found && strings.Contains(line, w)
			}
			if found {
				return true
			}
		}
		return false
	}
	calls := 0
	visit := func(n ast.Node) {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return
		}
		if f, ok := call.Fun.(*ast.Ident); !ok || f.Name != "own" || len(call.Args) != 5 {
			return
		}
		var numbers []string
		for _, a := range call.Args[:4] {
			lit, ok := a.(*ast.BasicLit)
			if !ok {
				return
			}
			numbers = append(numbers, lit.Value)
		}
		words := firstString(call.Args[4])
		if words == "" {
			return
		}
		calls++
		code := numbers[0] + " " + strings.Join(numbers[1:], ".")
		if !has("`"+code+"`", words) {
			t.Errorf("replies.md has no row with `%s` and %q", code, words)
		}
	}
	inspect(t, "../relay/table.go", visit)
	inspect(t, "../relay/replies_api.go", visit)
	if calls < 50 {
		t.Errorf("found only %d replies in the table", calls)
	}
}

// TestMetricsAreDocumented holds that metrics.md names each metric, its labels
// and each field of the access log.
func TestMetricsAreDocumented(t *testing.T) {
	text := read(t, "metrics.md")
	metric := regexp.MustCompile(`"(caddy_[a-z_]+)"|Subsystem: "?(\w+)"?, Name: "([a-z_]+)"`)
	found := 0
	for _, file := range []string{"../smtpapp/metrics.go", "../upstreampool/meter/meter.go", "../oauthtoken/metrics.go"} {
		for _, m := range metric.FindAllStringSubmatch(read(t, file), -1) {
			name := m[1]
			if name == "" {
				sub := m[2]
				if sub == "sub" {
					sub = "smtp"
				}
				name = "caddy_" + sub + "_" + m[3]
			}
			found++
			if !strings.Contains(text, "`"+name+"`") {
				t.Errorf("metrics.md does not name %s", name)
			}
		}
	}
	if found < 13 {
		t.Errorf("found only %d metrics", found)
	}
	field := regexp.MustCompile(`(?:zap\.|enc\.Add)\w+\("(\w+)"`)
	for _, m := range field.FindAllStringSubmatch(read(t, "../smtpapp/log.go"), -1) {
		if !strings.Contains(text, "`"+m[1]+"`") {
			t.Errorf("metrics.md does not name the log's field %s", m[1])
		}
	}
}

// TestMetricResultsAreDocumented holds that the row of a metric has each value
// of its label `result` or `state` that the code knows.
func TestMetricResultsAreDocumented(t *testing.T) {
	text := read(t, "metrics.md")
	for _, m := range []struct {
		metric string
		file   string
		values *regexp.Regexp
	}{
		{"caddy_smtp_sessions_total", "../smtpapp/smtpserver/session.go", regexp.MustCompile(`(?m)^\tEnd\w+ +End = "(\w+)"`)},
		{"caddy_smtp_sessions_total", "../smtpapp/conn.go", regexp.MustCompile(`(?m)^\tend\w+ +ending = "(\w+)"`)},
		{"caddy_smtp_auth_total", "../smtpapp/session.go", regexp.MustCompile(`metrics\.auth\(g\.name, "(\w+)"`)},
		{"caddy_smtp_limited_total", "../upstreampool/meter/meter.go", regexp.MustCompile(`(?m)^\t(?:Waited|Refused|QueueFull|Backoff) += "(\w+)"`)},
		{"caddy_smtp_spool_results_total", "../spool/internal/gauges/gauges.go", regexp.MustCompile(`(?m)^var Results = \[\]string\{(.*)\}$`)},
		{"caddy_oauth_token_refreshes_total", "../oauthtoken/metrics.go", regexp.MustCompile(`(?m)^\tresult\w+ += "(\w+)"`)},
		{"caddy_oauth_accounts", "../oauthtoken/metrics.go", regexp.MustCompile(`(?m)^var stateNames = .*\{"", (.*)\}$`)},
	} {
		var row string
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "| `"+m.metric+"` |") {
				row = line
			}
		}
		found := m.values.FindAllStringSubmatch(read(t, m.file), -1)
		if row == "" || len(found) == 0 {
			t.Errorf("%s: row %q, %d values in %s", m.metric, row, len(found), m.file)
		}
		for _, v := range found {
			for value := range strings.SplitSeq(v[1], ", ") {
				if value = strings.Trim(value, `"`); !strings.Contains(row, "`"+value+"`") {
					t.Errorf("metrics.md, %s: the row does not name `%s`", m.metric, value)
				}
			}
		}
	}
	for class := range smtpclient.Classes {
		if !strings.Contains(text, "`"+class.String()+"`") {
			t.Errorf("metrics.md, caddy_smtp_upstream_dials_total: the row does not name `%s`", class)
		}
	}
}

// inspect calls f for each node of a file.
func inspect(t *testing.T, file string, f func(ast.Node)) {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		f(n)
		return true
	})
}

// firstString is a string literal, or the first one of a sum.
func firstString(e ast.Expr) string {
	for {
		sum, ok := e.(*ast.BinaryExpr)
		if !ok {
			break
		}
		e = sum.X
	}
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}

// TestSnippets holds that mtas.md shows what `caddy smtp snippet` prints: the
// first word of each line, and what is left of an equals sign, stands in its
// templates.
func TestSnippets(t *testing.T) {
	templates := read(t, "../operate/snippet/snippet.go")
	text := read(t, "mtas.md")
	lines := 0
	for _, language := range []string{"conf", "lua"} {
		for at, block := range blocks(text, language) {
			for line := range strings.Lines(block) {
				word, _, _ := strings.Cut(strings.TrimSpace(line), "=")
				word, _, _ = strings.Cut(strings.TrimSpace(word), " ")
				if word == "" || strings.HasPrefix(word, "#") || strings.ContainsAny(word, "@[") || strings.Contains(line, "alerts-example-com") {
					continue
				}
				lines++
				if !strings.Contains(templates, word) {
					t.Errorf("mtas.md:%d: %q is not in the output of `caddy smtp snippet`", at, word)
				}
			}
		}
	}
	if lines < 40 {
		t.Errorf("only %d lines", lines)
	}
}

// TestFail2ban holds that the filter of metrics.md finds the client's address
// in a line as the gateway writes it, and never one that the client put there.
func TestFail2ban(t *testing.T) {
	m := regexp.MustCompile(`(?m)^failregex = (.*)$`).FindStringSubmatch(read(t, "metrics.md"))
	if m == nil {
		t.Fatal("metrics.md has no failregex")
	}
	filter := regexp.MustCompile(strings.ReplaceAll(m[1], "<ADDR>", `([0-9a-fA-F.:]+)`))
	var out bytes.Buffer
	logger := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&out), zap.WarnLevel)).Named("smtp")
	line := func(message, ip, account, result string) string {
		out.Reset()
		logger.Warn(message, zap.String("id", "1h469vp-1"), zap.String("server", "submission"), zap.String("client_ip", ip),
			zap.String("account", account), zap.String("result", result))
		return out.String()
	}
	forged := `x","client_ip":"203.0.113.9","account":"y","result":"failed`
	for _, tc := range []struct{ line, want string }{
		{line("authentication failed", "192.0.2.7", "a@example.com", "failed"), "192.0.2.7"},
		{line("authentication failed", "2001:db8::7", "a@example.com", "failed"), "2001:db8::7"},
		{line("authentication failed", "192.0.2.7", forged, "failed"), "192.0.2.7"},
		{line("authentication failed", "192.0.2.7", "a@example.com", "paused"), ""},
		{line("sender not allowed", "192.0.2.7", forged, ""), ""},
	} {
		got := ""
		if found := filter.FindStringSubmatch(tc.line); found != nil {
			got = found[1]
		}
		if got != tc.want {
			t.Errorf("%q: found %q, want %q", tc.line, got, tc.want)
		}
	}
}
