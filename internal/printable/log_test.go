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

package printable

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

const hostile = "550 no\u202e\u2066\u200b\u2028\ufeff\x1b[2J\x7f\xff way"

type marshaler struct{}

func (marshaler) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("text", hostile)
	_ = enc.AddObject("inner", zapcore.ObjectMarshalerFunc(func(enc zapcore.ObjectEncoder) error {
		enc.AddString("deep", hostile)
		return nil
	}))
	return enc.AddArray("list", zapcore.ArrayMarshalerFunc(func(enc zapcore.ArrayEncoder) error {
		enc.AppendString(hostile)
		_ = enc.AppendObject(zapcore.ObjectMarshalerFunc(func(enc zapcore.ObjectEncoder) error {
			enc.AddString("deeper", hostile)
			return nil
		}))
		return enc.AppendArray(zapcore.ArrayMarshalerFunc(func(enc zapcore.ArrayEncoder) error {
			enc.AppendString(hostile)
			return nil
		}))
	}))
}

type word string

func (w word) String() string { return string(w) }

type broken struct{}

func (*broken) Error() string { panic("no text") }

// TestLogger gives hostile text to a logger in each way there is.
func TestLogger(t *testing.T) {
	var out bytes.Buffer
	inner := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&out), zapcore.InfoLevel), zap.AddCaller())
	l := Logger(inner).Named("room").With(zap.String("with", hostile))
	fields := []zap.Field{
		zap.String("string", hostile), zap.Strings("strings", []string{hostile, "plain"}), zap.Stringer("stringer", word(hostile)),
		zap.Error(fmt.Errorf("wrapped: %w", errors.New(hostile))), zap.Any("any", word(hostile)), zap.Object("object", marshaler{}), zap.Inline(marshaler{}),
		zap.Errors("errors", []error{errors.New("plain")}), zap.Stringer("address", netip.MustParseAddr("192.0.2.1")), zap.Int("code", 550),
		zap.Duration("took", time.Second), zap.Any("map", map[string]int{"a": 1}), zap.NamedError("broken", (*broken)(nil)),
		zap.ByteString("stack", []byte("main.go:1\n")),
	}
	l.Info("message "+hostile, fields...)
	l.Debug("too low", fields...)
	line := out.String()
	if strings.Count(line, "\n") != 1 || strings.Contains(line, "too low") {
		t.Fatalf("not one line: %q", line)
	}
	for _, c := range []string{"\u202e", "\u2066", "\u200b", "\u2028", "\ufeff", "\x1b", "\x7f", "\xff", `\u001b`, "\ufffd"} {
		if strings.Contains(line, c) {
			t.Errorf("the line holds %q: %s", c, line)
		}
	}
	// JSON doubles the backslash.
	const shown = `550 no\\u202e\\u2066\\u200b\\u2028\\ufeff\\x1b[2J\\x7f\\xff way`
	if n := strings.Count(line, shown); n != 17 {
		t.Errorf("the text is shown %d times, want 17: %s", n, line)
	}
	for _, want := range []string{`"logger":"room"`, `"caller":"printable/log_test.go:`, `"plain"`, `"address":"192.0.2.1"`, `"code":550`, `"took":1`, `"map":{"a":1}`, `"stack":"main.go:1\n"`} {
		if !strings.Contains(line, want) {
			t.Errorf("%s is missing: %s", want, line)
		}
	}
	if fields[0].String != hostile {
		t.Error("the caller's own fields were changed")
	}
}

// TestLoggerAsksOnce: what a core decides as it checks, such as a sampler, it
// decides once for each entry.
// escaped says what is its own affair.
type escaped struct{}

func (escaped) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("as it is", hostile)
	return nil
}

func (escaped) Escaped() {}

// TestEscaped has what escapes itself be left alone, also where others are not.
func TestEscaped(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	Logger(zap.New(core)).Info("message", zap.Inline(escaped{}), zap.Object("object", escaped{}), zap.Inline(marshaler{}), zap.Object("other", marshaler{}))
	fields := logs.All()[0].ContextMap()
	if s := fields["as it is"]; s != hostile {
		t.Errorf("inline: %q", s)
	}
	if s := fields["object"].(map[string]any)["as it is"]; s != hostile {
		t.Errorf("object: %q", s)
	}
	for _, v := range []any{fields["text"], fields["other"].(map[string]any)["text"]} {
		if v != Text(hostile) {
			t.Errorf("another's text is %q", v)
		}
	}
}

func TestLoggerAsksOnce(t *testing.T) {
	var out bytes.Buffer
	base := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&out), zapcore.InfoLevel)
	l := Logger(zap.New(zapcore.NewSamplerWithOptions(base, time.Hour, 3, 0)))
	for range 10 {
		l.Info("again")
	}
	if n := strings.Count(out.String(), "\n"); n != 3 {
		t.Errorf("%d lines of a sample of 3", n)
	}
}
