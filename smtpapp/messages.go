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
	"errors"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/messagelog"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver"
)

// ErrNoMessageLog is about a configuration without `messages`.
var ErrNoMessageLog = errors.New("no messages are kept: the smtp app has no option messages")

// MessageLog returns the transactions that are kept.
func (a *App) MessageLog() (*messagelog.Log, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.messages == nil {
		return nil, ErrNoMessageLog
	}
	return a.messages, nil
}

// startMessages opens the message log, if there is to be one. It does not wait
// for the disk, and no trouble with it keeps mail from going on.
func (a *App) startMessages() {
	if a.Messages == nil {
		return
	}
	l, detach := messagelog.Attach(a.Messages, a.logger.Named("messages"))
	a.mu.Lock()
	a.messages, a.detachMessages = l, detach
	a.mu.Unlock()
}

// stopMessages gives it back. The last configuration that has it waits for what
// is queued.
func (a *App) stopMessages() {
	a.mu.Lock()
	detach := a.detachMessages
	a.messages, a.detachMessages = nil, nil
	a.mu.Unlock()
	if detach != nil {
		detach()
	}
}

// keepRcpts remembers what was said to recipients, for the message log.
func (s *session) keepRcpts(rcpts []relay.Recipient, answers []error) {
	if s.gen.messages == nil {
		return
	}
	for i := range rcpts {
		r := messagelog.Recipient{Address: rcpts[i].To}
		if err := answers[i]; err != nil {
			reply := smtpserver.AsReply(err)
			r.Code, r.Reply = reply.Code, strings.Join(reply.Lines, "\n")
		}
		s.rcpts = append(s.rcpts, r)
	}
}

// keepMessage hands what became of a message to the message log. word is what
// the access log has as its reply.
func (g *generation) keepMessage(s *session, res *smtpserver.Result, word *relay.Reply, took time.Duration, traceID string) {
	if g.messages == nil {
		return
	}
	e := &messagelog.Entry{
		Time: s.started.Add(took).UTC(), ID: s.messageID(), Server: g.name, Account: s.account.Name, From: s.from,
		Recipients: s.rcpts, Size: res.Size, SpoolID: s.about.Spooled, TraceID: traceID, Upstream: s.about.Upstream,
		Duration: took.Milliseconds(), Wait: s.about.Wait.Milliseconds(),
	}
	if s.remote.IsValid() {
		e.ClientIP = s.address
	}
	if word != nil {
		e.Code, e.Reply = word.Code, strings.Join(word.Lines, "\n")
	}
	s.rcpts = nil // the log's
	g.messages.Add(e)
}
