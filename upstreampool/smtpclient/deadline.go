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

package smtpclient

import (
	"net"
	"time"
)

// soon is how close a read deadline may come before it is moved.
const soon = 15 * time.Second

// deadlines are those of a connection. Each message has several, of different
// lengths, and to move a timer for each costs as much as parsing the replies.
// So the socket's may differ from what is wanted: a read deadline may be early,
// and then patient moves it and reads on; a write deadline may be late, but
// never by more than the longest timeout there is.
type deadlines struct {
	readBy      time.Time // what is wanted of reads
	read, write time.Time // what the socket has
}

// set gives reads and writes d from now. No write takes longer than most.
func (l *deadlines) set(nc net.Conn, now time.Time, d, most time.Duration) error {
	want := now.Add(d)
	l.readBy = want
	if l.read.After(want) || l.read.Sub(now) < min(soon, d/2) {
		if err := l.setRead(nc); err != nil {
			return err
		}
	}
	if left := l.write.Sub(now); left < d-d/8 || left > most {
		l.write = want
		return nc.SetWriteDeadline(want)
	}
	return nil
}

// over reports whether what is wanted of reads is over when the socket's deadline is.
func (l *deadlines) over(nc net.Conn) bool {
	return !l.read.Before(l.readBy) || l.setRead(nc) != nil
}

func (l *deadlines) setRead(nc net.Conn) error {
	l.read = l.readBy
	return nc.SetReadDeadline(l.readBy)
}

// patient reads from a connection until what is wanted of reads is over.
type patient Conn

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	if len(p.peeked) > 0 {
		n := copy(b, p.peeked)
		p.peeked = p.peeked[n:]
		return n, nil
	}
	for {
		n, err := p.hear(b)
		if n > 0 || err == nil || !timedOut(err) || p.deadlines.over(p.tcp) {
			return n, err
		}
	}
}

func (p *patient) hear(b []byte) (int, error) {
	switch {
	case p.nc != p.tcp:
		if p.deaf.until > 0 {
			if err := (*Conn)(p).begun(); err != nil {
				return 0, err
			}
		}
		n, err := p.nc.Read(b)
		p.deaf.gave(n, len(b))
		return n, err
	case p.early.holds():
		return p.early.take(b)
	}
	return p.nc.Read(b)
}
