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

package sink

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddymail/mailgateway/bench/message"
	"github.com/caddymail/mailgateway/bench/system"
)

// Setup is what the sink's process reads from standard input, one JSON line.
type Setup struct {
	CA   string `json:"ca"`
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// Ready is what it answers: where it listens.
type Ready struct {
	Implicit string `json:"implicit"`
	StartTLS string `json:"starttls"`
	HTTP     string `json:"http"`
}

// Policy is how the sink behaves; PUT /policy replaces it.
type Policy struct {
	// RTT delays each flight of replies.
	RTT time.Duration `json:"rtt"`
	// BlackHoleEvery makes accounts that are 1 modulo it never hear a reply
	// to MAIL; RevokedEvery makes those that are 0 modulo it get
	// invalid_grant. Zero means none.
	BlackHoleEvery int `json:"black_hole_every"`
	RevokedEvery   int `json:"revoked_every"`
	// TokenDelay is how long the token endpoint takes.
	TokenDelay time.Duration `json:"token_delay"`
	// TokensEnd is when the first token of every account ends, Unix seconds;
	// the others live an hour.
	TokensEnd int64 `json:"tokens_end"`
}

// Stats is what GET /stats answers.
type Stats struct {
	Messages   int64  `json:"messages"`
	Duplicates int64  `json:"duplicates"`
	Corrupt    int64  `json:"corrupt"`
	Stray      int64  `json:"stray"`
	Flights    int64  `json:"flights"`
	Accepted   int64  `json:"accepted_connections"`
	Open       int64  `json:"open_connections"`
	Logins     int64  `json:"logins"`
	TokenPosts int64  `json:"token_posts"`
	Refused    int64  `json:"token_refusals"`
	Parallel   int64  `json:"token_max_parallel"`
	LastToken  int64  `json:"last_token_unix_ms"`
	Bitmap     string `json:"bitmap,omitempty"`
}

// Name is what the sink calls itself, and what its certificate names.
const Name = "localhost"

// MaxMessages bounds the sequence numbers of one run.
const MaxMessages = 1 << 23

// arrived is what arrived in one run.
type arrived struct {
	id                                                                    uint32
	seen                                                                  message.Bitmap
	messages, duplicates, corrupt, stray                                  atomic.Int64
	flights, accepted, logins, posts, refused, parallel, maxPar, lastPost atomic.Int64
}

// Sink is an SMTP submission server that keeps nothing, and a token endpoint.
type Sink struct {
	tls    *tls.Config
	policy atomic.Pointer[Policy]
	issued atomic.Pointer[message.Bitmap] // accounts that got a token under this policy
	run    atomic.Pointer[arrived]
	open   atomic.Int64
	serial atomic.Int64
}

// New makes a sink with a certificate. It counts nothing before NewRun.
func New(cert, key string) (*Sink, error) {
	c, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	s := &Sink{tls: &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true}}
	s.setPolicy(new(Policy))
	s.run.Store(&arrived{seen: message.NewBitmap(0)})
	return s, nil
}

// NewRun has the sink count anew.
func (s *Sink) NewRun(id uint32) {
	s.run.Store(&arrived{id: id, seen: message.NewBitmap(MaxMessages)})
}

// Run is the sink process: it serves until standard input ends.
func Run(in io.Reader, out io.Writer) error {
	system.RaiseFileLimit()
	r := bufio.NewReader(in)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("sink: reading setup: %w", err)
	}
	var setup Setup
	if err := json.Unmarshal(line, &setup); err != nil {
		return fmt.Errorf("sink: parsing setup: %w", err)
	}
	s, err := New(setup.Cert, setup.Key)
	if err != nil {
		return err
	}
	var ready Ready
	for _, l := range []struct {
		addr  *string
		serve func(net.Listener)
	}{
		{&ready.Implicit, func(ln net.Listener) { s.Serve(ln, true) }},
		{&ready.StartTLS, func(ln net.Listener) { s.Serve(ln, false) }},
		{&ready.HTTP, s.serveHTTP},
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		*l.addr = ln.Addr().String()
		go l.serve(ln)
	}
	if err := json.NewEncoder(out).Encode(ready); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r) // until the parent goes
	return err
}

// Serve takes connections until the process ends.
func (s *Sink) Serve(ln net.Listener, implicit bool) {
	for {
		c, err := ln.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "sink: accept:", err)
			time.Sleep(10 * time.Millisecond)
			continue
		}
		s.run.Load().accepted.Add(1)
		s.open.Add(1)
		go func() {
			defer s.open.Add(-1)
			sc := &session{sink: s, conn: c}
			if implicit {
				sc.conn = tls.Server(c, s.tls)
				sc.secure = true
			}
			defer sc.close()
			sc.serve()
		}()
	}
}

func (s *Sink) setPolicy(p *Policy) {
	issued := message.NewBitmap(1 << 17)
	s.issued.Store(&issued)
	s.policy.Store(p)
}

// serveHTTP serves the token endpoint over TLS, and the control routes.
func (s *Sink) serveHTTP(ln net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", s.token)
	s.serveAPI(mux)
	mux.HandleFunc("PUT /policy", func(w http.ResponseWriter, r *http.Request) {
		p := new(Policy)
		if err := json.NewDecoder(r.Body).Decode(p); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.setPolicy(p)
	})
	mux.HandleFunc("PUT /run/{id}", func(_ http.ResponseWriter, r *http.Request) {
		s.NewRun(parseRun(r.PathValue("id")))
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(s.Stats(r.URL.Query().Has("bitmap")))
	})
	srv := &http.Server{Handler: mux, TLSConfig: s.tls.Clone(), ReadHeaderTimeout: time.Minute}
	_ = srv.ServeTLS(ln, "", "")
}

// Stats says what came in this run.
func (s *Sink) Stats(bitmap bool) Stats {
	r := s.run.Load()
	st := Stats{
		Messages:   r.messages.Load(),
		Duplicates: r.duplicates.Load(),
		Corrupt:    r.corrupt.Load(),
		Stray:      r.stray.Load(),
		Flights:    r.flights.Load(),
		Accepted:   r.accepted.Load(),
		Open:       s.open.Load(),
		Logins:     r.logins.Load(),
		TokenPosts: r.posts.Load(),
		Refused:    r.refused.Load(),
		Parallel:   r.maxPar.Load(),
		LastToken:  r.lastPost.Load(),
	}
	if bitmap {
		st.Bitmap = r.seen.Text()
	}
	return st
}

// deliver counts a message.
func (s *Sink) deliver(msg []byte) bool {
	r := s.run.Load()
	m, ok := message.Check(msg)
	if !ok {
		r.corrupt.Add(1)
		return false
	}
	if m.Run != r.id {
		r.stray.Add(1)
		return true
	}
	fresh, ok := r.seen.Set(m.Seq)
	switch {
	case !ok:
		r.corrupt.Add(1)
		return false
	case !fresh:
		r.duplicates.Add(1)
	default:
		r.messages.Add(1)
	}
	return true
}

// token is the token endpoint (RFC 6749 section 6).
func (s *Sink) token(w http.ResponseWriter, r *http.Request) {
	run, p := s.run.Load(), s.policy.Load()
	run.posts.Add(1)
	n := run.parallel.Add(1)
	defer run.parallel.Add(-1)
	for old := run.maxPar.Load(); n > old && !run.maxPar.CompareAndSwap(old, n); old = run.maxPar.Load() {
	}
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if p.TokenDelay > 0 {
		time.Sleep(p.TokenDelay)
	}
	w.Header().Set("Content-Type", "application/json")
	account := message.AccountNumber(r.PostForm.Get("refresh_token"))
	if p.RevokedEvery > 0 && account%p.RevokedEvery == 0 {
		run.refused.Add(1)
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_grant","error_description":"revoked by the benchmark"}`)
		return
	}
	life := int64(3600)
	if first, _ := s.issued.Load().Set(uint32(max(account, 0))); first { //nolint:gosec // small
		if left := p.TokensEnd - time.Now().Unix(); left > 0 {
			life = left
		}
	}
	run.lastPost.Store(time.Now().UnixMilli())
	fmt.Fprintf(w, `{"access_token":"`+tokenPrefix+`%d-%d","token_type":"Bearer","expires_in":%d}`, account, s.serial.Add(1), life)
}

// buffers are those of connections; held ones are many and mostly small.
var buffers = sync.Pool{New: func() any { return make([]byte, 16<<10) }}
