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
	"net"
	"time"

	"github.com/caddymail/mailgateway/internal/front"
)

// What follows drives a point as the front does, without Caddy around it.

func newPoint() *point { return &point{front.NewPoint()} }

func (p *point) attach(g *generation) { p.Attach(g.newFront()) }

func (p *point) detach(g *generation) { p.Detach(g.front) }

func (p *point) drain(timeout time.Duration) { p.Drain(timeout) }

func (p *point) whenEmpty() <-chan struct{} { return p.WhenEmpty() }

func (p *point) admit(g *generation, nc net.Conn) { p.Admit(g.front, nc) }

func (p *point) killAll() {
	for _, s := range p.Sessions() {
		s.Kill()
	}
}

// acceptOn gives the point the connections of a listener until that closes.
func (p *point) acceptOn(ln net.Listener) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			p.Admit(p.Current(), nc)
		}
	}()
	return done
}
