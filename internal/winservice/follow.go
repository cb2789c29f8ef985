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

package winservice

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// lookEvery is how often the log is looked at. Errors are for people.
	lookEvery = time.Second
	// burst is how many errors a minute the event log gets: a provider that is
	// down must not push out what other programs have to say.
	burst = 20
	// longest is what an event may have; Windows takes about 31,000 characters.
	longest = 8 << 10
	// batch is how much of the log is read at once.
	batch = 1 << 20
)

// Follow carries errors from a log file to report, until ctx ends. How far it
// came is kept in a file beside the log: what a process says as it fails to
// start is reported by the next one, which Windows starts.
func Follow(ctx context.Context, log string, report func(message string) error) {
	f := follower{log: log, report: report}
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	for {
		f.look(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

type follower struct {
	log    string
	report func(string) error

	minute time.Time // the start of the one that is counted
	sent   int       // in this minute
	left   int       // not reported in this minute
}

func (f *follower) place() string { return f.log + ".reported" }

// look reports what has come since the last time.
func (f *follower) look(now time.Time) {
	if now.Sub(f.minute) >= time.Minute {
		if f.left > 0 && f.report(fmt.Sprintf("%d more errors in a minute: see %s", f.left, f.log)) == nil {
			f.left = 0
		}
		f.minute, f.sent = now, 0
	}
	kept, err := os.ReadFile(f.place())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return
	}
	from, _ := strconv.ParseInt(strings.TrimSpace(string(kept)), 10, 64)
	lines, size := f.read(from)
	if size < from { // a new file
		from = 0
		lines, _ = f.read(from)
	}
	if len(lines) == 0 {
		return
	}
	for line := range bytes.Lines(lines) {
		if message, ok := trouble(bytes.TrimSpace(line)); ok {
			if f.sent >= burst {
				f.left++
				continue
			}
			if f.report(message[:min(len(message), longest)]) == nil {
				f.sent++
			}
		}
	}
	_ = os.WriteFile(f.place(), strconv.AppendInt(nil, from+int64(len(lines)), 10), 0o600)
}

// read returns the whole lines from a place on, and how long the file is.
func (f *follower) read(from int64) ([]byte, int64) {
	file, err := os.Open(f.log)
	if err != nil {
		return nil, from
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.Size() <= from {
		return nil, size(info, from)
	}
	data := make([]byte, min(info.Size()-from, batch))
	n, err := file.ReadAt(data, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, info.Size()
	}
	end := bytes.LastIndexByte(data[:n], '\n') + 1
	if end == 0 && n == batch {
		end = n // no line of ours; never read it again
	}
	return data[:end], info.Size()
}

func size(info fs.FileInfo, otherwise int64) int64 {
	if info == nil {
		return otherwise
	}
	return info.Size()
}

// trouble is what an operator of Windows has to see of a line of the log.
func trouble(line []byte) (string, bool) {
	var entry struct {
		Level, Logger, Msg, Error string
	}
	if json.Unmarshal(line, &entry) == nil && entry.Level != "" {
		switch entry.Level {
		case "error", "dpanic", "panic", "fatal":
		default:
			return "", false
		}
		head := entry.Msg
		if entry.Logger != "" {
			head = entry.Logger + ": " + head
		}
		if entry.Error != "" {
			head += ": " + entry.Error
		}
		return head + "\r\n\r\n" + string(line), true
	}
	// Not the log's: a command's last words, or Go's.
	for _, start := range []string{"Error: ", "panic: ", "fatal error: "} {
		if bytes.HasPrefix(line, []byte(start)) {
			return string(line), true
		}
	}
	return "", false
}
