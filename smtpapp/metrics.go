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

package smtpapp

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddymail/mailgateway/internal/registry"
	"github.com/caddymail/mailgateway/messagelog"
)

// metrics are the process's collectors: they outlive configurations, and are
// registered anew in each one's registry. Labels come from closed sets.
type metrics struct {
	sessions   *prometheus.CounterVec
	sessionsUp *prometheus.GaugeVec
	auths      *prometheus.CounterVec
	messages   *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	bytes      *prometheus.CounterVec
}

var processMetrics = newMetrics()

func newMetrics() *metrics {
	const ns, sub = "caddy", "smtp"
	return &metrics{
		sessions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub, Name: "sessions_total",
			Help: "Client connections that have ended, by how.",
		}, []string{"server", "result"}),
		sessionsUp: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: ns, Subsystem: sub, Name: "sessions_active",
			Help: "Client connections at the moment.",
		}, []string{"server"}),
		auths: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub, Name: "auth_total",
			Help: "Client logins, by result.",
		}, []string{"server", "result"}),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub, Name: "messages_total",
			Help: "Messages, by the class of the final reply.",
		}, []string{"server", "upstream", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: ns, Subsystem: sub, Name: "message_duration_seconds",
			Help:    "Time from MAIL to the final reply.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"server", "upstream"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub, Name: "message_bytes_total",
			Help: "Octets of messages that the upstream accepted.",
		}, []string{"server", "upstream"}),
	}
}

// register puts the collectors into a configuration's registry.
func (m *metrics) register(r *prometheus.Registry) error {
	return registry.Register(r, m.sessions, m.sessionsUp, m.auths, m.messages, m.duration, m.bytes, messagelog.Collector())
}

func (m *metrics) session(server string, end ending) {
	m.sessions.WithLabelValues(server, string(end)).Inc()
}

func (m *metrics) active(server string, n float64) {
	m.sessionsUp.WithLabelValues(server).Add(n)
}

func (m *metrics) auth(server, result string) {
	m.auths.WithLabelValues(server, result).Inc()
}

// meter counts the messages of one server and upstream. The collectors are
// looked up once, not for each message.
type meter struct {
	codes    [6]prometheus.Counter // by the code's first digit
	duration prometheus.Observer
	bytes    prometheus.Counter
}

func (m *metrics) meter(server, upstream string) *meter {
	mt := &meter{
		duration: m.duration.WithLabelValues(server, upstream),
		bytes:    m.bytes.WithLabelValues(server, upstream),
	}
	for i := range mt.codes {
		class := "other"
		if i == 2 || i == 4 || i == 5 {
			class = string(rune('0'+i)) + "xx"
		}
		mt.codes[i] = m.messages.WithLabelValues(server, upstream, class)
	}
	return mt
}

func (m *meter) count(code int, took time.Duration, size int64) {
	class := code / 100
	if class < 0 || class >= len(m.codes) {
		class = 0
	}
	m.codes[class].Inc()
	m.duration.Observe(took.Seconds())
	if class == 2 {
		m.bytes.Add(float64(size))
	}
}

// meter returns the meter for an upstream. Upstreams are as many as are
// configured: an account's, or what a transaction says of itself.
func (g *generation) meter(upstream string) *meter {
	if m, ok := g.meters.Load(upstream); ok {
		return m.(*meter)
	}
	m, _ := g.meters.LoadOrStore(upstream, g.metrics.meter(g.name, upstream))
	return m.(*meter)
}
