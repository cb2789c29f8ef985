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

package smtpclient

import (
	"net"
	"syscall"
	"testing"

	"github.com/caddymail/mailgateway/relay"
)

// TestNoDescriptors: a gateway that can open no more files has not found out anything
// about the provider, which must not be taken for unreachable.
func TestNoDescriptors(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cfg := configFor(t, ln)
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	none := was
	none.Cur = 0 // what is open stays open
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	nc, derr := dialTCP(t.Context(), cfg, "")
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if derr == nil {
		_ = nc.Close()
		t.Fatal("connected")
	}
	if derr.Class != FailLocal || derr.Reply != relay.ReplyNoConnection {
		t.Errorf("%v: class %v, reply %v", derr, derr.Class, derr.Reply)
	}
}
