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

package command

import (
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
)

// TestQuestionIsAskedAgain: an admin server that makes way for another ends what it
// has accepted; a question is asked again, and a change never.
func TestQuestionIsAskedAgain(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepted atomic.Int32
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if accepted.Add(1) == 1 {
			nc, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_ = nc.Close()
			return
		}
		_, _ = io.WriteString(w, "{}")
	})}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { _ = server.Close() })
	c := &adminClient{address: ln.Addr().String()}
	if err := c.call(http.MethodGet, "/smtp/doctor", nil, nil, &struct{}{}); err != nil || accepted.Load() != 2 {
		t.Errorf("asked %d times: %v", accepted.Load(), err)
	}
	accepted.Store(0)
	if err := c.call(http.MethodPost, "/smtp/accounts", nil, struct{}{}, nil); err == nil || accepted.Load() != 1 {
		t.Errorf("changed %d times: %v", accepted.Load(), err)
	}
}
