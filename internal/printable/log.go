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
	"fmt"
	"os"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Logger returns a logger that writes what l does, with each text as Text has
// it. What clients, providers and authorization servers say reaches the log in
// many places, within errors too, so that no place has to remember it.
func Logger(l *zap.Logger) *zap.Logger {
	return l.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core { return &core{c} }))
}

// Event makes the texts of an event's data printable, in place, and returns it:
// Caddy logs the data of each event by itself.
func Event(data map[string]any) map[string]any {
	for key, v := range data {
		if s, ok := v.(string); ok {
			data[key] = Text(s)
		}
	}
	return data
}

// core makes entries printable on their way to another.
type core struct{ zapcore.Core }

// With implements zapcore.Core.
func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{c.Core.With(clean(fields))}
}

// Check implements zapcore.Core. What the other decides at its Check, such as
// to take a sample, is asked once.
func (c *core) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if next := c.Core.Check(entry, nil); next != nil {
		p := pendings.Get().(*pending)
		p.core, p.next = c, next
		return checked.AddCore(entry, p)
	}
	return checked
}

// Write implements zapcore.Core.
func (c *core) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	entry.Message = Text(entry.Message)
	return c.Core.Write(entry, clean(fields))
}

// stderr hears of an entry that cannot be written, as it does without us.
var stderr = zapcore.Lock(os.Stderr)

// pending is an entry that the other core has said yes to. It is written once, as
// each checked entry is, and used again then.
type pending struct {
	*core
	next *zapcore.CheckedEntry
}

var pendings = sync.Pool{New: func() any { return new(pending) }}

// Write implements zapcore.Core.
func (p *pending) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	next := p.next
	*p = pending{}
	pendings.Put(p)
	entry.Message = Text(entry.Message)
	next.Entry = entry // with its caller and stack
	next.ErrorOutput = stderr
	next.Write(clean(fields)...)
	return nil
}

// clean returns the fields with printable texts; the same slice where all are.
func clean(fields []zapcore.Field) []zapcore.Field {
	out, copied := fields, false
	for i, f := range fields {
		g, changed := field(f)
		if !changed {
			continue
		}
		if !copied { // the caller may use its own again
			out, copied = append([]zapcore.Field(nil), fields...), true
		}
		out[i] = g
	}
	return out
}

// field returns a field with printable text, and whether it is another. Octets
// (zap.ByteString, zap.Binary) are the program's own, such as a stack.
func field(f zapcore.Field) (zapcore.Field, bool) {
	switch f.Type {
	case zapcore.StringType:
		return text(f, f.String)
	case zapcore.ErrorType, zapcore.StringerType, zapcore.ReflectType:
		s, ok := said(f.Interface)
		if !ok {
			return f, false
		}
		return text(f, s)
	case zapcore.ObjectMarshalerType, zapcore.InlineMarshalerType:
		if _, ok := f.Interface.(Escaped); ok {
			return f, false
		}
		f.Interface = object{f.Interface.(zapcore.ObjectMarshaler)}
		return f, true
	case zapcore.ArrayMarshalerType:
		f.Interface = array{f.Interface.(zapcore.ArrayMarshaler)}
		return f, true
	}
	return f, false
}

// said is the text of an error, a Stringer or a string that is held in another
// type. A value whose method panics is left to zap, which has words for it.
func said(v any) (s string, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	switch v := v.(type) {
	case error:
		return v.Error(), true
	case fmt.Stringer:
		return v.String(), true
	case string:
		return v, true
	}
	return "", false
}

func text(f zapcore.Field, s string) (zapcore.Field, bool) {
	if t := Text(s); t != s {
		return zap.String(f.Key, t), true
	}
	return f, false
}

// object is a marshaler whose texts are made printable as it says them.
// Escaped is what marshals itself and has all its strings pass Text by itself: of a
// line that each message has, a wrapper of the encoder costs more than the text.
type Escaped interface {
	zapcore.ObjectMarshaler
	// Escaped does nothing.
	Escaped()
}

type object struct{ zapcore.ObjectMarshaler }

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (o object) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	return o.ObjectMarshaler.MarshalLogObject(objectEncoder{enc})
}

// array is the same for a list.
type array struct{ zapcore.ArrayMarshaler }

// MarshalLogArray implements zapcore.ArrayMarshaler.
func (a array) MarshalLogArray(enc zapcore.ArrayEncoder) error {
	return a.ArrayMarshaler.MarshalLogArray(arrayEncoder{enc})
}

type objectEncoder struct{ zapcore.ObjectEncoder }

// AddString implements zapcore.ObjectEncoder.
func (e objectEncoder) AddString(key, value string) {
	e.ObjectEncoder.AddString(key, Text(value))
}

// AddObject implements zapcore.ObjectEncoder.
func (e objectEncoder) AddObject(key string, m zapcore.ObjectMarshaler) error {
	return e.ObjectEncoder.AddObject(key, object{m})
}

// AddArray implements zapcore.ObjectEncoder.
func (e objectEncoder) AddArray(key string, m zapcore.ArrayMarshaler) error {
	return e.ObjectEncoder.AddArray(key, array{m})
}

type arrayEncoder struct{ zapcore.ArrayEncoder }

// AppendString implements zapcore.ArrayEncoder.
func (e arrayEncoder) AppendString(s string) { e.ArrayEncoder.AppendString(Text(s)) }

// AppendObject implements zapcore.ArrayEncoder.
func (e arrayEncoder) AppendObject(m zapcore.ObjectMarshaler) error {
	return e.ArrayEncoder.AppendObject(object{m})
}

// AppendArray implements zapcore.ArrayEncoder.
func (e arrayEncoder) AppendArray(m zapcore.ArrayMarshaler) error {
	return e.ArrayEncoder.AppendArray(array{m})
}

// Interface guards
var (
	_ zapcore.Core            = (*core)(nil)
	_ zapcore.Core            = (*pending)(nil)
	_ zapcore.ObjectMarshaler = object{}
	_ zapcore.ArrayMarshaler  = array{}
	_ zapcore.ObjectEncoder   = objectEncoder{}
	_ zapcore.ArrayEncoder    = arrayEncoder{}
)
