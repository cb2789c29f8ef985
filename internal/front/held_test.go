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

//go:build unix

package front

import (
	"context"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/sys/unix"
)

// TestPortOfAnotherProcess refuses a port that another process shares as
// Caddy's listeners do, and no port that this process has.
func TestPortOfAnotherProcess(t *testing.T) {
	// Opened past Caddy, it is what a second gateway would have.
	shared := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}); e != nil {
			return e
		}
		return err
	}}
	other, err := shared.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := other.Addr().String()
	addr, err := caddy.ParseNetworkAddress(at)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openCore(addr, 0); err == nil || !strings.Contains(err.Error(), at+": another process") {
		t.Fatalf("got %v, want another process at %s", err, at)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := openCore(addr, 0); err != nil {
		t.Fatalf("the port is free again: %v", err)
	}
	closeCore := func(a caddy.NetworkAddress) {
		if _, err := listeners.Delete(ListenerKey(a, 0)); err != nil {
			t.Error(err)
		}
	}
	defer closeCore(addr)
	// A reload moves the server to all addresses before it leaves the one.
	everywhere := addr
	everywhere.Host = ""
	if _, err := openCore(everywhere, 0); err != nil {
		t.Fatalf("from one address to all: %v", err)
	}
	closeCore(everywhere)
}

// TestPortOfAnotherApp takes over a port that another app of this process has
// under the configuration that goes.
func TestPortOfAnotherApp(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	_ = free.Close()
	addr, err := caddy.ParseNetworkAddress(at)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := addr.Listen(context.Background(), 0, net.ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.(net.Listener).Close()
	if _, err := openCore(addr, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := listeners.Delete(ListenerKey(addr, 0)); err != nil {
		t.Error(err)
	}
}
