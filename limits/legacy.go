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

package limits

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// legacyFile is what versions before recordVersion stored, by account. They
// are read and never written: what is in them has become part of a mailbox's
// record with the account's first message.
type legacyFile struct {
	Version  int                      `json:"version"`
	Saved    int64                    `json:"saved"` // seconds since 1970
	Accounts map[string]legacyAccount `json:"accounts"`
}

// legacyAccount holds counts by period in seconds.
type legacyAccount struct {
	Messages   map[string]legacyCount `json:"messages"`
	Recipients map[string]legacyCount `json:"recipients"`
}

type legacyCount struct {
	Stamps [][2]int64 `json:"stamps"` // seconds since 1970, number of events
	Lead   int64      `json:"lead"`   // what may have been sent since
}

const legacyVersion = 1

// readLegacy returns what an earlier version has stored of the upstream.
func readLegacy(ctx context.Context, set *Config, upstream string) (map[string]counts, error) {
	all := make(map[string]counts)
	dir := path.Join("smtp", "quota", certmagic.StorageKeys.Safe(upstream))
	keys, err := listKeys(ctx, set.Storage, dir)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if !strings.HasSuffix(key, ".json") {
			continue
		}
		raw, err := set.Storage.Load(ctx, key)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var f legacyFile
		if err = json.Unmarshal(raw, &f); err == nil && f.Version != legacyVersion {
			err = errors.New("unknown version " + strconv.Itoa(f.Version))
		}
		if err != nil {
			set.Logger.Error("reading stored quota failed, its counts begin at zero", zap.String("key", key), zap.Error(err))
			continue
		}
		for name, a := range f.Accounts {
			all[name] = counts{Messages: fromLegacy(a.Messages, f.Saved), Recipients: fromLegacy(a.Recipients, f.Saved)}
		}
	}
	return all, nil
}

func fromLegacy(old map[string]legacyCount, saved int64) map[string][][2]int64 {
	stamps := make(map[string][][2]int64)
	for seconds, c := range old {
		n, err := strconv.ParseInt(seconds, 10, 32)
		if err != nil {
			continue
		}
		key := (time.Duration(n) * time.Second).String()
		for _, s := range c.Stamps {
			stamps[key] = append(stamps[key], [2]int64{s[0] * 1000, s[1]})
		}
		if c.Lead > 0 {
			stamps[key] = append(stamps[key], [2]int64{saved * 1000, c.Lead})
		}
	}
	return stamps
}

// importAccount counts what an earlier version has stored of the account, once.
func (m *mailbox) importAccount(a *account, now int64) {
	old := m.local.legacy.Load()
	if old == nil || !m.loaded || m.imported[a.name] {
		return
	}
	c, ok := (*old)[a.name]
	if !ok {
		return
	}
	if m.foreign != nil {
		if slices.Contains(m.foreign.Imported, a.name) {
			return
		}
	}
	m.all.add(&c, now)
	a.add(&c, now)
	m.markImported(a.name)
}

func (m *mailbox) markImported(name string) {
	if m.imported == nil {
		m.imported = make(map[string]bool)
	}
	m.imported[name] = true
}

// listKeys returns the keys directly below a directory; none if there is none.
func listKeys(ctx context.Context, st certmagic.Storage, dir string) ([]string, error) {
	keys, err := st.List(ctx, dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return keys, err
}
