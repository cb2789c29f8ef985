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

// Package firstrun is what the program does for those who have no
// configuration yet: `mailgateway run` serves the example.
package firstrun

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/term"
)

// words are what is said in place of Caddy's empty configuration: three lines.
var words = `No configuration: this is the sandbox, on loopback, and it delivers nothing. Yours: --config FILE.
Send:  ` + send(runtime.GOOS) + `
Look:  http://127.0.0.1:2590/messages (the console), http://127.0.0.1:2580/messages (what the provider received)
`

// send is a command that sends a message. Windows comes with curl, but its shells
// have no printf: curl makes the message there.
func send(system string) string {
	const to = " smtp://127.0.0.1:2525 --user demo@example.com:demo-password --mail-from demo@example.com --mail-rcpt you@example.net "
	if system == "windows" {
		return "curl.exe" + to + `-H "Subject: hello" -F "=It works."`
	}
	return `printf 'Subject: hello\r\n\r\nIt works.\r\n' | curl` + to + "-T -"
}

// listens are the addresses that the example listens on, and the one where
// commands look for the gateway.
var listens = []string{"127.0.0.1:2019", "127.0.0.1:2465", "127.0.0.1:2525", "127.0.0.1:2580", "127.0.0.1:2587", "127.0.0.1:2590"}

// free says of addresses that others listen on them. Caddy would name the first
// one, at the end of its log; of the admin API's it would say nothing, and a
// command would reach either gateway.
func free(addresses []string) error {
	for _, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("the sandbox needs %s, and cannot have it: %w. Another gateway runs, or another program has it; "+
				"stop that, or take a configuration of your own with --config FILE", address, err)
		}
		_ = l.Close()
	}
	return nil
}

// writable says of a folder for what is kept that it is none.
func writable(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(dir, ".writable"); err == nil {
			return errors.Join(f.Close(), os.Remove(f.Name()))
		}
	}
	return fmt.Errorf("the sandbox keeps certificates and counts in %s, where this user cannot write: %w. "+
		"Name another folder in XDG_DATA_HOME", dir, err)
}

// Prepare has `run` serve the example if it is given nothing else, and says on
// w where to look. Caddy reads it from its standard input, so that no file is
// left behind.
//
// Two slips are refused, since Caddy would go on without the configuration: a
// file without its flag, and a `start` that has none, which would serve nothing.
func Prepare(example []byte, w io.Writer) error {
	if file := stray(os.Args); file != "" {
		return fmt.Errorf("%s takes no file by itself: %[1]s --config %s", os.Args[1], file)
	}
	there := exists("Caddyfile")
	if len(os.Args) > 1 && os.Args[1] == "start" && Wanted(slices.Concat([]string{"", "run"}, os.Args[2:]), there) {
		return errors.New("start needs --config FILE; without a configuration only `run` serves something, the sandbox")
	}
	if !Wanted(os.Args, there) {
		return nil
	}
	if err := errors.Join(free(listens), writable(caddy.AppDataDir())); err != nil {
		return err
	}
	r, pipe, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("passing the example on: %w", err)
	}
	// It may be longer than what a pipe holds.
	go func() {
		_, _ = pipe.Write(example)
		_ = pipe.Close()
	}()
	os.Stdin = r
	os.Args = append(os.Args, "--config", "-", "--adapter", "caddyfile")
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) { //nolint:gosec // a descriptor fits
		// The log of the start has pushed them off the screen by then.
		go repeat(w, pages)
	}
	_, err = io.WriteString(w, words)
	return err
}

// pages is where the example's console listens.
const pages = "127.0.0.1:2590"

// repeat says the words again as soon as the sandbox serves. One that does not
// start ends the program, and this with it.
func repeat(w io.Writer, address string) {
	for {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = conn.Close()
			_, _ = io.WriteString(w, "\n"+words+"\n")
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// stray is an argument of `run` or `start` that belongs to no flag.
func stray(args []string) string {
	if len(args) < 2 || args[1] != "run" && args[1] != "start" {
		return ""
	}
	for i := 2; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "--":
		case !strings.HasPrefix(arg, "-"):
			return arg
		case slices.Contains([]string{"--config", "--adapter", "--envfile", "--pidfile", "--pingback"}, arg),
			!strings.HasPrefix(arg, "--") && (strings.HasSuffix(arg, "c") || strings.HasSuffix(arg, "a")) && !strings.ContainsAny(arg[1:len(arg)-1], "ca"):
			i++ // its value
		}
	}
	return ""
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// Wanted reports whether a command line is a `run` that names no
// configuration, in a directory without the Caddyfile that Caddy would take.
func Wanted(args []string, caddyfile bool) bool {
	if len(args) < 2 || args[1] != "run" || caddyfile {
		return false
	}
	return !slices.ContainsFunc(args[2:], func(arg string) bool {
		name, _, _ := strings.Cut(arg, "=")
		switch name {
		case "--config", "--adapter", "--resume", "--help", "--pingback": // the last is start's, which has standard input itself
			return true
		}
		// -c, -a, -r and -h, also glued to each other or to a value.
		return len(arg) > 1 && arg[0] == '-' && arg[1] != '-' && strings.ContainsAny(name, "carh")
	})
}
