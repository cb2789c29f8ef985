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

// Package meter has the Prometheus metrics of upstreams. The collectors are the
// process's: they outlive configurations and are registered in the registry of
// each. An upstream fills in its name once (New), so that counting looks up no
// label. It imports smtpclient for the classes of what failed.
package meter

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddymail/mailgateway/internal/registry"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// What becomes of a message that meets a limit.
const (
	Waited    = "waited"
	Refused   = "refused"
	QueueFull = "queue_full"
	Backoff   = "backoff"
)

var (
	dials = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "smtp", Name: "upstream_dials_total",
		Help: "Connections opened to the upstream, by result.",
	}, []string{"upstream", "result"})
	waits = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "caddy", Subsystem: "smtp", Name: "upstream_wait_seconds",
		Help:    "Time that messages waited for quota and a connection.",
		Buckets: []float64{.001, .005, .025, .1, .5, 1, 2.5, 5, 10, 20, 60},
	}, []string{"upstream"})
	limited = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "smtp", Name: "limited_total",
		Help: "Messages that met a limit, by what became of them.",
	}, []string{"upstream", "result"})
)

// Connections are an upstream's at one moment.
type Connections struct {
	Upstream            string
	Idle, Busy, Opening int
}

// connections counts when it is asked, so that lending a connection costs nothing.
type connections struct {
	desc *prometheus.Desc
	all  func() []Connections
}

// Describe implements prometheus.Collector.
func (c connections) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c connections) Collect(ch chan<- prometheus.Metric) {
	for _, n := range c.all() {
		for _, v := range [...]struct {
			state string
			n     int
		}{{"idle", n.Idle}, {"busy", n.Busy}, {"opening", n.Opening}} {
			ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(v.n), n.Upstream, v.state)
		}
	}
}

// Register registers the collectors. It calls all when the connections are asked
// for.
func Register(reg *prometheus.Registry, all func() []Connections) error {
	return registry.Register(reg, dials, waits, limited, connections{prometheus.NewDesc(
		"caddy_smtp_upstream_connections", "Connections to the upstream, by state.",
		[]string{"upstream", "state"}, nil,
	), all})
}

// Upstream counts for one upstream.
type Upstream struct {
	wait  prometheus.Observer
	dials map[string]prometheus.Counter
	limit map[string]prometheus.Counter
}

// New fills in an upstream's name.
func New(name string) *Upstream {
	m := &Upstream{
		wait:  waits.WithLabelValues(name),
		dials: map[string]prometheus.Counter{"ok": dials.WithLabelValues(name, "ok")},
		limit: make(map[string]prometheus.Counter),
	}
	for c := range smtpclient.Classes {
		m.dials[c.String()] = dials.WithLabelValues(name, c.String())
	}
	for _, r := range []string{Waited, Refused, QueueFull, Backoff} {
		m.limit[r] = limited.WithLabelValues(name, r)
	}
	return m
}

// Opened counts a connection that was opened.
func (m *Upstream) Opened() { m.dials["ok"].Inc() }

// Failed counts a connection that could not be opened.
func (m *Upstream) Failed(c smtpclient.Class) { m.dials[c.String()].Inc() }

// Limited counts a message that met a limit, by what became of it.
func (m *Upstream) Limited(result string) { m.limit[result].Inc() }

// Wait notes how long a message waited for quota and a connection.
func (m *Upstream) Wait(d time.Duration) { m.wait.Observe(d.Seconds()) }
