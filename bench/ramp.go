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
	"path/filepath"
	"slices"
	"strconv"

	"github.com/caddymail/mailgateway/bench/sink"
	"github.com/caddymail/mailgateway/bench/smtp"
	"github.com/caddymail/mailgateway/bench/system"
)

// The ramp's rates are messages a minute. Beyond the last it goes on by half
// until the knee.
var rampRates = []int{1000, 2000, 5000, 10_000, 20_000, 50_000}

const (
	rampMost = 5_000_000
	// The knee is where the gateway takes less than this share of what is offered,
	// or where p95 is more than this above that of the sink alone.
	rampShare = 0.95
	rampAdded = 50.0 // ms
)

// rampStep is one rate, through the gateway and straight to the sink.
type rampStep struct {
	perMinute    int
	gateway, own figure
}

func (s *rampStep) beyondKnee() bool {
	return s.gateway.Rate < rampShare*float64(s.perMinute)/60 || s.gateway.Latency.P95 > s.own.Latency.P95+rampAdded
}

// runRamp raises the rate of one gateway that stays the same, from an office's to
// more than it can take. With -profile it then runs the last rate below the knee
// again with a binary that records where goroutines wait.
func runRamp(ctx context.Context, e *env, rep *report) error {
	t := &table{
		Title: "Ramp",
		Columns: []string{
			"offered a minute", "taken a minute", "p50 ms", "p95 ms", "p99 ms", "p95 over DIRECT's", "gateway's CPU us a message",
			"cores", "peak RSS MiB", "sent = delivered", "",
		},
		Text: []string{
			fmt.Sprintf("Open loop, 4 KiB, %d accounts, %d clients, 100 messages a client connection, one gateway for all rates, latency from the intended start. The knee is the first rate", e.o.accounts, rampClients),
			fmt.Sprintf("of which less than %.0f %% is taken, or whose p95 is more than %.0f ms over that of the load straight to the sink, twice in a row.", 100*rampShare, rampAdded),
		},
	}
	rates := slices.Clone(rampRates)
	if e.o.short {
		rates = []int{1000, 50_000}
	}
	below := 0
	err := e.withRampGateway(ctx, e.caddy, func(gw *gateway) error {
		for i := 0; ; i++ {
			if i == len(rates) {
				if e.o.short {
					return nil
				}
				rates = append(rates, rates[i-1]*3/2)
			}
			if rates[i] > rampMost {
				return nil
			}
			s, err := e.rampStep(ctx, rates[i], gw)
			if err != nil {
				return err
			}
			if s.beyondKnee() && !s.gateway.Failed {
				// Once may be the machine: the second look decides.
				if s, err = e.rampStep(ctx, rates[i], gw); err != nil {
					return err
				}
			}
			t.Rows, t.Failed = append(t.Rows, s.row()), t.Failed || s.gateway.Failed
			log.Printf("ramp: %d a minute: %.0f taken, p95 %.2f ms, DIRECT's %.2f%s", s.perMinute, s.gateway.Rate*60, s.gateway.Latency.P95, s.own.Latency.P95, failedMark(s.gateway.Failed))
			if s.beyondKnee() {
				return nil
			}
			below = s.perMinute
		}
	})
	if err != nil {
		return err
	}
	rep.add(t)
	if e.o.profile == "" || below == 0 {
		return nil
	}
	return e.rampWaits(ctx, below)
}

const rampClients = 200

// withRampGateway runs f with a gateway.
func (e *env) withRampGateway(ctx context.Context, binary string, f func(*gateway) error) (err error) {
	if err := e.policy(ctx, sink.Policy{}); err != nil {
		return err
	}
	was := e.caddy
	e.caddy = binary
	defer func() { e.caddy = was }()
	gw, err := e.startGateway(ctx, gatewaySetup{envelope: "faithful", accounts: e.o.accounts})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.stop(gw.proc)) }()
	return f(gw)
}

func (e *env) rampStep(ctx context.Context, perMinute int, gw *gateway) (s rampStep, err error) {
	s.perMinute = perMinute
	l := loadSetup{
		Addr: gw.smtp, TLS: "off", Mode: smtp.ModePipeline, Clients: rampClients, Accounts: e.o.accounts, PerConn: 100, Size: 4096,
		Rate: float64(perMinute) / 60, Warmup: e.o.warmup, Window: e.o.window,
	}
	run := func(gw *gateway) (figure, error) {
		res, st, err := e.runLoad(ctx, l, gw)
		if err != nil {
			return figure{}, err
		}
		return newFigure(res, st), nil
	}
	if s.gateway, err = run(gw); err != nil {
		return s, err
	}
	_, s.gateway.PeakKiB = system.ProcessMemory(gw.pid())
	l.Addr, l.TLS = e.at.Implicit, "implicit"
	s.own, err = run(nil)
	return s, err
}

func (s *rampStep) row() []string {
	f := &s.gateway
	verdict := f.verdict()
	if !f.Failed && s.beyondKnee() {
		verdict = "the knee"
	}
	return []string{
		strconv.Itoa(s.perMinute), fmt.Sprintf("%.0f", f.Rate*60),
		fmt.Sprintf("%.2f", f.Latency.P50), fmt.Sprintf("%.2f", f.Latency.P95), fmt.Sprintf("%.2f", f.Latency.P99),
		fmt.Sprintf("%+.2f", f.Latency.P95-s.own.Latency.P95), fmt.Sprintf("%.0f", f.CPU*1000), fmt.Sprintf("%.2f", f.CPU*f.Rate/1000),
		fmt.Sprintf("%.0f", float64(f.PeakKiB)/1024), fmt.Sprintf("%d = %d", f.Sent, f.Delivered), verdict,
	}
}

// rampWaits records where goroutines wait at a rate.
func (e *env) rampWaits(ctx context.Context, perMinute int) error {
	binary := filepath.Join(e.dir, "caddy-contention")
	log.Print("building a gateway that records waits: go build -tags contention ./xcaddy")
	if err := e.build(binary, "-tags", "contention"); err != nil {
		return err
	}
	return e.withRampGateway(ctx, binary, func(gw *gateway) error {
		if _, err := e.rampStep(ctx, perMinute, gw); err != nil {
			return err
		}
		for _, kind := range []string{"mutex", "block"} {
			path := e.o.profilePath("ramp", strconv.Itoa(perMinute)+" a minute", kind)
			out, err := os.Create(path) //nolint:gosec // the operator's own path
			if err != nil {
				return err
			}
			if err := errors.Join(gw.get(ctx, "/debug/pprof/"+kind, out), out.Close()); err != nil {
				return err
			}
			log.Printf("ramp: where goroutines wait at %d a minute: go tool pprof -top %s", perMinute, path)
		}
		return nil
	})
}
