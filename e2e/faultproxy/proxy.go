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

// Package faultproxy is a TCP proxy for SMTP that breaks the sessions that it
// carries, at any octet: between the gateway and a provider it is the network,
// and the middlebox, on a bad day. It can end TLS on both sides; what is to
// happen to the ciphertext is for a second proxy in front of it.
//
// It reads along only to know when the client is owed nothing. A reply too many
// comes at such a pause: amid a flight SMTP gives a client no means to tell it
// from the answer.
package faultproxy

import (
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
)

// Kind is a way to break a session.
type Kind int

// The kinds.
const (
	Reset     Kind = iota // TCP RST to both sides
	Stall                 // silence both ways, and then on as usual or a reset
	Delay                 // one direction is late
	HalfClose             // one direction ends, the other goes on for a while
	Split                 // replies come octet by octet
	Merge                 // replies are held and come in one segment
	Double                // a reply comes twice, in one segment
	Stray                 // a good reply that nothing asked for, at a pause
	Part                  // the same, of which the second half comes late
	kinds
)

// String names the kind.
func (k Kind) String() string {
	return [...]string{"reset", "stall", "delay", "half-close", "split", "merge", "double", "stray", "part"}[k]
}

// Kinds are all kinds.
func Kinds() []Kind {
	all := make([]Kind, kinds)
	for k := range all {
		all[k] = Kind(k)
	}
	return all
}

// Config is what a proxy does.
type Config struct {
	// Target is the address of the provider.
	Target string
	// Seed decides what happens to the first, second and nth connection.
	Seed uint64
	// Mean is how many octets pass between two faults of a connection, on
	// average. The distance is exponential, so that every octet is as likely.
	Mean int
	// Kinds are the faults to choose from. Default: all.
	Kinds []Kind
	// Near is for TLS with the client from the first octet, Far for TLS with
	// the provider. Default: none.
	Near, Far *tls.Config
}

// Proxy is a proxy that runs.
type Proxy struct {
	cfg   Config
	ln    net.Listener
	calm  atomic.Bool
	hits  [kinds]atomic.Int64
	wg    sync.WaitGroup
	mu    sync.Mutex
	ended bool
	open  map[*session]struct{}
	// crossed are the subjects of messages whose flight met a stray reply on
	// its way.
	crossed map[string]bool
}

// Start runs a proxy on a loopback port.
func Start(cfg Config) (*Proxy, error) {
	if cfg.Mean < 1 {
		return nil, errors.New("faultproxy: the mean distance of faults must be positive")
	}
	if len(cfg.Kinds) == 0 {
		cfg.Kinds = Kinds()
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{cfg: cfg, ln: ln, open: make(map[*session]struct{}), crossed: make(map[string]bool)}
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is the address to dial.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Hits is how often a kind has happened.
func (p *Proxy) Hits(k Kind) int64 { return p.hits[k].Load() }

// Crossed reports whether a flight of the message with this subject met a stray
// reply on its way: it had left before the stray came, so that no client can tell
// that reply from the one to the flight.
func (p *Proxy) Crossed(subject string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.crossed[subject]
}

// Calm ends the faults; sessions go on.
func (p *Proxy) Calm() { p.calm.Store(true) }

// Close ends all sessions and waits for them.
func (p *Proxy) Close() {
	p.ln.Close()
	p.mu.Lock()
	p.ended = true
	for s := range p.open {
		s.end()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	for n := uint64(1); ; n++ {
		near, err := p.ln.Accept()
		if err != nil {
			return
		}
		rnd := rand.New(rand.NewPCG(p.cfg.Seed, n)) //nolint:gosec // faults must be repeatable, not secret
		p.wg.Go(func() { p.serve(near, rnd) })
	}
}

func (p *Proxy) serve(near net.Conn, rnd *rand.Rand) {
	far, err := net.Dial("tcp", p.cfg.Target)
	if err != nil {
		near.Close()
		return
	}
	s := newSession(p, near.(*net.TCPConn), far.(*net.TCPConn), rnd)
	p.mu.Lock()
	if p.ended {
		s.end()
	}
	p.open[s] = struct{}{}
	p.mu.Unlock()
	s.run()
	p.mu.Lock()
	delete(p.open, s)
	p.mu.Unlock()
}
