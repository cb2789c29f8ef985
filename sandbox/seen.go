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

package sandbox

import "github.com/caddymail/mailgateway/sandbox/record"

// Message is a message that the provider accepted.
type Message = record.Message

// MailboxStats is what the provider saw of one mailbox.
type MailboxStats = record.MailboxStats

// Stats is what the provider saw in all.
type Stats = record.Stats

// MessageCount is the number of messages accepted since the start or the last
// DeleteMessages.
func (s *Sandbox) MessageCount() uint64 { return s.rec.Count() }

// Messages are the kept messages, oldest first.
func (s *Sandbox) Messages() []Message { return s.rec.Messages(0, int(^uint(0)>>1)) }

// MessagesAfter are at most limit of the kept messages whose ID is greater.
func (s *Sandbox) MessagesAfter(id uint64, limit int) []Message { return s.rec.Messages(id, limit) }

// DeleteMessages forgets all messages. The counts of the mailboxes go on.
func (s *Sandbox) DeleteMessages() { s.rec.Clear() }

// Mailbox is what the provider saw of one mailbox.
func (s *Sandbox) Mailbox(name string) MailboxStats { return s.rec.Box(name) }

// Stats is what the provider saw in all.
func (s *Sandbox) Stats() Stats {
	s.mu.Lock()
	open := len(s.conns)
	s.mu.Unlock()
	return s.rec.Stats(open)
}
