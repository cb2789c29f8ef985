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

package main

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/caddymodule/command"
	"github.com/caddymail/mailgateway/internal/nearest"
)

// init answers the commands of Caddy's that mean something else here. They are
// registered within Caddy and cannot be replaced there.
func init() {
	if len(os.Args) < 2 {
		return // main's
	}
	if len(os.Args) > 2 && helps(os.Args[1]) {
		if hint := unknown(os.Args[2]); hint != "" {
			fmt.Fprintln(os.Stderr, "Error:", hint)
			os.Exit(1)
		}
		return
	}
	if code, ok := answer(os.Args[1], os.Stdout, os.Stderr); ok {
		os.Exit(code)
	}
}

// overview is shown in place of Caddy's own, which tells of web servers.
const overview = `Mailgateway is an SMTP gateway for mailboxes that want OAuth. It is built on Caddy.

  mailgateway run                      the sandbox, on this machine alone, to try it: it delivers nothing
  mailgateway smtp setup               from nothing to a first test mail, step by step
  mailgateway run --config FILE        the gateway, until Ctrl-C
  mailgateway validate --config FILE   says what is wrong with a Caddyfile, and where
  mailgateway reload --config FILE     takes a changed file into use, without an interruption
  mailgateway smtp doctor              what is wrong with the running gateway, and what to do
  mailgateway smtp test ACCOUNT        whether an account can send, and why not
  mailgateway smtp --help              all commands for accounts, consent, messages and the spool
  mailgateway hash-password            a password's hash for the configuration
  mailgateway version                  the version of the gateway and of Caddy

Each takes --help. Manual: https://github.com/caddymail/mailgateway/tree/main/docs
`

// helps reports whether a word asks for help.
func helps(word string) bool { return word == "help" || word == "--help" || word == "-h" }

// answer runs a command and returns its exit code, if it is one of ours.
func answer(word string, stdout, stderr io.Writer) (code int, ok bool) {
	switch word {
	case "", "help", "--help", "-h":
		_, _ = fmt.Fprint(stdout, overview)
		return 0, true
	case "version", "--version", "-v":
		_, _ = fmt.Fprintln(stdout, version())
		return 0, true
	case "upgrade":
		_, _ = fmt.Fprint(stderr, `Mailgateway is not upgraded by this command: it would fetch a Caddy without the gateway from caddyserver.com.
Take the new release in the way that you took this one (package, image or archive), as docs/upgrade.md says.
`)
		return 1, true
	case "add-package", "remove-package":
		_, _ = fmt.Fprintf(stderr, `%s does not work with Mailgateway: it would fetch a Caddy without the gateway from caddyserver.com.
Build a binary with further modules in place of it:
	xcaddy build --with github.com/caddymail/mailgateway --with MODULE
`, word)
		return 1, true
	}
	if hint := unknown(word); hint != "" {
		_, _ = fmt.Fprintf(stderr, "Error: %s\n", hint)
		return 1, true
	}
	return 0, false
}

// unknown says of a word that is no command what was meant; Caddy's own answer
// names a binary called caddy. It is "" for others.
func unknown(word string) string {
	names := []string{"help", "version"}
	for name := range caddycmd.Commands() {
		names = append(names, name)
	}
	if slices.Contains(names, word) || strings.HasPrefix(word, "-") || strings.HasPrefix(word, "_") || word == "completion" {
		return ""
	}
	smtp := new(cobra.Command)
	command.Setup(smtp)
	for _, c := range smtp.Commands() {
		if c.Name() == word {
			return fmt.Sprintf("there is no command 'mailgateway %[1]s'; did you mean 'mailgateway smtp %[1]s'?", word)
		}
	}
	return fmt.Sprintf("there is no command 'mailgateway %s'%s; `mailgateway help` shows the most frequent ones", word, nearest.Hint(word, names))
}

// version names the gateway's version and Caddy's.
func version() string {
	ours := caddy.CustomVersion
	if ours == "" {
		ours = "mailgateway-devel"
		if info, ok := debug.ReadBuildInfo(); ok && strings.HasPrefix(info.Main.Version, "v") {
			ours = "mailgateway-" + info.Main.Version
		}
	}
	caddys := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/caddyserver/caddy/v2" {
				caddys = m.Version
			}
		}
	}
	return ours + " (Caddy " + caddys + ")"
}
