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

// Package precheck looks at a Caddyfile as a whole before Caddy reads it. Two
// sorts of mistakes are seen only so: those below the words (UTF-16, a brace
// without its fellow, a document of an office program), of which Caddy says
// what it stumbled over and not what they are, and names that one block gives
// and another asks for, which no option can look up while it is parsed. It
// refuses nothing that Caddy would take, but for a file that is no text.
package precheck

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddymail/mailgateway/caddymodule/wording"
	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/internal/nearest"
)

// Run looks at the file that a command is about to read, if it is a Caddyfile,
// and writes its advice to w.
func Run(args []string, w io.Writer) error {
	file := fileOf(args)
	if file == "" {
		return nil
	}
	body, err := os.ReadFile(file) //nolint:gosec // the operator names it
	if err != nil {
		return nil //nolint:nilerr // Caddy says so itself
	}
	if abs, err := filepath.Abs(file); err == nil {
		file = abs
	}
	advice, err := Check(file, body)
	for _, a := range advice {
		_, _ = fmt.Fprintln(w, "Warning:", a)
	}
	return err
}

// fileOf returns the Caddyfile that a command line reads, "" if it reads none.
func fileOf(args []string) string {
	if len(args) < 2 || !slices.Contains([]string{"run", "start", "reload", "validate", "adapt"}, args[1]) {
		return ""
	}
	file, adapter := "", ""
	for i, arg := range args[2:] {
		name, value, glued := strings.Cut(arg, "=")
		if !glued && i+3 < len(args) {
			value = args[i+3]
		}
		switch name {
		case "--config", "-c":
			file = value
		case "--adapter", "-a":
			adapter = value
		case "--resume", "-r", "--help", "-h":
			return ""
		}
	}
	if file == "" {
		file = "Caddyfile"
	}
	base := strings.ToLower(filepath.Base(file))
	if adapter == "caddyfile" || adapter == "" && (strings.HasPrefix(base, "caddyfile") || strings.HasSuffix(base, ".caddyfile")) && !strings.HasSuffix(base, ".json") {
		return file
	}
	return ""
}

// Check returns what is wrong with a Caddyfile, with file, line and remedy, and
// what is taken but hardly meant. Of mistakes that the options themselves tell
// well it says nothing: Caddy will.
func Check(file string, body []byte) (advice []string, err error) {
	if err := checkText(file, body); err != nil {
		return nil, err
	}
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	adapted, _, adaptErr := caddyconfig.GetAdapter("caddyfile").Adapt(body, map[string]any{"filename": file})
	tokens, err := caddyfile.Tokenize(body, file)
	if err != nil {
		tokens = nil
	}
	advice, err = checkSecrets(file, body)
	switch {
	case err != nil:
		return advice, err
	case adaptErr != nil:
		return advice, explain(body, tokens, adaptErr)
	}
	// Caddy takes a file that ends within a block.
	if err := checkBraces(body, tokens); err != nil {
		return advice, err
	}
	advice = append(advice, checkValues(tokens)...)
	if err := checkTwice(tokens, adapted); err != nil {
		return advice, err
	}
	more, err := checkNames(tokens, adapted)
	return append(advice, more...), err
}

// checkText refuses what is no text in UTF-8.
func checkText(file string, body []byte) error {
	is := func(what, remedy string) error { return fmt.Errorf("%s:1: this file is %s: %s", file, what, remedy) }
	const save = "save it as text in UTF-8 (Notepad: Save as, Encoding: UTF-8)"
	trimmed := bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))
	switch {
	case len(trimmed) == 0:
		return is("empty", "an example to begin with is docs/quickstart.md's, or run `mailgateway smtp setup`")
	case bytes.HasPrefix(body, []byte("\xff\xfe")), bytes.HasPrefix(body, []byte("\xfe\xff")), len(body) > 8 && (body[1] == 0 && body[3] == 0 || body[0] == 0 && body[2] == 0):
		return is("UTF-16", save)
	case bytes.HasPrefix(body, []byte("PK\x03\x04")), bytes.HasPrefix(body, []byte("\xd0\xcf\x11\xe0")):
		return is("a document of an office program", "copy its text into a plain text file")
	case bytes.HasPrefix(trimmed, []byte(`{\rtf`)):
		return is("RTF, a document of a word processor", "copy its text into a plain text file")
	case bytes.HasPrefix(trimmed, []byte("<")) && (bytes.HasPrefix(bytes.ToLower(trimmed), []byte("<!doctype")) || bytes.HasPrefix(bytes.ToLower(trimmed), []byte("<html"))):
		return is("a web page", "what was saved is the page, not the file that it shows: take its text")
	case bytes.ContainsRune(body, 0):
		return is("not text", save)
	case !bytes.ContainsRune(trimmed, '\n') && bytes.ContainsRune(trimmed, '\r'):
		return is("one long line, since its lines end with CR alone", "save it with the line ends of Unix (LF) or Windows (CR LF)")
	case isJSON(trimmed):
		return is("JSON, not a Caddyfile", "give it a name that ends with .json and no --adapter")
	}
	for n, line := range bytes.Split(body, []byte("\n")) {
		if bad := bytes.ToValidUTF8(line, nil); len(bad) != len(line) {
			return fmt.Errorf("%s:%d: this line is not UTF-8, but of an older encoding such as Windows-1252: %s", file, n+1, save)
		}
	}
	return nil
}

func isJSON(b []byte) bool {
	var v map[string]json.RawMessage
	return json.Unmarshal(b, &v) == nil
}

// explain puts an error of Caddy's into better words, if there are any.
func explain(body []byte, tokens []caddyfile.Token, err error) error {
	text := err.Error()
	for _, t := range tokens {
		if strings.Contains(t.Text, "\n") && strings.Contains(text, "EOF") {
			return at(t, "a quote that begins here has no end: put \" at the end of the value, or take the first away")
		}
	}
	if e := checkGlobal(tokens, text); e != nil {
		return e
	}
	if e := checkBraces(body, tokens); e != nil {
		return e
	}
	switch {
	case strings.Contains(text, "Unexpected next token after '{'"):
		return fmt.Errorf("%w: the line ends behind a { that opens a block; a value that holds one stands in quotes, as in \"{abc\"", err)
	case strings.Contains(text, "server block without any key"):
		return orderError(tokens, err)
	}
	return nil
}

// ours are the options that the gateway adds to the global block.
var ours = wording.Globals

// within names the block of options that stand at the top by mistake.
var within = map[string]string{
	"server": "smtp", "accounts": "smtp", "account": "smtp { accounts { ... } }", "hostname": "smtp", "upstream": "smtp_upstreams",
	"provider": "oauth_tokens", "dynamic": "smtp { accounts { ... } }", "smtp_notify": "events", "messages": "smtp",
}

// checkGlobal looks for what the global block does not know.
func checkGlobal(tokens []caddyfile.Token, text string) error {
	if len(tokens) > 0 && tokens[0].Text != "{" {
		word := strings.TrimPrefix(tokens[0].Text, "{")
		switch {
		case strings.HasPrefix(tokens[0].Text, "{") && slices.Contains(ours, word):
			return at(tokens[0], "a line end is missing behind the first {: '%s' stands on a line of its own", word)
		case slices.Contains(ours, strings.TrimSuffix(word, "{")):
			return at(tokens[0], "'%s' is an option of the global block: put the whole into a block of its own, { on the first line and } on the last", word)
		}
	}
	_, after, ok := strings.Cut(text, "unrecognized global option: ")
	inSite := false
	if !ok {
		if _, after, inSite = strings.Cut(text, "unrecognized directive: "); !inSite {
			return nil
		}
	}
	name, _, _ := strings.Cut(after, ",")
	name, _, _ = strings.Cut(name, " - ")
	for _, t := range tokens {
		if t.Text != name || inSite && !strings.Contains(text, fmt.Sprintf(":%d: unrecognized", t.Line)) {
			continue
		}
		if inSite && slices.Contains(ours, cmp.Or(wording.OtherBlocks[name], name)) {
			return at(t, "'%s' stands in a site, and it is an option of the global block: '{' on the first line of the file, '%s {' within, and '}'", name, cmp.Or(wording.OtherBlocks[name], name))
		}
		if inSite && within[name] == "" {
			return nil // of Caddy's own, which says so
		}
		if inSite {
			return at(t, "'%s' stands in a site; it belongs into the block %s of the global block, at the beginning of the file", name, within[name])
		}
		if slices.Contains(wording.Pages, name) {
			return at(t, "'%s' stands in a site, behind the global block: 'gateway.example.com {' '%s' '}', each on a line of its own", name, name)
		}
		if block := wording.OtherBlocks[name]; block != "" {
			return at(t, "unrecognized global option '%s'; did you mean '%s'?", name, block)
		}
		switch home := within[name]; {
		case slices.Contains(ours, strings.TrimSuffix(name, "{")):
			return at(t, "a blank is missing before the {: '%s {'", strings.TrimSuffix(name, "{"))
		case home != "":
			return at(t, "unrecognized global option '%s'; it belongs into the block %s", name, home)
		}
		if hint := nearest.Hint(name, append([]string{"admin", "debug", "email", "events", "layer4", "log", "servers", "storage"}, ours...)); hint != "" {
			return at(t, "unrecognized global option '%s'%s", name, hint)
		}
	}
	return nil
}

func at(t caddyfile.Token, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", t.File, t.Line, fmt.Sprintf(format, args...))
}

// orderError says which site stands before the global block.
func orderError(tokens []caddyfile.Token, err error) error {
	depth := 0
	for i, t := range tokens {
		switch t.Text {
		case "{":
			if depth == 0 && i > 0 && t.Line != tokens[i-1].Line {
				return at(t, "this block without a name holds the global options and stands first: move it above '%s'", tokens[0].Text)
			}
			depth++
		case "}":
			depth--
		}
	}
	return err
}

// checkBraces finds a block that is not closed, and a } too many.
func checkBraces(body []byte, tokens []caddyfile.Token) error {
	lines := strings.Split(string(body), "\n")
	indent := func(t caddyfile.Token) int {
		if t.Line > len(lines) {
			return 0
		}
		return len(lines[t.Line-1]) - len(strings.TrimLeft(lines[t.Line-1], " \t"))
	}
	var open []int
	var glued, unclosed *caddyfile.Token
	for i, t := range tokens {
		first := i == 0 || tokens[i-1].Line != t.Line || tokens[i-1].File != t.File
		last := i == len(tokens)-1 || tokens[i+1].Line != t.Line || tokens[i+1].File != t.File
		switch {
		case t.Quoted():
		case t.Text == "{" && last:
			open = append(open, i)
		case t.Text == "}" && first:
			if len(open) == 0 {
				if glued != nil {
					return at(*glued, "a blank is missing before the {: '%s {'", strings.TrimSuffix(glued.Text, "{"))
				}
				return at(t, "this } closes nothing: take it away, or look for a { that is missing above it")
			}
			// A } that stands further left than the line it would close
			// belongs to a block outside: the one within has lost its own.
			if unclosed == nil && indent(t) < indent(tokens[open[len(open)-1]]) && t.Line != tokens[open[len(open)-1]].Line {
				unclosed = &tokens[open[len(open)-1]]
			}
			open = open[:len(open)-1]
		case last && len(t.Text) > 1 && strings.HasSuffix(t.Text, "{") && glued == nil:
			glued = &tokens[i]
		}
	}
	if len(open) == 0 {
		return nil
	}
	if unclosed == nil {
		unclosed = &tokens[open[len(open)-1]]
	}
	words := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(lines[min(unclosed.Line, len(lines))-1]), "{"))
	if words != "" {
		words = " '" + words + "'"
	}
	return at(*unclosed, "the block%s has no end: a } is missing for the { of this line", words)
}

// secrets are the options whose value is typed as it was got.
var secrets = []string{"client_secret", "client_certificate_password", "secret", "refresh_token", "encryption_key", "bind_password", "password"}

// checkSecrets finds secrets that lose a part, or are read as something else.
func checkSecrets(file string, body []byte) (advice []string, err error) {
	for n, line := range strings.Split(string(body), "\n") {
		words := strings.Fields(line)
		if len(words) < 2 || !slices.Contains(secrets, words[0]) {
			continue
		}
		value := words[1]
		if quoted := strings.Trim(value, "\"`"); quoted != value {
			if hint := form.ShellVariable(quoted); hint != "" && len(words) == 2 {
				advice = append(advice, fmt.Sprintf("%s:%d: %s: %s", file, n+1, words[0], hint))
			}
			continue
		}
		switch {
		case strings.HasPrefix(value, "{") && strings.HasSuffix(value, "}") && len(value) > 2 && !strings.ContainsAny(value, ".$") && !ofSnippet(value):
			return advice, fmt.Errorf("%s:%d: %s: %w", file, n+1, words[0], form.Placeholder(value))
		case len(words) > 2 && strings.HasPrefix(words[2], "#") && !strings.HasPrefix(words[2], "##") && len(words[2]) > 1 && !strings.HasPrefix(value, "{"):
			advice = append(advice, fmt.Sprintf("%s:%d: what follows # is a comment; a value of %s that holds it stands in quotes", file, n+1, words[0]))
		case form.ShellVariable(value) != "":
			advice = append(advice, fmt.Sprintf("%s:%d: %s: %s", file, n+1, words[0], form.ShellVariable(value)))
		}
	}
	return advice, nil
}

// ofSnippet reports whether a placeholder is one that Caddy fills in where a snippet
// is imported.
func ofSnippet(value string) bool {
	return strings.HasPrefix(value, "{args[") || value == "{block}" || strings.HasPrefix(value, "{blocks.")
}

// config is what names look each other up in.
type config struct {
	Apps struct {
		SMTP struct {
			Accounts []struct {
				Source   string
				Accounts []struct{ Name, Upstream string }
			}
			Servers map[string]struct {
				Listen []string
				Trust  []struct{ Account string }
			}
		}
		Upstreams struct {
			Upstreams map[string]struct {
				Auth struct{ Provider string }
			}
		} `json:"smtp_upstreams"`
		Tokens struct {
			Providers map[string]json.RawMessage
		} `json:"oauth_tokens"`
		Layer4 json.RawMessage
	}
}

// checkNames finds upstreams, providers and accounts that are asked for and not
// there, each at its line.
func checkNames(tokens []caddyfile.Token, adapted []byte) (advice []string, err error) {
	var c config
	if err := json.Unmarshal(adapted, &c); err != nil {
		return nil, nil //nolint:nilerr // a shape of another module's: Caddy says
	}
	for i, t := range tokens {
		switch {
		case i+1 >= len(tokens) || tokens[i+1].Text != "{" && t.Text != "server":
		case t.Text == "smtp" && len(c.Apps.SMTP.Servers) == 0 && len(c.Apps.Layer4) == 0:
			advice = append(advice, at(t, "the block smtp has no server, so nothing listens: add the line 'server submission :587' to it").Error())
		case t.Text == "server" && len(c.Apps.Layer4) == 0:
			if s, ok := c.Apps.SMTP.Servers[tokens[i+1].Text]; ok && len(s.Listen) == 0 {
				advice = append(advice, at(t, "server '%s' has no address, so it listens nowhere, as in 'server %s :587'", tokens[i+1].Text, tokens[i+1].Text).Error())
			}
		}
	}
	upstreams := slices.Sorted(maps.Keys(c.Apps.Upstreams.Upstreams))
	names, closed := []string{}, true
	for _, source := range c.Apps.SMTP.Accounts {
		closed = closed && (source.Source == "inline" || source.Source == "")
		for _, a := range source.Accounts {
			names = append(names, a.Name)
			if !literal(a.Upstream) || slices.Contains(upstreams, a.Upstream) {
				continue
			}
			return advice, missing(tokens, "upstream", a.Upstream, 0, "smtp_upstreams", "upstream "+a.Upstream+" PRESET", upstreams)
		}
	}
	providers := slices.Sorted(maps.Keys(c.Apps.Tokens.Providers))
	for _, name := range upstreams {
		p := c.Apps.Upstreams.Upstreams[name].Auth.Provider
		if literal(p) && !slices.Contains(providers, p) {
			return advice, missing(tokens, "auth", p, 1, "oauth_tokens", "provider "+p, providers)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Apps.SMTP.Servers)) {
		for _, t := range c.Apps.SMTP.Servers[name].Trust {
			if literal(t.Account) && closed && !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, t.Account) }) {
				return advice, missing(tokens, "account", t.Account, 0, "accounts", "account "+t.Account+" { upstream NAME }", names)
			}
		}
	}
	return advice, nil
}

// literal reports whether a name is there and stands as it is.
func literal(name string) bool { return name != "" && !strings.Contains(name, "{") }

// missing says where a name is asked for: behind the word of an option, with
// so many words between. The last such place: what gives a name stands on top.
func missing(tokens []caddyfile.Token, word, name string, between int, block, line string, names []string) error {
	hint := nearest.Hint(name, names)
	switch {
	case hint != "":
	case len(names) > 0:
		hint = "; there are " + strings.Join(names, ", ")
	default:
		hint = "; it has none: add the line '" + line + "' to it"
	}
	text := fmt.Sprintf("'%s' is not in the block %s%s", name, block, hint)
	for i := len(tokens) - 1; i > between; i-- {
		if tokens[i].Text == name && tokens[i-1-between].Text == word && tokens[i-1-between].Line == tokens[i].Line {
			return at(tokens[i], "%s", text)
		}
	}
	return errors.New(text)
}
