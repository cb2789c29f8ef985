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

package admin

import (
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"time"

	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/operate"
)

// doctorTimeout bounds all that the doctor asks for over the network.
const doctorTimeout = 40 * time.Second

// runDoctor answers GET /smtp/doctor. That something is wrong is an answer too.
func runDoctor(w http.ResponseWriter, r *http.Request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	w.Header().Set(processHeader, process)
	if r.Method == http.MethodHead {
		return nil // whose process answers, and nothing else
	}
	ctx, cancel := context.WithTimeout(r.Context(), doctorTimeout)
	defer cancel()
	at, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return writeJSON(w, http.StatusOK, operate.Doctor(ctx, func() []checkup.Finding { return checkAdmin(ctx, at, r.Host) }))
}

// process tells this process from another one at the same port.
var process = rand.Text()

const (
	processHeader = "Mailgateway-Process"
	// adminAsked is how often the port is asked: the kernel deals connections
	// out among those that listen, so that one of two is missed once in 65,536.
	adminAsked = 16
)

// checkAdmin asks the admin port who answers. Caddy shares it without an error,
// for its own restarts, so that a second gateway takes half of the commands.
func checkAdmin(ctx context.Context, at net.Addr, host string) []checkup.Finding {
	if at == nil || at.Network() != "tcp" {
		return nil // a socket of the file system is one process's
	}
	f := checkup.Finding{Check: "admin", Subject: at.String(), State: checkup.OK, Said: "this process alone answers"}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range adminAsked {
		r, err := http.NewRequestWithContext(ctx, http.MethodHead, "http://"+at.String()+"/smtp/doctor", nil)
		if err != nil {
			return nil
		}
		r.Host = host
		resp, err := client.Do(r)
		if err != nil {
			f.State, f.Said = checkup.Unknown, err.Error()
			f.Cause, f.Remedy = "The admin port could not be asked who listens there.", "Run the doctor again."
			return []checkup.Finding{f}
		}
		_ = resp.Body.Close()
		if who := resp.Header.Get(processHeader); who != process {
			f.State, f.Said = checkup.Wrong, "another process answers too"
			if who == "" {
				f.Said += ", which is no Mailgateway"
			}
			f.Cause = "Two programs share the admin port: each command and reload reaches one of them, at random."
			f.Remedy = "End the one that is not wanted (`ss -ltnp` names both), or give it another `admin` address in its global options; commands find it with --address."
			break
		}
	}
	return []checkup.Finding{f}
}
