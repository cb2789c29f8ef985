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

// Package gauges is the metrics of spools, which count when they are asked: what they
// show is what the spools know of themselves.
package gauges

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddymail/mailgateway/internal/registry"
)

// Results are what may come of messages and attempts.
var Results = []string{"accepted", "sent", "refused", "deferred", "handed_over", "given_up", "held", "deleted"}

// Spool is what is shown of one.
type Spool struct {
	Name                   string
	Waiting, Sending, Held int
	Octets                 int64
	Oldest                 time.Duration
	Up                     bool
	Troubles               map[string]bool // by check: all that there may be
	Results                map[string]int64
}

// collector asks for the spools.
type collector func() []Spool

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("caddy_smtp_spool_"+name, help, append([]string{"spool"}, labels...), nil)
}

var (
	messagesDesc = desc("messages", "Messages in the spool, by state.", "state")
	octetsDesc   = desc("bytes", "Octets of the messages in the spool.")
	oldestDesc   = desc("oldest_seconds", "Age of the oldest message in the spool; 0 without one.")
	upDesc       = desc("up", "1 while the spool accepts messages; 0 after a failed sync, or while another process has its directory, or it is not where it was.")
	troubleDesc  = desc("trouble", "1 while that is wrong with the spool; the label is the check of `/smtp/problems`.", "check")
	resultsDesc  = desc("results_total", "What came of messages and attempts.", "result")
)

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{messagesDesc, octetsDesc, oldestDesc, upDesc, troubleDesc, resultsDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	seen := make(map[string]bool)
	for _, s := range c() {
		// While a reload moves a spool to another directory there are two of a
		// name.
		if seen[s.Name] {
			continue
		}
		seen[s.Name] = true
		gauge(messagesDesc, float64(s.Waiting), s.Name, "waiting")
		gauge(messagesDesc, float64(s.Sending), s.Name, "sending")
		gauge(messagesDesc, float64(s.Held), s.Name, "held")
		gauge(octetsDesc, float64(s.Octets), s.Name)
		gauge(oldestDesc, s.Oldest.Seconds(), s.Name)
		gauge(upDesc, number(s.Up), s.Name)
		for check, wrong := range s.Troubles {
			gauge(troubleDesc, number(wrong), s.Name, check)
		}
		for _, result := range Results {
			ch <- prometheus.MustNewConstMetric(resultsDesc, prometheus.CounterValue, float64(s.Results[result]), s.Name, result)
		}
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Register registers the metrics of the spools that a function returns.
func Register(reg *prometheus.Registry, spools func() []Spool) error {
	return registry.Register(reg, collector(spools))
}
