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

// Package cookie seals what a browser carries for the gateway: a consent under way, a
// login, a text that is shown once. Nothing of it is kept here, so that any node
// with the same storage reads what another has written. A value that was
// altered, has expired, or was sealed under another name is none at all.
package cookie

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/internal/seal"
)

// ErrNone is a cookie that is not there, or none of ours.
var ErrNone = errors.New("no such cookie, or not one of ours")

// Jar seals and opens cookies with a key that lies in a folder of the storage.
type Jar struct {
	// Storage holds the key, in Folder.
	Storage certmagic.Storage
	Folder  string
	// Secure is set where the pages are served over https. Browsers then take
	// the cookies from this host only (`__Host-`).
	Secure bool

	mu   sync.Mutex
	keys *seal.Keys
}

// Load loads the key, and makes it if there is none. It is called at a request:
// a configuration that is only checked reads and writes nothing.
func (j *Jar) Load(ctx context.Context) error {
	_, err := j.load(ctx)
	return err
}

func (j *Jar) load(ctx context.Context) (*seal.Keys, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.keys != nil {
		return j.keys, nil
	}
	name := path.Join(j.Folder, "cookie.key")
	text, err := j.Storage.Load(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = j.make(ctx, name)
	}
	if err != nil {
		return nil, fmt.Errorf("the key that seals cookies: %w", err)
	}
	j.keys, err = seal.New([]string{string(text)}, func(key []byte) string {
		sum := sha256.Sum256(append([]byte(j.Folder+" cookie\x00"), key...))
		return hex.EncodeToString(sum[:4])
	})
	return j.keys, err
}

func (j *Jar) make(ctx context.Context, name string) ([]byte, error) {
	lock := j.Folder + "_cookie_key"
	if err := j.Storage.Lock(ctx, lock); err != nil {
		return nil, err
	}
	defer func() { _ = j.Storage.Unlock(context.WithoutCancel(ctx), lock) }()
	// Another node may have been first.
	if text, err := j.Storage.Load(ctx, name); err == nil {
		return text, nil
	}
	var key [seal.KeySize]byte
	_, _ = rand.Read(key[:]) // never fails
	text := []byte(base64.StdEncoding.EncodeToString(key[:]))
	return text, j.Storage.Store(ctx, name, text)
}

// sealed is what a cookie holds.
type sealed struct {
	Expires time.Time       `json:"e"`
	Value   json.RawMessage `json:"v"`
}

// Set seals a value into a cookie of that name.
func (j *Jar) Set(w http.ResponseWriter, r *http.Request, name string, v any, lifetime time.Duration, site http.SameSite) error {
	keys, err := j.load(r.Context())
	if err != nil {
		return err
	}
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	text, err := json.Marshal(sealed{time.Now().Add(lifetime), value})
	if err != nil {
		return err
	}
	_, nonce, data := keys.Seal(text, []byte(name))
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure but on loopback, where there is no https
		Name: j.name(name), Value: base64.RawURLEncoding.EncodeToString(append(nonce, data...)),
		Path: "/", MaxAge: int(lifetime.Seconds()), Secure: j.Secure, HttpOnly: true, SameSite: site,
	})
	return nil
}

// Get opens what Set has sealed under the same name.
func (j *Jar) Get(r *http.Request, name string, v any) error {
	keys, err := j.load(r.Context())
	if err != nil {
		return err
	}
	c, err := r.Cookie(j.name(name))
	if err != nil {
		return ErrNone
	}
	raw, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || len(raw) < seal.NonceSize {
		return ErrNone
	}
	text, err := keys.Open(keys.ID(), raw[:seal.NonceSize], raw[seal.NonceSize:], []byte(name))
	if err != nil {
		return ErrNone
	}
	var s sealed
	if json.Unmarshal(text, &s) != nil || !time.Now().Before(s.Expires) || json.Unmarshal(s.Value, v) != nil {
		return ErrNone
	}
	return nil
}

// Drop makes the browser forget a cookie.
func (j *Jar) Drop(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{Name: j.name(name), Path: "/", MaxAge: -1, Secure: j.Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}) //nolint:gosec // Secure but on loopback, where there is no https
}

// Shed makes the browser forget cookies whose names begin so, the oldest first, until
// fewer than so many are left: whoever leads a browser to ever more of them cannot make its
// requests too long to be answered, by us or by a proxy in front.
func (j *Jar) Shed(w http.ResponseWriter, r *http.Request, prefix string, most int) {
	var names []string
	for _, c := range r.Cookies() { // those that were set first come first (RFC 6265 section 5.4)
		if name, ok := strings.CutPrefix(c.Name, j.name("")); ok && strings.HasPrefix(name, prefix) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for len(names) >= most {
		j.Drop(w, names[0])
		names = names[1:]
	}
}

// name adds the prefix that keeps other hosts and paths from setting the cookie.
// It needs https: loopback over http goes without.
func (j *Jar) name(name string) string {
	if j.Secure {
		return "__Host-" + name
	}
	return name
}
