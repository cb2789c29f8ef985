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
	"cmp"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/front"
)

// SessionInfo is one client session, as an operator may see it.
type SessionInfo struct {
	// ID is the session's id; those of its messages begin with it.
	ID string `json:"id"`
	// Server is the name of the server it came in by.
	Server string `json:"server"`
	// ClientIP is the client's address; empty over a unix socket.
	ClientIP string `json:"client_ip,omitempty"`
	// Account is who logged in, or whom the last message was sent as.
	Account string `json:"account,omitempty"`
	// TLS reports whether the connection is encrypted.
	TLS bool `json:"tls"`
	// State is `idle` or `mail` (within a transaction).
	State string `json:"state"`
	// Messages is the number of messages accepted by the upstream.
	Messages int `json:"messages"`
	// Opened is when the client connected.
	Opened time.Time `json:"opened"`
}

// Sessions returns the sessions of the app's servers, the oldest first. Those
// that began under an earlier configuration are among them.
func (a *App) Sessions() []SessionInfo {
	list := []SessionInfo{}
	for _, at := range a.attachments() {
		for _, s := range at.Sessions() {
			if s, ok := s.(*session); ok {
				list = append(list, s.info())
			}
		}
	}
	sortSessions(list)
	return list
}

func sortSessions(list []SessionInfo) {
	slices.SortFunc(list, func(a, b SessionInfo) int {
		return cmp.Or(a.Opened.Compare(b.Opened), cmp.Compare(a.ID, b.ID))
	})
}

// SessionFilter chooses sessions; an empty field chooses all.
type SessionFilter struct {
	ID, Server, Account string
}

func (f SessionFilter) matches(i SessionInfo) bool {
	return (f.ID == "" || f.ID == i.ID) && (f.Server == "" || f.Server == i.Server) &&
		(f.Account == "" || accounts.FoldName(f.Account) == accounts.FoldName(i.Account))
}

// HandOn has clients connect again, to another node if a balancer is in front:
// sessions end with 421 as front.HandOn says, and new ones hear it in place of the
// greeting.
func (a *App) HandOn(on bool) {
	if front.HandOn(on, a.attachments()) {
		a.logger.Info("handing sessions on to other nodes", zap.Bool("on", on))
	}
}

// HandsOn reports whether clients are sent away.
func (a *App) HandsOn() bool { return front.HandsOn() }

// SessionCount implements relay.Front.
func (a *App) SessionCount() int {
	n := 0
	for _, at := range a.attachments() {
		n += len(at.Sessions())
	}
	return n
}

// EndSessions ends sessions and returns them as they were: at their next
// boundary, idle ones at once and others after their message, with 421. If now
// is set their connections close whatever they are doing.
func (a *App) EndSessions(f SessionFilter, now bool) []SessionInfo {
	ended := []SessionInfo{}
	for _, at := range a.attachments() {
		for _, x := range at.Sessions() {
			s, ok := x.(*session)
			if !ok {
				continue
			}
			i := s.info()
			if !f.matches(i) {
				continue
			}
			ended = append(ended, i)
			if now {
				s.Kill()
			} else {
				s.conn.DrainWith(errEnded)
			}
		}
	}
	sortSessions(ended)
	return ended
}

func (s *session) info() SessionInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := SessionInfo{
		ID: s.id, Server: s.server, Account: s.state.account, TLS: s.state.tls,
		State: "idle", Messages: s.state.messages, Opened: s.opened,
	}
	if s.remote.IsValid() {
		i.ClientIP = s.remote.String()
	}
	if s.state.inMail {
		i.State = "mail"
	}
	return i
}
