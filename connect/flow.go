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

package connect

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
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/internal/seal"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
)

const (
	flowTimeout    = 10 * time.Minute
	outcomeTimeout = 10 * time.Minute
)

// flow is a consent under way, as its cookie holds it.
type flow struct {
	Login authserver.FlowState `json:"l"`
	// Token is the invitation's: the browser goes back to its page.
	Token string    `json:"t"`
	Begun time.Time `json:"b"`
}

// loadKey returns the key that seals cookies, the same for all nodes of a storage.
func loadKey(ctx context.Context, storage certmagic.Storage) (*seal.Keys, error) {
	name := path.Join(folder, "cookie.key")
	text, err := storage.Load(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = makeKey(ctx, storage, name)
	}
	if err != nil {
		return nil, fmt.Errorf("the key that seals cookies: %w", err)
	}
	return seal.New([]string{string(text)}, func(key []byte) string {
		sum := sha256.Sum256(append([]byte("smtp_connect cookie\x00"), key...))
		return hex.EncodeToString(sum[:4])
	})
}

func makeKey(ctx context.Context, storage certmagic.Storage, name string) ([]byte, error) {
	if err := storage.Lock(ctx, "smtp_connect_key"); err != nil {
		return nil, err
	}
	defer func() { _ = storage.Unlock(context.WithoutCancel(ctx), "smtp_connect_key") }()
	// Another node may have been first.
	if text, err := storage.Load(ctx, name); err == nil {
		return text, nil
	}
	var key [seal.KeySize]byte
	_, _ = rand.Read(key[:]) // never fails
	text := []byte(base64.StdEncoding.EncodeToString(key[:]))
	return text, storage.Store(ctx, name, text)
}

// sealed is what a cookie holds.
type sealed struct {
	Expires time.Time       `json:"e"`
	Value   json.RawMessage `json:"v"`
}

// setCookie seals a value into a cookie of that name. SameSite is Lax: the way
// back from the provider is a navigation from another site.
func (h *Handler) setCookie(w http.ResponseWriter, name string, v any, lifetime time.Duration) error {
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	text, err := json.Marshal(sealed{time.Now().Add(lifetime), value})
	if err != nil {
		return err
	}
	_, nonce, data := h.keys.Seal(text, []byte(name))
	http.SetCookie(w, &http.Cookie{
		Name: h.cookieName(name), Value: base64.RawURLEncoding.EncodeToString(append(nonce, data...)),
		Path: "/", MaxAge: int(lifetime.Seconds()), Secure: h.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	return nil
}

var errNoCookie = errors.New("no such cookie, or not one of ours")

// readCookie opens what setCookie has sealed under the same name.
func (h *Handler) readCookie(r *http.Request, name string, v any) error {
	c, err := r.Cookie(h.cookieName(name))
	if err != nil {
		return errNoCookie
	}
	raw, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || len(raw) < seal.NonceSize {
		return errNoCookie
	}
	text, err := h.keys.Open(h.keys.ID(), raw[:seal.NonceSize], raw[seal.NonceSize:], []byte(name))
	if err != nil {
		return errNoCookie
	}
	var s sealed
	if json.Unmarshal(text, &s) != nil || time.Now().After(s.Expires) || json.Unmarshal(s.Value, v) != nil {
		return errNoCookie
	}
	return nil
}

func (h *Handler) dropCookie(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{Name: h.cookieName(name), Path: "/", MaxAge: -1, Secure: h.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// cookieName adds the prefix that keeps other hosts and other paths from
// setting the cookie. It needs https: loopback over http goes without.
func (h *Handler) cookieName(name string) string {
	if h.secure {
		return "__Host-" + name
	}
	return name
}

// flowCookie is the name of a flow's cookie. Each flow has its own, so that two
// windows are not in each other's way.
func flowCookie(state string) string { return "smtp-connect-" + short(state) }

// outcomeCookie is the name of the cookie with the last outcome of an invitation.
func outcomeCookie(token string) string { return "smtp-connect-end-" + short(token) }

func short(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}
