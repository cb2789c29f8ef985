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

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddymail/mailgateway/caddymodule/logbuffer"
)

func init() {
	caddy.RegisterModule(new(bufferedLog))
}

// bufferedLog is the log writer with its Caddyfile syntax.
type bufferedLog struct{ logbuffer.Writer }

// CaddyModule returns the Caddy module information.
func (*bufferedLog) CaddyModule() caddy.ModuleInfo {
	info := (*logbuffer.Writer)(nil).CaddyModule()
	info.New = func() caddy.Module { return new(bufferedLog) }
	return info
}

// UnmarshalCaddyfile sets up the writer from Caddyfile tokens. Syntax:
//
//	buffered {
//		output <writer> ...
//		size <size>
//		flush_interval <duration>
//	}
func (w *bufferedLog) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the writer's name
	if d.NextArg() {
		return d.ArgErr()
	}
	if err := parseBlock(d, "buffered log writer", bufferedLogOptions(&w.Writer)); err != nil {
		return err
	}
	if w.WriterRaw == nil {
		return d.Err("buffered log writer: no output")
	}
	return nil
}

func bufferedLogOptions(w *logbuffer.Writer) options {
	return options{
		"output":         {nested: func(d *caddyfile.Dispenser) error { return logOutput(d, &w.WriterRaw) }},
		"size":           size(&w.Size),
		"flush_interval": duration(&w.FlushInterval),
	}
}

// logOutput reads the other writer as Caddy's own `output` does.
func logOutput(d *caddyfile.Dispenser, raw *json.RawMessage) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	switch name := d.Val(); name {
	case "stdout", "stderr", "discard":
		// Caddy's own writers read no Caddyfile.
		*raw = caddyconfig.JSON(map[string]string{"output": name}, nil)
		return nil
	}
	var err error
	*raw, err = parseModule(d, "buffered log writer", "output", "caddy.logging.writers", "output")
	return err
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*bufferedLog)(nil)
	_ caddy.WriterOpener    = (*bufferedLog)(nil)
)
