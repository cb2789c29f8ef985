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

package operate

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/internal/invoked"
	"github.com/caddymail/mailgateway/internal/presence"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/upstreamapp"
)

// DoctorReport is what the doctor found.
type DoctorReport struct {
	// OK says that nothing is wrong; there may be warnings.
	OK       bool              `json:"ok"`
	Findings []checkup.Finding `json:"findings"`
}

// Doctor looks at the gateway from within, and asks over the network what can
// only be known so: its own listeners, the upstreams' ports, the providers' clocks.
func Doctor(ctx context.Context, more ...func() []checkup.Finding) *DoctorReport {
	checks := append([]func() []checkup.Finding{func() []checkup.Finding { return Examine(ctx) }, checkProcesses}, more...)
	if app, err := App[*smtpapp.App]("smtp"); err != nil {
		checks = append(checks, func() []checkup.Finding {
			return []checkup.Finding{{
				Check: "gateway", State: checkup.Wrong, Said: err.Error(),
				Cause: "The configuration that runs has no `smtp` app: nothing listens.", Remedy: invoked.Words("Load the gateway's configuration: `caddy reload --config FILE`."),
			}}
		})
	} else {
		for name, server := range app.Servers {
			for _, address := range server.Listen {
				checks = append(checks, func() []checkup.Finding { return one(checkListener(ctx, name, address, server, app.Hostname)) })
			}
		}
	}
	if app, err := App[*upstreamapp.App]("smtp_upstreams"); err == nil {
		for _, u := range app.Status() {
			if u.Transport == "smtp" && u.Dial != "" {
				checks = append(checks, func() []checkup.Finding { return checkEgress(ctx, u, app.ViaProxy(u.Name)) })
			} else {
				checks = append(checks, func() []checkup.Finding { return checkAPI(ctx, u.Name, app.Reach) })
			}
		}
	}
	if app, err := App[*oauthtoken.App]("oauth_tokens"); err == nil {
		for name, server := range app.Servers() {
			checks = append(checks, func() []checkup.Finding { return one(checkClock(ctx, name, server)) })
		}
	}
	return together(checks)
}

func one(f checkup.Finding) []checkup.Finding { return []checkup.Finding{f} }

// together makes the checks at the same time: each may have to wait for a
// server that does not answer.
func together(checks []func() []checkup.Finding) *DoctorReport {
	found := make([][]checkup.Finding, len(checks))
	var wg sync.WaitGroup
	for i, check := range checks {
		wg.Go(func() { found[i] = check() })
	}
	wg.Wait()
	r := &DoctorReport{OK: true, Findings: slices.Concat(found...)}
	order := []checkup.State{checkup.Wrong, checkup.Warning, checkup.Unknown, checkup.OK}
	slices.SortStableFunc(r.Findings, func(a, b checkup.Finding) int {
		if d := slices.Index(order, a.State) - slices.Index(order, b.State); d != 0 {
			return d
		}
		return strings.Compare(a.Key(), b.Key())
	})
	for _, f := range r.Findings {
		r.OK = r.OK && f.State != checkup.Wrong
	}
	return r
}

// checkProcesses looks for other gateways on the same storage of files. On one host
// that is mostly one too many, such as a service and one that was started by hand;
// on two it is how two nodes are made.
func checkProcesses() []checkup.Finding {
	running := caddy.ActiveContext()
	if running.Context == nil {
		return nil
	}
	others, err := presence.Others(running.Storage())
	if err != nil {
		return one(checkup.Finding{
			Check: "processes", State: checkup.Unknown, Said: err.Error(),
			Cause: "The storage could not be asked which processes use it.", Remedy: "Check the rights of the gateway's user in the storage's folder `smtp/processes`.",
		})
	}
	host, _ := os.Hostname()
	return processes(host, others)
}

const (
	sharedCost = "Messages, recipients and connections of a mailbox are counted together, tokens are refreshed by one for both, and each waits for the other's file locks. " +
		"Sessions, bans, `max_conns` of accounts and upstreams and the history of messages are each process's own, commands ask the one behind the admin address, and a spool's folder is the first one's."
	sharedRemedy = "If one of them is not meant to be, end it; where a service runs, `systemctl status` shows its number, and the other was started by hand. Otherwise give each a `storage` of its own, or see \"Two nodes\" in docs/operations.md."
)

func processes(host string, others []presence.Process) (found []checkup.Finding) {
	for _, p := range others {
		f := checkup.Finding{Check: "processes", Subject: fmt.Sprintf("process %d", p.PID), State: checkup.Warning, Cause: sharedCost, Remedy: sharedRemedy}
		said := "uses the same storage"
		if p.PID == 0 {
			f.Subject = "another process"
		}
		if !p.Since.IsZero() {
			said += " since " + p.Since.UTC().Format(time.RFC3339)
		}
		if p.Program != "" {
			said += " as " + p.Program
		}
		if len(p.Listen) > 0 {
			said += ", listening at " + strings.Join(p.Listen, ", ")
		}
		if p.Host != "" && p.Host != host {
			f.Subject += " on " + p.Host
			f.State, f.Cause, f.Remedy = checkup.OK, "", ""
		}
		f.Said = printable(said)
		f.Subject = printable(f.Subject)
		found = append(found, f)
	}
	return found
}

// clockSlack is how far the gateway's clock may be off: tokens live for an hour,
// but assertions that are signed here for some minutes only.
const clockSlack = 30 * time.Second

// checkClock compares the gateway's clock with the Date of an HTTP answer.
func checkClock(ctx context.Context, provider string, server *authserver.Provider) checkup.Finding {
	f := checkup.Finding{Check: "clock", Subject: provider}
	at, err := server.Date(ctx)
	if err != nil {
		f.State, f.Said = checkup.Unknown, "no answer to compare with: "+err.Error()
		f.Cause = "The provider's token endpoint could not be asked for the time."
		f.Remedy = "Check DNS, firewall and proxy of the gateway for HTTPS, unless it is meant to be without."
		return f
	}
	off := time.Since(at).Round(time.Second)
	f.State, f.Said = checkup.OK, fmt.Sprintf("%v off the provider's", off)
	if off.Abs() > clockSlack {
		f.State = checkup.Wrong
		f.Cause = "The gateway's clock is wrong: tokens are used after their end or renewed too often, signed assertions are refused, limits count at wrong times."
		f.Remedy = "Set the clock, and have it kept: `timedatectl set-ntp true`."
	}
	return f
}
