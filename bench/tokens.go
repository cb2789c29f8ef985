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
	"strconv"
	"time"

	"github.com/caddymail/mailgateway/bench/sink"
	"github.com/caddymail/mailgateway/bench/smtp"
)

// runTokens has all accounts' tokens expire together against a slow token
// endpoint, beside a run in which none does.
func runTokens(ctx context.Context, e *env, rep *report) error {
	if e.caddy == "" {
		rep.note("The gateway did not build: the token rows are left out.")
		return nil
	}
	const (
		delay    = 500 * time.Millisecond
		parallel = 500
		rate     = 300
		window   = 60 * time.Second
		ahead    = 30 * time.Second
	)
	accounts := 10000
	if e.o.short {
		accounts = 500
	}
	t := &table{
		Title:   "Tokens",
		Columns: []string{"run", "msg/s", "p50 ms", "p95 ms", "p99 ms", "max ms", "errors", "time to warm s", "POSTs to warm", "POSTs in the run", "most at a time", "sent = delivered", ""},
		Text: []string{
			fmt.Sprintf("%d accounts, a token endpoint that takes %s, `max_parallel` %d, `max_per_second` 5000, `refresh_ahead` %s; %d msg/s", accounts, delay, parallel, ahead, rate),
			"open loop over all accounts in turn, one message a client connection and one message an upstream connection, so that every",
			fmt.Sprintf("message needs a token. In the second run all tokens end together within the measured %s; the least number of", window),
			"POSTs is one per account.",
		},
	}
	for _, expire := range []bool{false, true} {
		name := "no token expires"
		if expire {
			name = "all expire together"
		}
		err := func() (err error) {
			p := sink.Policy{TokenDelay: delay}
			gw, err := e.startGateway(ctx, gatewaySetup{
				envelope: "faithful", accounts: accounts,
				oauth:    map[string]any{"refresh_ahead": ahead.String()},
				provider: map[string]any{"max_parallel": parallel, "max_per_second": 5000},
				upstream: map[string]any{"max_messages_per_conn": 1},
			})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, e.stop(gw.proc)) }()
			// The end has to lie so far beyond the warming that all accounts
			// are in use by then: refreshed ahead is only who is.
			least := time.Duration(accounts) * delay / parallel
			begin := time.Now()
			end := begin.Add(3*least + 60*time.Second + ahead)
			if expire {
				p.TokensEnd = end.Unix()
			}
			if err := e.policy(ctx, p); err != nil {
				return err
			}
			res, st, err := e.runLoad(ctx, loadSetup{
				Addr: gw.smtp, TLS: "off", Mode: smtp.ModePipeline, Clients: parallel, Accounts: accounts, PerConn: 1, Size: 4096, Messages: accounts,
			}, gw)
			if err != nil {
				return err
			}
			if f := newFigure(res, st); f.Failed {
				t.Failed = true
				log.Printf("tokens: warming: %s %v", f.verdict(), f.Errors)
			}
			warm, posts := time.UnixMilli(st.LastToken).Sub(begin), st.TokenPosts
			log.Printf("tokens: %s: warm after %.1f s, %d POSTs", name, warm.Seconds(), posts)

			// The window begins when the first refresh ahead may come, and
			// takes in the end.
			warmup := time.Second
			if expire {
				warmup = max(warmup, time.Until(end.Add(10*time.Second-window)))
			}
			res, st, err = e.runLoad(ctx, loadSetup{
				Addr: gw.smtp, TLS: "off", Mode: smtp.ModePipeline, Clients: 200, Accounts: accounts, PerConn: 1, Size: 4096,
				Rate: rate, Warmup: warmup, Window: window,
			}, gw)
			if err != nil {
				return err
			}
			f := newFigure(res, st)
			t.Failed = t.Failed || f.Failed
			errs := 0
			for what, n := range f.Errors {
				errs += n
				log.Printf("  %d x %s", n, what)
			}
			t.Rows = append(t.Rows, []string{
				name, fmt.Sprintf("%.0f", f.Rate), fmt.Sprintf("%.2f", f.Latency.P50), fmt.Sprintf("%.2f", f.Latency.P95),
				fmt.Sprintf("%.2f", f.Latency.P99), fmt.Sprintf("%.2f", f.Latency.Max), strconv.Itoa(errs),
				fmt.Sprintf("%.1f", warm.Seconds()), strconv.FormatInt(posts, 10), strconv.FormatInt(st.TokenPosts, 10), strconv.FormatInt(st.Parallel, 10),
				fmt.Sprintf("%d = %d", f.Sent, f.Delivered), f.verdict(),
			})
			log.Printf("tokens: %s: p99 %.2f ms, %d POSTs, at most %d at a time", name, f.Latency.P99, st.TokenPosts, st.Parallel)
			return nil
		}()
		if err != nil {
			return err
		}
	}
	rep.add(t)
	return e.policy(ctx, sink.Policy{})
}
