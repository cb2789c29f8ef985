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

package upstreampool

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// Values of the label of limited_total.
const (
	limitedWaited    = "waited"
	limitedRefused   = "refused"
	limitedQueueFull = "queue_full"
	limitedBackoff   = "backoff"
)

// The collectors are the process's: they outlive configurations and are
// registered in the registry of each.
var (
	dialsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "smtp", Name: "upstream_dials_total",
		Help: "Connections opened to the upstream, by result.",
	}, []string{"upstream", "result"})
	waitSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "caddy", Subsystem: "smtp", Name: "upstream_wait_seconds",
		Help:    "Time that messages waited for quota and a connection.",
		Buckets: []float64{.001, .005, .025, .1, .5, 1, 2.5, 5, 10, 20, 60},
	}, []string{"upstream"})
	limitedTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "smtp", Name: "limited_total",
		Help: "Messages that met a limit, by what became of them.",
	}, []string{"upstream", "result"})
)

// connectionsCollector counts when it is asked, so that lending a connection
// costs nothing.
type connectionsCollector struct{ desc *prometheus.Desc }

var connections = connectionsCollector{prometheus.NewDesc(
	"caddy_smtp_upstream_connections", "Connections to the upstream, by state.",
	[]string{"upstream", "state"}, nil,
)}

// Describe implements prometheus.Collector.
func (c connectionsCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c connectionsCollector) Collect(ch chan<- prometheus.Metric) {
	for _, u := range live() {
		n := u.count()
		for _, v := range [...]struct {
			state string
			n     int
		}{{"idle", n.Idle}, {"busy", n.Busy}, {"opening", n.Opening}} {
			ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(v.n), u.name, v.state)
		}
	}
}

func registerMetrics(reg *prometheus.Registry) error {
	if reg == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{dialsTotal, waitSeconds, limitedTotal, connections} {
		if err := reg.Register(c); err != nil {
			if _, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); !ok {
				return err
			}
		}
	}
	return nil
}

// upstreamMetrics are the collectors with the upstream's label filled in.
type upstreamMetrics struct {
	wait  prometheus.Observer
	dials map[string]prometheus.Counter
	limit map[string]prometheus.Counter
}

func newUpstreamMetrics(name string) *upstreamMetrics {
	m := &upstreamMetrics{
		wait:  waitSeconds.WithLabelValues(name),
		dials: make(map[string]prometheus.Counter),
		limit: make(map[string]prometheus.Counter),
	}
	m.dials["ok"] = dialsTotal.WithLabelValues(name, "ok")
	for c := range smtpclient.Classes {
		m.dials[c.String()] = dialsTotal.WithLabelValues(name, c.String())
	}
	for _, r := range []string{limitedWaited, limitedRefused, limitedQueueFull, limitedBackoff} {
		m.limit[r] = limitedTotal.WithLabelValues(name, r)
	}
	return m
}

func (m *upstreamMetrics) dial(result string)    { m.dials[result].Inc() }
func (m *upstreamMetrics) limited(result string) { m.limit[result].Inc() }
