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

package front

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// outOfDescriptors is a listener's socket at the limit of open files: it fails a few
// times, and then is closed.
type outOfDescriptors struct{ fails int }

func (l *outOfDescriptors) Accept() (net.Conn, error) {
	if l.fails--; l.fails < 0 {
		return nil, net.ErrClosed
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
}

func (l *outOfDescriptors) Close() error { return nil }

func (l *outOfDescriptors) Addr() net.Addr { return &net.TCPAddr{} }

// TestOutOfDescriptors: a server that can't accept says so, and why, but not for each
// connection.
func TestOutOfDescriptors(t *testing.T) {
	seen, logs := observer.New(zapcore.ErrorLevel)
	p := NewPoint()
	g := &Generation{Logger: zap.New(seen)}
	p.gens.Attach(g, nil)
	defer p.gens.Detach(g, nil)
	c := &core{Point: p, key: "tcp/192.0.2.1:587", ln: &outOfDescriptors{fails: 5}, done: make(chan struct{})}
	c.accept()
	if n := logs.Len(); n != 1 {
		t.Errorf("%d lines: %v", n, logs.All())
	}
	if remedy, _ := logs.All()[0].ContextMap()["remedy"].(string); !strings.Contains(remedy, "LimitNOFILE") {
		t.Errorf("no remedy: %v", logs.All()[0].ContextMap())
	}
}
