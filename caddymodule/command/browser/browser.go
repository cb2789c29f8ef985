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

// Package browser runs the gateway with its console alone, for a setup in the browser.
package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/setup"
)

// Run runs the gateway until it is interrupted, with the Caddyfile of a directory. One
// that is not there is written, with the console at an address.
func Run(ctx context.Context, dir, console string, say func(format string, args ...any)) error {
	text, err := setup.Config(dir)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, setup.ConfigName)
	if text == "" {
		if u, err := url.Parse(console); err != nil || u.Scheme != "http" || u.Port() == "" || u.Path != "" || u.RawQuery != "" {
			return fmt.Errorf("--console: want an address such as %s", setup.ConsoleURL)
		}
		text = setup.Start(dir, console)
		if err := setup.SaveConfig(dir, text, false); err != nil {
			return err
		}
		say("wrote %s\n", file)
	}
	adapted, err := setup.Adapt([]byte(text), file)
	if err != nil {
		return fmt.Errorf("the configuration: %w", err)
	}
	address := consoleOf(adapted)
	if address == "" {
		return fmt.Errorf("%s has no smtp_console: put one in, as docs/console.md has it", file)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := caddy.Load(adapted, true); err != nil {
		return fmt.Errorf("the configuration: %w", err)
	}
	say("\nOpen this in a browser on this machine, and go on there:\n\n    %s/setup\n\nThe gateway runs until you press Ctrl-C; from then on:\n\n    %s run --config %s\n",
		address, os.Args[0], file)
	<-ctx.Done()
	return caddy.Stop()
}

// consoleOf is the address of the console in a configuration.
func consoleOf(adapted []byte) string {
	var cfg any
	if json.Unmarshal(adapted, &cfg) != nil {
		return ""
	}
	return findConsole(cfg)
}

func findConsole(v any) string {
	switch v := v.(type) {
	case map[string]any:
		if address, ok := v["url"].(string); ok && v["handler"] == "smtp_console" {
			return address
		}
		for _, inner := range v {
			if address := findConsole(inner); address != "" {
				return address
			}
		}
	case []any:
		for _, inner := range v {
			if address := findConsole(inner); address != "" {
				return address
			}
		}
	}
	return ""
}
