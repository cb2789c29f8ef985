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

// Package legacy reads the counts that versions before lanes and records stored, by
// account. Nothing writes them any more.
package legacy

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// file is what versions before package limits had records stored, by account. They
// are read and never written: what is in them has become part of a mailbox's
// record with the account's first message.
type file struct {
	Version  int                `json:"version"`
	Saved    int64              `json:"saved"` // seconds since 1970
	Accounts map[string]account `json:"accounts"`
}

// account holds counts by period in seconds.
type account struct {
	Messages   map[string]count `json:"messages"`
	Recipients map[string]count `json:"recipients"`
}

type count struct {
	Stamps [][2]int64 `json:"stamps"` // seconds since 1970, number of events
	Lead   int64      `json:"lead"`   // what may have been sent since
}

const version = 1

// Counts are the stamps of one account by period, as time.Duration writes it: pairs
// of milliseconds since 1970 and a number of events.
type Counts struct{ Messages, Recipients map[string][][2]int64 }

// Read returns what an earlier version has stored of the upstream, by account.
func Read(ctx context.Context, st certmagic.Storage, logger *zap.Logger, upstream string) (map[string]Counts, error) {
	all := make(map[string]Counts)
	dir := path.Join("smtp", "quota", certmagic.StorageKeys.Safe(upstream))
	keys, err := st.List(ctx, dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if !strings.HasSuffix(key, ".json") {
			continue
		}
		raw, err := st.Load(ctx, key)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var f file
		if err = json.Unmarshal(raw, &f); err == nil && f.Version != version {
			err = errors.New("unknown version " + strconv.Itoa(f.Version))
		}
		if err != nil {
			logger.Error("reading stored quota failed, its counts begin at zero", zap.String("key", key), zap.Error(err))
			continue
		}
		for name, a := range f.Accounts {
			all[name] = Counts{Messages: stamps(a.Messages, f.Saved), Recipients: stamps(a.Recipients, f.Saved)}
		}
	}
	return all, nil
}

func stamps(old map[string]count, saved int64) map[string][][2]int64 {
	list := make(map[string][][2]int64)
	for seconds, c := range old {
		n, err := strconv.ParseInt(seconds, 10, 32)
		if err != nil {
			continue
		}
		key := (time.Duration(n) * time.Second).String()
		for _, s := range c.Stamps {
			list[key] = append(list[key], [2]int64{s[0] * 1000, s[1]})
		}
		if c.Lead > 0 {
			list[key] = append(list[key], [2]int64{saved * 1000, c.Lead})
		}
	}
	return list
}
