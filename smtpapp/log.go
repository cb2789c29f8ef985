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

package smtpapp

import (
	"runtime/debug"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddymail/mailgateway/internal/front"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/counters"
	"github.com/caddymail/mailgateway/smtpapp/history"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver"
)

// logMessage writes the access log's line for a message, keeps it in the message
// log and counts it.
func (g *generation) logMessage(s *session, res *smtpserver.Result) {
	if s.about.Upstream == "" {
		s.about.Upstream = s.account.Upstream
	}
	now := time.Now()
	took := now.Sub(s.started)
	word := res.Reply
	if !res.Data && res.Accepted == 0 {
		// No message came: the last recipient's reply says why.
		word = res.LastRefusal
	}
	traceID := s.trace.finish(s, res, word, s.started.Add(took))
	code, text := 0, "aborted by the client"
	if word != nil {
		code, text = word.Code, ""
		if len(word.Lines) > 0 {
			text = word.Lines[0]
		}
	}
	label := s.about.Upstream
	if word == relay.ReplyNoUpstream {
		label = "unknown" // whatever the account says must not be a label
	}
	g.meter(label).count(code, took, res.Size)
	counters.Count(s.account.Name, now, code, res.Accepted, res.Size)
	history.Process.Count(now, code)
	g.keepMessage(s, res, word, took, traceID)
	c := g.access.Check(zapcore.InfoLevel, "message")
	if c == nil {
		return
	}
	// One field that writes the line costs less than seventeen.
	c.Write(zap.Inline(&messageLine{
		id: s.messageID(), server: g.name, account: s.account.Name, clientIP: s.address, from: s.from,
		recipients: res.Accepted, size: res.Size, upstream: s.about.Upstream, reused: s.about.Reused,
		wait: s.about.Wait, token: s.about.Token, dial: s.about.Dial, envelope: s.about.Envelope, data: s.data,
		took: took, code: code, reply: text, spooled: s.about.Spooled, traceID: traceID,
	}))
}

// messageLine is what the access log says of a message. It shares nothing
// with the session, which goes on: an encoder may come late.
type messageLine struct {
	id, server, account string
	clientIP            string
	from                string
	recipients          int
	size                int64
	upstream            string
	reused              bool
	took                time.Duration

	wait, token, dial, envelope, data time.Duration

	code    int
	reply   string
	spooled string // the id of a message that is kept
	traceID string // of a message that is sampled
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (l *messageLine) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("id", printable.Text(l.id))
	enc.AddString("server", printable.Text(l.server))
	enc.AddString("account", printable.Text(l.account))
	enc.AddString("client_ip", printable.Text(l.clientIP))
	enc.AddString("from", printable.Text(l.from))
	enc.AddInt64("recipients", int64(l.recipients))
	enc.AddInt64("size", l.size)
	enc.AddString("upstream", printable.Text(l.upstream))
	enc.AddBool("reused", l.reused)
	enc.AddDuration("wait", l.wait)
	enc.AddDuration("token", l.token)
	enc.AddDuration("dial", l.dial)
	enc.AddDuration("envelope", l.envelope)
	enc.AddDuration("data", l.data)
	enc.AddDuration("duration", l.took)
	enc.AddInt64("code", int64(l.code))
	enc.AddString("reply", printable.Text(l.reply))
	if l.spooled != "" {
		enc.AddString("spool_id", printable.Text(l.spooled))
	}
	if l.traceID != "" {
		enc.AddString("trace_id", printable.Text(l.traceID))
	}
	return nil
}

// Escaped implements printable.Escaped.
func (*messageLine) Escaped() {}

// logEnd says how a session ended; at debug level, since most end well.
func (g *generation) logEnd(s *session, end ending) {
	if c := g.logger.Check(zapcore.DebugLevel, "session ended"); c != nil {
		c.Write(
			zap.String("id", s.id),
			zap.String("server", g.name),
			zap.Stringer("client_ip", s.remote),
			zap.String("hello", s.heloName),
			zap.String("account", s.login),
			zap.Int("messages", s.messageNo),
			zap.String("result", string(end)),
			zap.Error(s.conn.Err()),
		)
	}
}

// logBans says which bans have begun.
func (g *generation) logBans(bans []front.Ban) {
	for _, b := range bans {
		if c := g.logger.Check(zapcore.WarnLevel, "address banned"); c != nil {
			c.Write(
				zap.String("server", b.Server),
				zap.Stringer("client_ip", b.Network.Addr()),
				zap.Stringer("network", b.Network),
				zap.String("account", clip(b.Account, maxLoggedName)),
				zap.Int("failures", b.Failures),
				zap.Duration("ban", b.Until.Sub(b.Since)),
				zap.String("remedy", "see the failed logins before it; smtp ban lift ends it; auth_failures of the server says when it comes"),
			)
		}
	}
}

// logPanic keeps what a panic says to itself: it may quote a secret.
func (g *generation) logPanic(s *session, _ any) {
	if c := g.logger.Check(zapcore.ErrorLevel, "session panicked"); c != nil {
		c.Write(zap.String("id", s.id), zap.String("server", g.name), zap.ByteString("stack", debug.Stack()))
	}
}

// Interface guards
var _ printable.Escaped = (*messageLine)(nil)
