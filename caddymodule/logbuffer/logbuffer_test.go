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

package logbuffer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/logging" // the writer of files
)

// openLog is a log's destination that can fail.
type openLog struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	err    error
	writes int
	closed bool
}

func (o *openLog) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, o.err
	}
	o.writes++
	return o.buf.Write(p)
}

func (o *openLog) Close() error {
	o.closed = true
	return nil
}

func (o *openLog) String() string                      { return "test" }
func (o *openLog) WriterKey() string                   { return "test" }
func (o *openLog) OpenWriter() (io.WriteCloser, error) { return o, nil }
func (o *openLog) take() (text string, writes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String(), o.writes
}

// caddymodule registers the writer, with its Caddyfile syntax.
func init() { caddy.RegisterModule(new(Writer)) }

func openBuffered(t *testing.T, to *openLog, size int64, every time.Duration) io.WriteCloser {
	t.Helper()
	w := &Writer{Size: size, FlushInterval: caddy.Duration(every), opener: to}
	wc, err := w.OpenWriter()
	if err != nil {
		t.Fatal(err)
	}
	return wc
}

func writeLine(t *testing.T, w io.Writer, line string) {
	t.Helper()
	if n, err := io.WriteString(w, line); n != len(line) || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
}

// TestBufferedLog holds that lines are gathered, that no line is split between
// two writes, and that all are there in their order after Close.
func TestBufferedLog(t *testing.T) {
	to := new(openLog)
	w := openBuffered(t, to, 64, time.Hour)
	var want strings.Builder
	for i := range 20 {
		line := strings.Repeat(string(rune('a'+i)), 20) + "\n"
		want.WriteString(line)
		writeLine(t, w, line)
		if got, _ := to.take(); len(got)%21 != 0 {
			t.Fatalf("a line is split: %q", got)
		}
	}
	if got, writes := to.take(); writes != 6 || got == want.String() {
		t.Errorf("20 lines, 3 in a buffer: %d writes before Close", writes)
	}
	if err := errors.Join(w.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	if got, _ := to.take(); got != want.String() || !to.closed {
		t.Errorf("after Close: %q, closed %v", got, to.closed)
	}
	// A session that outlives its configuration.
	writeLine(t, w, "late\n")
	if got, _ := to.take(); !strings.HasSuffix(got, "late\n") {
		t.Error("what came after Close is lost")
	}
}

func TestBufferedLogInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := new(openLog)
		w := openBuffered(t, to, 1<<20, time.Second)
		writeLine(t, w, "one\n")
		time.Sleep(time.Second - time.Nanosecond)
		if got, _ := to.take(); got != "" {
			t.Errorf("written at once: %q", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got, _ := to.take(); got != "one\n" {
			t.Errorf("after the interval: %q", got)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestBufferedLogRecovers holds that a disk that was full for a while costs
// its lines and not the log.
func TestBufferedLogRecovers(t *testing.T) {
	to := new(openLog)
	w := openBuffered(t, to, 1<<20, time.Hour)
	to.err = errors.New("no space left on device")
	writeLine(t, w, "lost\n")
	if err := w.(interface{ Sync() error }).Sync(); err != nil {
		t.Fatal(err)
	}
	to.err = nil
	writeLine(t, w, "kept\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, _ := to.take(); got != "kept\n" {
		t.Errorf("%q", got)
	}
}

// TestBufferedLogConfig takes the writer through Caddy's own logging, over a
// reload that keeps it and one that does not.
func TestBufferedLogConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.log")
	t.Cleanup(func() {
		for b := range openLogs.logs {
			_ = b.Close() // which Caddy does not
		}
	})
	load := func(interval string) {
		t.Helper()
		cfg := `{"admin":{"disabled":true,"config":{"persist":false}},"logging":{"logs":{"default":{"level":"ERROR","writer":{
			"output":"buffered","flush_interval":"` + interval + `","writer":{"output":"file","filename":"` + path + `"}}}}}}`
		if err := caddy.Load([]byte(cfg), true); err != nil {
			t.Fatal(err)
		}
	}
	load("1h")
	caddy.Log().Error("first")
	load("1h")
	caddy.Log().Error("second")
	if b, err := os.ReadFile(path); err != nil || len(b) != 0 {
		t.Errorf("a reload that keeps the writer wrote %q, %v", b, err)
	}
	load("2h")
	caddy.Log().Error("third")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	openLogs.sync() // as at the process's end
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	first, second := strings.Index(text, `"msg":"first"`), strings.Index(text, `"msg":"second"`)
	if first < 0 || second < first || strings.Count(text, `"msg":"third"`) != 1 || strings.Count(text, "\n") != 3 {
		t.Errorf("want first, second in this order, and third, each once:\n%s", b)
	}
}

func TestBufferedLogErrors(t *testing.T) {
	for cfg, want := range map[string]string{
		`{}`: "no output",
		`{"size":-1,"writer":{"output":"discard"}}`:              "size -1 is negative",
		`{"flush_interval":"-1s","writer":{"output":"discard"}}`: "flush_interval -1s is negative",
		`{"writer":{"output":"nothing"}}`:                        "loading output",
	} {
		w := new(Writer)
		if err := json.Unmarshal([]byte(cfg), w); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		if err := w.Provision(ctx); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", cfg, err, want)
		}
		cancel()
	}
}
