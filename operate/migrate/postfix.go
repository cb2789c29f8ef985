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

package migrate

import (
	"errors"
	"io"
	"strings"

	"github.com/caddymail/mailgateway/accounts"
)

// Postfix reads the source text of a table of smtp_sasl_password_maps, sasl_passwd mostly:
// each login is an account, whose password it keeps for the provider. A line is a server
// or a sender, and `login:password`.
func Postfix(r io.Reader) (*Foreign, error) {
	data, err := readForeign(r)
	if err != nil {
		return nil, err
	}
	f := new(Foreign)
	// Accounts by login and password, and which of them only a sender's line has.
	seen, senders := make(map[string]int), make(map[string]bool)
	for _, line := range postfixLines(string(data)) {
		im, login := f.postfixAccount(line)
		im.Line = line.n
		bySender := strings.Contains(line.key, "@")
		i, again := seen[login]
		switch {
		case im.Err != nil || !again:
		// The same login for a server, and for each sender that uses it: the server
		// says more.
		case bySender || f.Accounts[i].Record.Upstream == im.Record.Upstream:
			f.unuse(im.Record.Upstream)
			continue
		case senders[login]:
			f.unuse(f.Accounts[i].Record.Upstream)
			f.Accounts[i], senders[login] = im, false
			continue
		}
		if im.Err == nil {
			seen[login], senders[login] = len(f.Accounts), bySender
		}
		f.Accounts = append(f.Accounts, im)
	}
	if len(f.Accounts) == 0 {
		return nil, errors.New("the file has no line `SERVER LOGIN:PASSWORD`: is this the text of sasl_passwd?")
	}
	f.finish()
	f.passwordNote("The passwords of the file are the provider's.")
	return f, nil
}

// postfixLine is a logical line of a table.
type postfixLine struct {
	n          int
	key, value string
}

// postfixLines reads a table as postmap(1) does: what begins with a blank goes on with the
// line before, comments and empty lines between them are skipped, and a key with blanks
// stands in quotes.
func postfixLines(text string) []postfixLine {
	var joined []postfixLine
	n := 0
	for line := range strings.Lines(text) {
		n++
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case (line[0] == ' ' || line[0] == '\t') && len(joined) > 0:
			joined[len(joined)-1].value += " " + trimmed
		default:
			joined = append(joined, postfixLine{n: n, value: trimmed})
		}
	}
	for i := range joined {
		joined[i].key, joined[i].value = postfixKey(joined[i].value)
	}
	return joined
}

func postfixKey(line string) (key, value string) {
	if line[0] != '"' {
		i := strings.IndexAny(line, " \t")
		if i < 0 {
			return line, ""
		}
		return line[:i], strings.TrimSpace(line[i:])
	}
	for i := 1; i < len(line); i++ {
		switch line[i] {
		case '\\':
			if i++; i < len(line) {
				key += line[i : i+1]
			}
		case '"':
			return key, strings.TrimSpace(line[i+1:])
		default:
			key += line[i : i+1]
		}
	}
	return line, ""
}

// postfixAccount makes an account of a line. login tells apart those of the file.
func (f *Foreign) postfixAccount(line postfixLine) (im Imported, login string) {
	name, password, ok := strings.Cut(line.value, ":")
	if !ok || name == "" || password == "" {
		im.Err = errors.New("want a server or a sender, and LOGIN:PASSWORD")
		return im, ""
	}
	login = name + "\x00" + password
	im.Record = accounts.Record{Name: name}
	if !strings.Contains(name, "@") && strings.Contains(line.key, "@") && line.key[0] != '@' {
		im.Record.Name, im.Record.Mailbox = line.key, name
		login = line.key + "\x00" + login
	}
	p := SuggestedProvider{Password: true}
	if host, port := postfixServer(line.key); host == "" {
		im.note("the line is for the sender %s: give the upstream the server that relayhost or sender_dependent_relayhost_maps has for it", clip(line.key))
		p.Preset = domainPreset(im.Record.Name)
	} else {
		p.at(host, port)
	}
	im.keep(&p, password)
	im.Record.Upstream = "imported"
	if _, err := accounts.Compile(im.Record, "import"); err != nil {
		im.Err = err
		return im, login
	}
	im.Record.Upstream = f.use(p, false)
	return im, login
}

// postfixServer reads a next hop: [host]:port, host:port, or host with the port of SMTP;
// no host is in a sender's address.
func postfixServer(key string) (host, port string) {
	if strings.Contains(key, "@") {
		return "", ""
	}
	switch i := strings.LastIndexByte(key, ':'); {
	case strings.HasSuffix(key, "]"), i < 0, key[0] != '[' && strings.Count(key, ":") > 1:
		host = key
	default:
		host, port = key[:i], key[i+1:]
	}
	switch port {
	case "", "smtp":
		port = "25"
	case "submission":
		port = "587"
	case "smtps", "submissions", "urd":
		port = "465"
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), port
}
