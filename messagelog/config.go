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

package messagelog

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// Config keeps the last transactions, so that `smtp messages` and the console
// find them again. Addresses are personal data: keep them no longer than needed.
type Config struct {
	// Keep is how long a transaction is kept. Default: 7d.
	Keep caddy.Duration `json:"keep,omitempty"`

	// MaxCount is the number of transactions that are kept at most. Default: 100000.
	MaxCount int `json:"max_count,omitempty"`

	// MaxSize is what they take on disk at most, in octets; the least is 1 MiB.
	// Default: 134217728 (128 MiB).
	MaxSize int64 `json:"max_size,omitempty"`

	// HashRecipients keeps a keyed hash of each recipient in place of the
	// address: it is found by the whole address, and is not shown. Default: false.
	HashRecipients bool `json:"hash_recipients,omitempty"`

	// Directory is where they lie. It belongs to one process at a time. Default:
	// `smtp_messages` in Caddy's data directory.
	Directory string `json:"directory,omitempty"`

	dir    string
	logger *zap.Logger
}

const (
	defaultKeep     = 7 * 24 * time.Hour
	defaultMaxCount = 100_000
	defaultMaxSize  = 128 << 20
	minMaxSize      = 1 << 20
)

// Provision resolves placeholders and fills in the defaults. It touches no disk.
func (c *Config) Provision() error {
	if c.Keep < 0 {
		return errors.New("keep: must not be negative")
	}
	if c.MaxCount < 0 {
		return errors.New("max_count: must not be negative")
	}
	if c.Keep == 0 {
		c.Keep = caddy.Duration(defaultKeep)
	}
	if c.MaxCount == 0 {
		c.MaxCount = defaultMaxCount
	}
	if c.MaxSize == 0 {
		c.MaxSize = defaultMaxSize
	}
	if c.MaxSize < minMaxSize {
		return fmt.Errorf("max_size: %d octets are less than 1MiB", c.MaxSize)
	}
	if c.Directory == "" {
		c.Directory = filepath.Join(caddy.AppDataDir(), "smtp_messages")
	}
	dir, err := caddy.NewReplacer().ReplaceOrErr(c.Directory, true, true)
	if err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	if c.dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	return nil
}

func (c *Config) bounds() bounds {
	return bounds{keep: time.Duration(c.Keep), count: c.MaxCount, octets: c.MaxSize}
}
