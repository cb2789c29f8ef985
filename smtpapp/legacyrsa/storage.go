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

package legacyrsa

import (
	"context"
	"strings"

	"github.com/caddyserver/certmagic"
)

// prefixed is a part of a storage.
type prefixed struct {
	certmagic.Storage
	prefix string
}

// Lock implements certmagic.Locker.
func (p prefixed) Lock(ctx context.Context, name string) error {
	return p.Storage.Lock(ctx, p.prefix+name)
}

// Unlock implements certmagic.Locker.
func (p prefixed) Unlock(ctx context.Context, name string) error {
	return p.Storage.Unlock(ctx, p.prefix+name)
}

// Store implements certmagic.Storage.
func (p prefixed) Store(ctx context.Context, key string, value []byte) error {
	return p.Storage.Store(ctx, p.prefix+key, value)
}

// Load implements certmagic.Storage.
func (p prefixed) Load(ctx context.Context, key string) ([]byte, error) {
	return p.Storage.Load(ctx, p.prefix+key)
}

// Delete implements certmagic.Storage.
func (p prefixed) Delete(ctx context.Context, key string) error {
	return p.Storage.Delete(ctx, p.prefix+key)
}

// Exists implements certmagic.Storage.
func (p prefixed) Exists(ctx context.Context, key string) bool {
	return p.Storage.Exists(ctx, p.prefix+key)
}

// List implements certmagic.Storage.
func (p prefixed) List(ctx context.Context, dir string, recursive bool) ([]string, error) {
	keys, err := p.Storage.List(ctx, p.prefix+dir, recursive)
	for i, key := range keys {
		keys[i] = strings.TrimPrefix(key, p.prefix)
	}
	return keys, err
}

// Stat implements certmagic.Storage.
func (p prefixed) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	info, err := p.Storage.Stat(ctx, p.prefix+key)
	info.Key = strings.TrimPrefix(info.Key, p.prefix)
	return info, err
}

// Interface guards
var _ certmagic.Storage = prefixed{}
