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

import "fmt"

// target is one figure that the project wants, and what this run gave. A
// missed target does not fail the run: the machine may be busy.
type target struct {
	Name     string  `json:"name"`
	Measured float64 `json:"measured"`
	Unit     string  `json:"unit,omitempty"`
	Limit    float64 `json:"limit"`
	Aim      float64 `json:"aim,omitempty"`
	// AtLeast says that more is better.
	AtLeast bool `json:"at_least,omitempty"`
}

func (t *target) met(limit float64) bool {
	if t.AtLeast {
		return t.Measured >= limit
	}
	return t.Measured <= limit
}

func (t *target) row() []string {
	sign := "at most"
	if t.AtLeast {
		sign = "at least"
	}
	aim, verdict := "-", "**missed**"
	if t.Aim != 0 {
		aim = fmt.Sprintf("%g", t.Aim)
	}
	switch {
	case t.Aim != 0 && t.met(t.Aim):
		verdict = "aim reached"
	case t.met(t.Limit):
		verdict = "met"
	}
	return []string{t.Name, fmt.Sprintf("%.2f %s", t.Measured, t.Unit), fmt.Sprintf("%s %g", sign, t.Limit), aim, verdict}
}

func (rep *report) target(t target) { rep.Targets = append(rep.Targets, &t) }

// speedTargets are those of the speed rows.
func (rep *report) speedTargets() {
	for _, l := range rep.Speed {
		m := l.Median
		switch l.Group + "/" + l.Via {
		case groupClosed + "/" + viaFaithful:
			if l.OfDirect > 0 {
				rep.target(target{Name: "faithful, 4 KiB: of DIRECT", Measured: l.OfDirect, Limit: 0.40, Aim: 0.50, AtLeast: true})
			}
			rep.target(target{Name: "faithful, 4 KiB: gateway's CPU a message", Measured: m.CPU * 1000, Unit: "us", Limit: 70, Aim: 45})
		case groupClosed + "/" + viaDeferred:
			if l.OfDirect > 0 {
				rep.target(target{Name: "deferred, 4 KiB: of DIRECT", Measured: l.OfDirect, Limit: 0.50, Aim: 0.60, AtLeast: true})
			}
		case groupBig + "/" + viaFaithful:
			if l.OfDirect > 0 {
				rep.target(target{Name: "faithful, 100 KiB: of DIRECT", Measured: l.OfDirect, Limit: 0.45, Aim: 0.60, AtLeast: true})
			}
		case groupOpen + "/" + viaFaithful:
			rep.target(target{Name: "faithful, 833 msg/s: p95 over DIRECT's", Measured: l.AddedP95, Unit: "ms", Limit: 5, Aim: 3})
		case groupRTT + "/" + viaFaithful:
			rep.target(target{Name: "faithful: round trips a message", Measured: m.RoundTrips, Limit: 2})
			rep.target(target{Name: "faithful, 30 ms a round trip: p95 over two of them", Measured: m.Latency.P95 - 60, Unit: "ms", Limit: 5})
		case groupRTT + "/" + viaDeferred:
			rep.target(target{Name: "deferred: round trips a message", Measured: m.RoundTrips, Limit: 1})
			rep.target(target{Name: "deferred, 30 ms a round trip: p95 over one of them", Measured: m.Latency.P95 - 30, Unit: "ms", Limit: 5})
		}
	}
}

// targetTable is the report's first table.
func (rep *report) targetTable() *table {
	t := &table{Title: "Targets", Columns: []string{"figure", "measured", "target", "aim", ""}}
	for _, x := range rep.Targets {
		t.Rows = append(t.Rows, x.row())
	}
	return t
}
