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

package spool

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddymail/mailgateway/internal/registry"
)

// collector counts when it is asked: what it shows is what the spools know of
// themselves.
type collector struct{}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("caddy_smtp_spool_"+name, help, append([]string{"spool"}, labels...), nil)
}

var (
	messagesDesc = desc("messages", "Messages in the spool, by state.", "state")
	octetsDesc   = desc("bytes", "Octets of the messages in the spool.")
	oldestDesc   = desc("oldest_seconds", "Age of the oldest message in the spool; 0 without one.")
	upDesc       = desc("up", "1 while the spool accepts messages; 0 after a failed sync, or while another process has its directory, or it is not where it was.")
	resultsDesc  = desc("results_total", "What came of messages and attempts.", "result")
)

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{messagesDesc, octetsDesc, oldestDesc, upDesc, resultsDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	seen := make(map[string]bool)
	for _, st := range Statuses() {
		// While a reload moves a spool to another directory there are two of a
		// name.
		if seen[st.Upstream] {
			continue
		}
		seen[st.Upstream] = true
		gauge(messagesDesc, float64(st.Messages-st.Held-st.Sending), st.Upstream, "waiting")
		gauge(messagesDesc, float64(st.Sending), st.Upstream, "sending")
		gauge(messagesDesc, float64(st.Held), st.Upstream, "held")
		gauge(octetsDesc, float64(st.Octets), st.Upstream)
		up := 0.0
		if st.Ready && st.Error == "" {
			up = 1
		}
		gauge(oldestDesc, st.age.Seconds(), st.Upstream)
		gauge(upDesc, up, st.Upstream)
		for _, result := range results {
			ch <- prometheus.MustNewConstMetric(resultsDesc, prometheus.CounterValue, float64(st.Results[result]), st.Upstream, result)
		}
	}
}

func registerMetrics(reg *prometheus.Registry) error {
	return registry.Register(reg, collector{})
}
