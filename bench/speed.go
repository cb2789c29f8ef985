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

package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"time"

	"github.com/caddymail/mailgateway/bench/message"
	"github.com/caddymail/mailgateway/bench/sink"
	"github.com/caddymail/mailgateway/bench/system"
)

// What a row's load goes to.
const (
	viaDirect    = "DIRECT"
	viaOneFlight = "DIRECT, one flight (BDAT)"
	viaOwnToken  = "DIRECT, token and login for each account"
	viaHAProxy   = "HAProxy TCP only"
	viaNginx     = "nginx stream"
	viaFaithful  = "gateway faithful"
	viaDeferred  = "gateway deferred"
	viaBuffered  = "gateway faithful, log gathered"
	viaLong      = "gateway faithful, 1,000 messages an upstream connection"
	viaScraped   = "gateway faithful, scraped every second"
	viaSpool     = "gateway faithful, spool on"
	// What a spool that has nothing to do costs.
	viaSpoolDeferred = "gateway deferred, spool on"
	// Messages that are answered 250 when they are durable, and sent meanwhile.
	viaSpoolAlways = "gateway, spool always"
	viaGraph       = "gateway to Microsoft Graph"
	viaGmail       = "gateway to the Gmail API"
	viaPostfix     = "Postfix as a relay, queued"
)

// apis are the transports of the rows that leave through an HTTP API.
var apis = map[string]string{viaGraph: "graph", viaGmail: "gmail"}

// figure is what one repetition gave.
type figure struct {
	Rate        float64        `json:"messages_per_second"`
	Latency     latencies      `json:"latency"`
	CPU         float64        `json:"cpu_seconds_per_1000"`
	LoadCPU     float64        `json:"load_cpu_seconds_per_1000"`
	SinkCPU     float64        `json:"sink_cpu_seconds_per_1000"`
	PeakKiB     int64          `json:"peak_rss_kib"`
	Upstream    int64          `json:"upstream_connections"`
	RoundTrips  float64        `json:"round_trips_per_message"`
	Sent        int            `json:"accepted"`
	Delivered   int64          `json:"delivered"`
	Lost        int            `json:"lost"`
	Unasked     int            `json:"delivered_without_250"`
	Duplicates  int64          `json:"duplicates"`
	Corrupt     int64          `json:"corrupt"`
	Errors      map[string]int `json:"errors,omitempty"`
	Failed      bool           `json:"failed"`
	loadUnknown int
}

// runSpeed runs the speed rows, interleaved within each group.
func runSpeed(ctx context.Context, e *env, rep *report) error {
	byGroup := make(map[string][]speedRow)
	var order []string
	for _, r := range speedRows(e) {
		switch {
		case !e.o.matches(r.group, r.via):
			continue
		case peers[r.via] != "" && !installed(peers[r.via]):
			rep.note(peers[r.via] + " is not installed: its rows are left out.")
			continue
		case r.via == viaPostfix && (!e.hasPostfix() || e.o.short):
			continue
		case r.isGateway() && e.caddy == "":
			rep.note("The gateway did not build: its rows are left out.")
			continue
		}
		if byGroup[r.group] == nil {
			order = append(order, r.group)
		}
		byGroup[r.group] = append(byGroup[r.group], r)
		if r.isGateway() && e.o.before != "" {
			r.before = true
			byGroup[r.group] = append(byGroup[r.group], r)
		}
	}
	for _, g := range order {
		for n := range e.o.reps {
			for _, r := range byGroup[g] {
				if r.once && n > 0 {
					continue
				}
				f, err := e.runSpeedRow(ctx, r)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", r.group, r.name(), err)
				}
				log.Printf("%s, %s: %.0f msg/s, p95 %.2f ms, %.1f us CPU a message%s", r.group, r.name(), f.Rate, f.Latency.P95, f.CPU*1000, failedMark(f.Failed))
				for what, n := range f.Errors {
					log.Printf("  %d x %s", n, what)
				}
				rep.speed(r, f)
			}
		}
	}
	return nil
}

// hasPostfix reports whether the Postfix row can run.
func (e *env) hasPostfix() bool { return installed("postfix") && os.Getuid() == 0 }

func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

func failedMark(failed bool) string {
	if failed {
		return " FAILED"
	}
	return ""
}

func (r *speedRow) isGateway() bool {
	return r.via == viaFaithful || r.via == viaDeferred || r.via == viaBuffered || r.via == viaLong ||
		r.via == viaScraped || r.via == viaSpool || r.via == viaSpoolDeferred || r.via == viaSpoolAlways || apis[r.via] != ""
}

// runSpeedRow runs one repetition, with a gateway of its own.
func (e *env) runSpeedRow(ctx context.Context, r speedRow) (f figure, err error) {
	if err := e.policy(ctx, sink.Policy{RTT: r.rtt}); err != nil {
		return f, err
	}
	l := r.load
	if r.via == viaPostfix {
		return e.runPostfixRow(ctx, l)
	}
	l.Addr, l.TLS = e.at.Implicit, "implicit"
	var gw *gateway
	switch r.via {
	case viaHAProxy, viaNginx:
		if gw, err = e.startPeer(ctx, peers[r.via]); err != nil {
			return f, err
		}
		l.Addr = gw.smtp
	case viaOwnToken:
		l.TokenURL = "https://" + e.at.HTTP + "/token"
	case viaFaithful, viaDeferred, viaBuffered, viaLong, viaScraped, viaSpool, viaSpoolDeferred, viaSpoolAlways, viaGraph, viaGmail:
		g := gatewaySetup{envelope: "faithful", accounts: l.Accounts, tls: r.tls, before: r.before, api: apis[r.via]}
		switch r.via {
		case viaDeferred:
			g.envelope = "deferred"
		case viaSpool:
			g.spool = "on"
		case viaSpoolDeferred:
			g.envelope, g.spool = "deferred", "on"
		case viaSpoolAlways:
			g.spool = "always"
		case viaBuffered:
			g.log = logBuffered
		case viaLong:
			g.upstream = map[string]any{"max_messages_per_conn": 1000}
		}
		if gw, err = e.startGateway(ctx, g); err != nil {
			return f, err
		}
		l.Addr, l.TLS = gw.smtp, "off"
		if r.tls != "" {
			l.TLS = r.tls
		}
	}
	if gw != nil {
		defer func() { err = errors.Join(err, e.stop(gw.proc)) }()
	}
	if r.via == viaScraped {
		stop := gw.scrape(ctx, time.Second)
		defer func() { err = errors.Join(err, stop()) }()
	}
	var stopProfile func() error
	if e.o.profile != "" && r.isGateway() {
		stopProfile = e.profile(ctx, gw, r)
	}
	res, st, err := e.runLoad(ctx, l, gw)
	if err != nil {
		return f, err
	}
	if stopProfile != nil {
		if err := stopProfile(); err != nil {
			log.Print("profile: ", err)
		}
	}
	f = newFigure(res, st)
	if gw != nil {
		_, f.PeakKiB = system.ProcessMemory(gw.pid())
	}
	return f, nil
}

// profile takes a CPU profile of the window and an allocation profile of the
// whole row.
func (e *env) profile(ctx context.Context, gw *gateway, r speedRow) func() error {
	done := make(chan error, 1)
	fetch := func(kind, path string) error {
		out, err := os.Create(e.o.profilePath(r.group, r.name(), kind))
		if err != nil {
			return err
		}
		return errors.Join(gw.get(ctx, path, out), out.Close())
	}
	go func() {
		time.Sleep(r.load.Warmup)
		done <- fetch("cpu", fmt.Sprintf("/debug/pprof/profile?seconds=%d", max(1, int(r.load.Window.Seconds()))))
	}()
	return func() error { return errors.Join(<-done, fetch("allocs", "/debug/pprof/allocs")) }
}

// runLoad runs the load generator once against a counting sink.
func (e *env) runLoad(ctx context.Context, l loadSetup, gw *gateway) (res *loadResult, st sink.Stats, err error) {
	if l.Run, err = e.newRun(ctx); err != nil {
		return nil, st, err
	}
	l.CA = e.pki.ca
	l.PIDs = []int{e.sink.pid()}
	if gw != nil {
		l.PIDs = append(l.PIDs, gw.pid())
	}
	p, err := e.self("load", l)
	if err != nil {
		return nil, st, err
	}
	defer func() { err = errors.Join(err, e.stop(p)) }()
	stop := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
	defer stop()
	var ev loadEvent
	if err := p.answer(&ev); err != nil {
		return nil, st, err
	}
	if gw != nil && gw.keeps {
		if err := gw.emptied(ctx); err != nil {
			return nil, st, err
		}
	}
	if ctx.Err() != nil {
		return nil, st, ctx.Err()
	}
	st, err = e.stats(ctx, true)
	return ev.Result, st, err
}

// newFigure compares what was sent with what arrived.
func newFigure(res *loadResult, st sink.Stats) figure {
	f := figure{
		Latency:   res.Latency,
		Upstream:  st.Accepted,
		Sent:      res.Accepted,
		Delivered: st.Messages, Duplicates: st.Duplicates, Corrupt: st.Corrupt + st.Stray,
		Errors:      res.Errors,
		loadUnknown: res.Unknown,
	}
	if res.Window > 0 {
		f.Rate = float64(res.InWindow) / res.Window
	}
	if n := float64(res.InWindow) / 1000; n > 0 {
		f.LoadCPU = res.OwnCPU / n
		if len(res.CPU) > 0 {
			f.SinkCPU = res.CPU[0] / n
		}
		if len(res.CPU) > 1 {
			f.CPU = res.CPU[1] / n
		}
	}
	if st.Messages > 0 {
		f.RoundTrips = float64(st.Flights) / float64(st.Messages)
	}
	var err error
	if f.Lost, f.Unasked, err = message.Difference(res.Bitmap, st.Bitmap); err != nil {
		f.Lost = -1
	}
	f.Failed = f.Sent == 0 || f.Lost != 0 || f.Unasked != 0 || f.Duplicates != 0 || f.Corrupt != 0 || len(f.Errors) != 0
	return f
}
