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

package e2e

import "github.com/caddymail/mailgateway/sandbox"

// faultCase is one fault. An outcome is the codes of the replies to two RCPTs
// and to the message, "-" for none, and is matched by a regular expression.
type faultCase struct {
	stage  string
	fault  sandbox.Fault
	hang   bool // the gateway's own timeouts decide
	fresh  string
	pooled string
	large  bool // needs a body that streams

	implicit     bool // TLS from the first byte
	noPipelining bool // of the provider
	// arm and pooledArm are for what is no fault of one connection.
	arm, pooledArm func(*sandbox.Sandbox)
}

const (
	none     = `^4\d\d 4\d\d -$`               // nothing was accepted
	sent     = `^250 250 250$`                 // as if nothing had happened
	either   = `^(4\d\d 4\d\d -|250 250 250)$` // nothing was committed, so both are right
	lostLate = `^250 250 4\d\d$`               // lost with the message
	lostRcpt = `^250 4\d\d 4\d\d$`             // lost at the second RCPT
	// A connection that ends before the message may be replaced, the envelope said again.
	againRcpt = `^250 (4\d\d 4\d\d|250 250)$`
	againLate = `^250 250 (4\d\d|250)$`
)

const (
	reply421 = "421 4.3.2 Service shutting down"
	reply432 = "432 4.3.2 Concurrent connections limit exceeded"
	reply454 = "454 4.7.0 Too many login attempts"
	reply535 = "535 5.7.3 Authentication unsuccessful"
	reply334 = "334 eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiQmVhcmVyIn0="
)

func replyFault(stage, text string, nth int) sandbox.Fault {
	return sandbox.Fault{Stage: stage, Action: "reply", Reply: text, Nth: nth}
}

// faultCases lists them for one framing of the upstream.
func faultCases(framing string) []faultCase {
	var cases []faultCase
	add := func(c faultCase) {
		c.hang = c.hang || c.fault.Action == "hang"
		if c.stage == "" {
			c.stage = c.fault.Stage
		}
		if c.pooled == "" {
			c.pooled = c.fresh
		}
		cases = append(cases, c)
	}
	drop := func(s *sandbox.Sandbox) { s.DropConns(false) }
	if framing == "bdat" { // what comes before a body has no framing
		add(faultCase{
			stage: "connection refused", fresh: none,
			arm:       func(s *sandbox.Sandbox) { _ = s.SetListening(false) },
			pooledArm: func(s *sandbox.Sandbox) { _ = s.SetListening(false); s.DropConns(false) },
		})
		for _, f := range []sandbox.Fault{
			{Stage: "connect", Action: "refuse"},
			{Stage: "connect", Action: "hang"},
			replyFault("banner", reply421, 0),
			replyFault("banner", "554 5.7.1 No", 0),
			{Stage: "banner", Action: "close"},
			{Stage: "banner", Action: "reset"},
			{Stage: "banner", Action: "garbage"},
			{Stage: "banner", Action: "endless_multiline"},
			{Stage: "banner", Action: "long_line"},
			replyFault("ehlo", reply421, 0),
			{Stage: "ehlo", Action: "reset"},
			{Stage: "ehlo", Action: "garbage"},
			{Stage: "ehlo", Action: "endless_multiline"},
			{Stage: "ehlo", Action: "hang"},
			replyFault("starttls", "454 4.7.0 TLS not available", 0),
			{Stage: "starttls", Action: "close"},
			{Stage: "starttls", Action: "garbage"},
			{Stage: "tls", Action: "close"},
			{Stage: "tls", Action: "reset"},
			{Stage: "tls", Action: "garbage"},
			{Stage: "tls", Action: "hang"},
			{Stage: "tls", Action: "wrong_certificate"},
			replyFault("auth", reply334, 0),
			replyFault("auth", reply535, 0),
			replyFault("auth", reply432, 0),
			replyFault("auth", reply454, 0),
			replyFault("auth", reply421, 0),
			{Stage: "auth", Action: "reset"},
			{Stage: "auth", Action: "garbage"},
			{Stage: "auth", Action: "endless_multiline"},
			{Stage: "auth", Action: "long_line"},
			{Stage: "auth", Action: "hang"},
		} {
			// A pooled connection is lost, and its replacement meets the fault.
			add(faultCase{fault: f, fresh: none, pooledArm: drop})
		}
		for _, action := range []string{"close", "reset", "garbage", "hang", "wrong_certificate"} {
			add(faultCase{stage: "implicit tls", implicit: true, fault: sandbox.Fault{Stage: "tls", Action: action}, fresh: none, pooledArm: drop})
		}
		// 421, an end and a reset before MAIL.
		for _, f := range []sandbox.Fault{replyFault("ready", reply421, 0), {Stage: "ready", Action: "close"}, {Stage: "ready", Action: "reset"}} {
			f.Conn = "fresh"
			add(faultCase{fault: f, fresh: none, pooled: none, pooledArm: drop})
		}
		add(faultCase{stage: "idle 421", fresh: sent, pooled: sent, pooledArm: func(s *sandbox.Sandbox) { s.Farewell(reply421) }})
		add(faultCase{stage: "idle close", fresh: sent, pooled: sent, pooledArm: drop})
		add(faultCase{stage: "idle reset", fresh: sent, pooled: sent, pooledArm: func(s *sandbox.Sandbox) { s.DropConns(true) }})
	}
	addEnvelope := func(c faultCase) {
		// A provider without PIPELINING hears one command at a time.
		c.noPipelining = framing == "data"
		add(c)
	}
	for _, stage := range []string{"mail", "rcpt"} {
		nth := 0
		if stage == "rcpt" {
			nth = 1
		}
		addEnvelope(faultCase{fault: replyFault(stage, reply421, nth), fresh: none, pooled: either})
		for _, action := range []string{"close", "reset"} {
			c := faultCase{fault: sandbox.Fault{Stage: stage, Action: action, Nth: nth}, fresh: none, pooled: sent}
			if stage == "rcpt" {
				c.pooled = either // MAIL has had its answer
			}
			addEnvelope(c)
		}
		for _, action := range []string{"garbage", "endless_multiline", "long_line", "hang"} {
			addEnvelope(faultCase{fault: sandbox.Fault{Stage: stage, Action: action, Nth: nth}, fresh: none, pooled: either})
		}
	}
	addEnvelope(faultCase{fault: replyFault("mail", "450 4.2.1 Later", 0), fresh: `^450 450 -$`})
	addEnvelope(faultCase{fault: replyFault("mail", "550 5.7.1 No", 0), fresh: `^550 550 -$`})
	addEnvelope(faultCase{fault: replyFault("rcpt", "450 4.2.1 Later", 1), fresh: `^450 250 250$`})
	addEnvelope(faultCase{fault: replyFault("rcpt", "550 5.1.1 No", 1), fresh: `^550 250 250$`})
	addEnvelope(faultCase{fault: replyFault("rcpt", "450 4.2.1 Later", 2), fresh: `^250 450 250$`})
	addEnvelope(faultCase{fault: replyFault("rcpt", "550 5.1.1 No", 2), fresh: `^250 550 250$`})
	addEnvelope(faultCase{fault: replyFault("rcpt", reply421, 2), fresh: lostRcpt, pooled: againRcpt})
	for _, action := range []string{"close", "reset"} {
		addEnvelope(faultCase{fault: sandbox.Fault{Stage: "rcpt", Action: action, Nth: 2}, fresh: lostRcpt, pooled: againRcpt})
	}
	for _, action := range []string{"garbage", "endless_multiline", "long_line", "hang"} {
		addEnvelope(faultCase{fault: sandbox.Fault{Stage: "rcpt", Action: action, Nth: 2}, fresh: lostRcpt})
	}
	stage := framing // of the command: data or bdat
	for _, large := range []bool{false, true} {
		// A connection that ends at DATA, or amid a first chunk that is not the
		// last, has committed nothing: the message may go out again, and does if
		// the end is seen in the write. What is one chunk is in doubt.
		endPooled := lostLate
		if stage == "data" || large {
			endPooled = againLate
		}
		add(faultCase{fault: replyFault(stage, reply421, 0), fresh: lostLate, pooled: endPooled, large: large})
		add(faultCase{fault: replyFault(stage, "451 4.3.0 Later", 0), fresh: `^250 250 451$`, large: large})
		add(faultCase{fault: replyFault(stage, "554 5.7.1 No", 0), fresh: `^250 250 554$`, large: large})
		for _, action := range []string{"close", "reset"} {
			add(faultCase{fault: sandbox.Fault{Stage: stage, Action: action}, fresh: lostLate, pooled: endPooled, large: large})
		}
		for _, action := range []string{"garbage", "endless_multiline", "hang"} {
			add(faultCase{fault: sandbox.Fault{Stage: stage, Action: action}, fresh: lostLate, large: large})
		}
		// A reply that is good but for its 4 MiB may be taken for what it is.
		add(faultCase{fault: sandbox.Fault{Stage: stage, Action: "long_line"}, fresh: `^250 250 [24]\d\d$`, large: large})

		add(faultCase{fault: replyFault("end", reply421, 0), fresh: lostLate, large: large})
		add(faultCase{fault: replyFault("end", "451 4.3.0 Later", 0), fresh: `^250 250 451$`, large: large})
		add(faultCase{fault: replyFault("end", "554 5.7.1 No", 0), fresh: `^250 250 554$`, large: large})
		for _, action := range []string{"close", "reset", "garbage", "endless_multiline", "hang", "drop_after_accept"} {
			add(faultCase{fault: sandbox.Fault{Stage: "end", Action: action}, fresh: lostLate, large: large})
		}
		add(faultCase{fault: sandbox.Fault{Stage: "end", Action: "long_line"}, fresh: `^250 250 [24]\d\d$`, large: large})
	}
	if framing == "bdat" {
		// Amid the chunks of a message that takes several.
		add(faultCase{fault: replyFault("bdat", "452 4.3.1 Insufficient storage", 2), fresh: `^250 250 452$`, large: true})
		add(faultCase{fault: replyFault("bdat", "554 5.7.1 No", 2), fresh: `^250 250 554$`, large: true})
		for _, action := range []string{"close", "reset", "garbage", "hang"} {
			add(faultCase{fault: sandbox.Fault{Stage: "bdat", Action: action, Nth: 2}, fresh: lostLate, large: true})
		}
	}
	// A provider that has its last word amid the body may be heard or not.
	add(faultCase{fault: sandbox.Fault{Stage: "body", Action: "reply", Reply: "552 5.3.4 Too big", AfterBytes: largeBody / 2}, fresh: `^250 250 (552|4\d\d)$`, large: true})
	for _, f := range []sandbox.Fault{
		replyFault("body", reply421, 0), {Stage: "body", Action: "close"}, {Stage: "body", Action: "reset"}, {Stage: "body", Action: "hang"},
	} {
		f.AfterBytes = largeBody / 2
		add(faultCase{fault: f, fresh: lostLate, large: true})
	}
	return cases
}
