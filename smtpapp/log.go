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

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// logMessage writes the access log's line for a message, and counts it.
func (g *generation) logMessage(s *session, reply *relay.Reply, err error, size int64, data time.Duration) {
	final := reply
	if err != nil || final == nil {
		final = asReply(err)
	}
	info := relay.Info{Upstream: s.account.Upstream}
	if d, ok := s.tx.(relay.Describer); ok {
		info = d.Describe()
	}
	took := time.Since(s.started)
	g.metrics.message(g.name, info.Upstream, codeClass(final.Code), took, size)
	c := g.access.Check(zapcore.InfoLevel, "message")
	if c == nil {
		return
	}
	text := ""
	if len(final.Lines) > 0 {
		text = final.Lines[0]
	}
	c.Write(
		zap.String("id", s.id),
		zap.String("server", g.name),
		zap.String("account", s.account.Name),
		zap.Stringer("client_ip", s.remote),
		zap.String("from", s.from),
		zap.Int("recipients", s.rcpts),
		zap.Int64("size", size),
		zap.String("upstream", info.Upstream),
		zap.Bool("reused", info.Reused),
		zap.Duration("wait", info.Wait),
		zap.Duration("token", info.Token),
		zap.Duration("dial", info.Dial),
		zap.Duration("envelope", s.envelope),
		zap.Duration("data", data),
		zap.Duration("duration", took),
		zap.Int("code", final.Code),
		zap.String("reply", text),
	)
}

func codeClass(code int) string {
	switch code / 100 {
	case 2:
		return "2xx"
	case 4:
		return "4xx"
	case 5:
		return "5xx"
	}
	return "other"
}

// logAuth says who failed to log in, from where: for fail2ban and the like.
func (g *generation) logAuth(s *session, name, result string) {
	if c := g.logger.Check(zapcore.WarnLevel, "authentication failed"); c != nil {
		c.Write(
			zap.String("id", s.id),
			zap.String("server", g.name),
			zap.Stringer("client_ip", s.remote),
			zap.String("account", name),
			zap.String("result", result),
		)
	}
}

func (g *generation) logBan(s *session, ban time.Duration) {
	if c := g.logger.Check(zapcore.WarnLevel, "address banned"); c != nil {
		c.Write(
			zap.String("server", g.name),
			zap.Stringer("client_ip", s.remote),
			zap.Duration("ban", ban),
		)
	}
}

func (g *generation) logRefused(s *session, a *accounts.Account, from string) {
	if c := g.logger.Check(zapcore.WarnLevel, "sender not allowed"); c != nil {
		c.Write(
			zap.String("id", s.id),
			zap.String("server", g.name),
			zap.Stringer("client_ip", s.remote),
			zap.String("account", a.Name),
			zap.String("from", from),
		)
	}
}

// logPanic keeps what a panic says to itself: it may quote a secret.
func (g *generation) logPanic(s *session, _ any) {
	if c := g.logger.Check(zapcore.ErrorLevel, "session panicked"); c != nil {
		c.Write(zap.String("id", s.id), zap.String("server", g.name), zap.ByteString("stack", debug.Stack()))
	}
}
