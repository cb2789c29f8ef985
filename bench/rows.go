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
	"time"

	"github.com/caddymail/mailgateway/bench/smtp"
)

// speedRow is one row of the speed tables.
type speedRow struct {
	group string
	via   string
	load  loadSetup
	rtt   time.Duration
	tls   string // of the gateway's clients
	once  bool   // one repetition is enough: a latency at low load
	// before has the row run with the binary that another is compared with.
	before bool
}

// name is the row's name in the report.
func (r *speedRow) name() string {
	if r.before {
		return beforePrefix + r.via
	}
	return r.via
}

const beforePrefix = "before: "

// speedRows are the rows in the order of the report; those of a group are
// interleaved.
func speedRows(e *env) []speedRow {
	base := loadSetup{
		Mode: smtp.ModePipeline, Clients: e.o.clients, Accounts: e.o.accounts, PerConn: 100, Size: 4096,
		Warmup: e.o.warmup, Window: e.o.window,
	}
	big := base
	big.Size = 100 << 10
	serial := base
	serial.Mode = smtp.ModeSerial
	bdat := base
	bdat.Mode = smtp.ModeBDAT
	open := base
	open.Rate = 833
	rtt := open
	rtt.Rate, rtt.Clients = 100, 20
	// As many bodies as clients are in the gateway at a time, since each answer
	// takes its time; a mailbox may have few of this size.
	flight := base
	flight.Size, flight.Clients, flight.Accounts, flight.PerConn = 2_900_000, 100, 1000, 1
	delay := 500 * time.Millisecond
	if e.o.short {
		flight.Clients, flight.Accounts = 10, 100
		delay = 50 * time.Millisecond
	}
	flight.Warmup = max(flight.Warmup, 15*delay) // a first message has many flights
	rttOne := rtt
	rttOne.Mode = smtp.ModeBDAT

	rows := []speedRow{
		{group: groupClosed, via: viaDirect, load: base},
		{group: groupClosed, via: viaHAProxy, load: base},
		{group: groupClosed, via: viaFaithful, load: base},
		{group: groupClosed, via: viaDeferred, load: base},
		{group: groupClosed, via: viaSpool, load: base},
		{group: groupClosed, via: viaGraph, load: base},
		{group: groupClosed, via: viaGmail, load: base},
		{group: groupClosed, via: viaPostfix, load: base, once: true},
		{group: groupBig, via: viaDirect, load: big},
		{group: groupBig, via: viaHAProxy, load: big},
		{group: groupBig, via: viaFaithful, load: big},
		{group: groupBig, via: viaDeferred, load: big},
		{group: groupOpen, via: viaDirect, load: open},
		{group: groupOpen, via: viaFaithful, load: open},
		{group: groupOpen, via: viaDeferred, load: open},
		{group: groupRTT, via: viaDirect, load: rtt, rtt: 30 * time.Millisecond, once: true},
		{group: groupRTT, via: viaOneFlight, load: rttOne, rtt: 30 * time.Millisecond, once: true},
		{group: groupRTT, via: viaFaithful, load: rtt, rtt: 30 * time.Millisecond, once: true},
		{group: groupRTT, via: viaDeferred, load: rtt, rtt: 30 * time.Millisecond, once: true},
		{group: groupFlight, via: viaDirect, load: flight, rtt: delay, once: true},
		{group: groupFlight, via: viaFaithful, load: flight, rtt: delay, once: true},
		{group: groupFlight, via: viaGraph, load: flight, rtt: delay, once: true},
		{group: groupFlight, via: viaGmail, load: flight, rtt: delay, once: true},
	}
	if e.o.short {
		return rows
	}
	sized := func(size, clients int) loadSetup {
		l := base
		l.Size, l.Clients, l.PerConn = size, clients, 10
		return l
	}
	mib, tenMiB := sized(1<<20, 16), sized(10<<20, 8)
	each, one, many, cold := base, base, base, base
	each.PerConn, one.Clients, many.Clients = 1, 1, 500
	cold.PerConn, cold.Clients, cold.Accounts, cold.Messages, cold.Warmup, cold.Window = 1, 64, coldAccounts, coldAccounts, 0, 0
	rows = append(rows,
		speedRow{group: groupClosed, via: viaNginx, load: base},
		speedRow{group: groupMiB, via: viaDirect, load: mib},
		speedRow{group: groupMiB, via: viaHAProxy, load: mib},
		speedRow{group: groupMiB, via: viaFaithful, load: mib},
		speedRow{group: groupTenMiB, via: viaDirect, load: tenMiB},
		speedRow{group: groupTenMiB, via: viaHAProxy, load: tenMiB},
		speedRow{group: groupTenMiB, via: viaFaithful, load: tenMiB},
		speedRow{group: groupEach, via: viaDirect, load: each},
		speedRow{group: groupEach, via: viaHAProxy, load: each},
		speedRow{group: groupEach, via: viaFaithful, load: each},
		speedRow{group: groupEachTLS, via: viaDirect, load: each},
		speedRow{group: groupEachTLS, via: viaFaithful, load: each, tls: "starttls"},
		speedRow{group: groupCold, via: viaOwnToken, load: cold},
		speedRow{group: groupCold, via: viaFaithful, load: cold},
		speedRow{group: groupOne, via: viaDirect, load: one},
		speedRow{group: groupOne, via: viaFaithful, load: one},
		speedRow{group: groupMany, via: viaDirect, load: many},
		speedRow{group: groupMany, via: viaFaithful, load: many},
	)
	return append(rows,
		speedRow{group: groupOpen, via: viaGraph, load: open},
		speedRow{group: groupOpen, via: viaGmail, load: open},
		speedRow{group: groupClosed, via: viaSpoolDeferred, load: base},
		speedRow{group: groupClosed, via: viaSpoolAlways, load: base},
		speedRow{group: groupBig, via: viaSpoolAlways, load: big},
		speedRow{group: groupClosed, via: viaBuffered, load: base},
		speedRow{group: groupClosed, via: viaLong, load: base},
		speedRow{group: groupClosed, via: viaScraped, load: base},
		speedRow{group: groupSerial, via: viaDirect, load: serial},
		speedRow{group: groupSerial, via: viaFaithful, load: serial},
		speedRow{group: groupSerial, via: viaDeferred, load: serial},
		speedRow{group: groupBDAT, via: viaDirect, load: bdat},
		speedRow{group: groupBDAT, via: viaFaithful, load: bdat},
		speedRow{group: groupBDAT, via: viaDeferred, load: bdat},
		speedRow{group: groupTLS, via: viaDirect, load: base},
		speedRow{group: groupTLS, via: viaFaithful, load: base, tls: "implicit"},
		speedRow{group: groupTLS, via: viaDeferred, load: base, tls: "implicit"},
	)
}

// Groups of rows; each has its own DIRECT.
const (
	groupClosed = "closed-4k"
	groupBig    = "closed-100k"
	groupOpen   = "open-833"
	groupRTT    = "rtt-30ms"
	groupSerial = "closed-4k-serial"
	groupBDAT   = "closed-4k-bdat"
	groupTLS    = "closed-4k-tls"
	groupFlight = "flight-3m"

	groupMiB     = "closed-1m"
	groupTenMiB  = "closed-10m"
	groupEach    = "each-4k"
	groupEachTLS = "each-4k-starttls"
	groupCold    = "cold"
	groupOne     = "closed-4k-1-client"
	groupMany    = "closed-4k-500-clients"
)

// coldAccounts is the number of accounts that send their first message.
const coldAccounts = 3000

// groupTitles say what a group measures.
var groupTitles = map[string]string{
	groupClosed: "closed loop, 4 KiB, clients pipeline (MAIL+RCPT+DATA, body), plaintext in",
	groupBig:    "closed loop, 100 KiB, clients pipeline, plaintext in",
	groupOpen:   "open loop, 833 msg/s, 4 KiB, latency from the intended start",
	groupRTT:    "open loop, 100 msg/s, 4 KiB, 30 ms injected at the sink",
	groupSerial: "closed loop, 4 KiB, clients without PIPELINING, plaintext in",
	groupBDAT:   "closed loop, 4 KiB, clients with BDAT (one flight a message), plaintext in",
	groupTLS:    "closed loop, 4 KiB, clients pipeline, implicit TLS in",
	groupFlight: "closed loop, 2.9 MB, 100 clients with a message a connection (10 with -short), so many bodies in flight since 500 ms (50) are injected at the sink: see the memory",

	groupMiB:     "closed loop, 1 MiB, 16 clients pipeline, plaintext in",
	groupTenMiB:  "closed loop, 10 MiB, 8 clients pipeline, plaintext in",
	groupEach:    "closed loop, 4 KiB, one message a client connection, plaintext in",
	groupEachTLS: "closed loop, 4 KiB, one message a client connection, STARTTLS in",
	groupCold:    "3,000 accounts, each with its first message: token, login, 4 KiB; \"msg/s\" are accounts a second",
	groupOne:     "closed loop, 4 KiB, one client",
	groupMany:    "closed loop, 4 KiB, 500 clients",
}
