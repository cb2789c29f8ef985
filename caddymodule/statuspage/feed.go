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

package statuspage

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/upstreamapp"
)

// statusSnapshot is what the status page shows at one moment.
type statusSnapshot struct {
	Time time.Time `json:"time"`
	// Interval is the time between two snapshots, in seconds.
	Interval float64 `json:"interval"`
	// PerSecond are messages in the last interval, by the class of the
	// final reply; null where there is nothing to compare with, since
	// nobody was watching. Total are those since the process started.
	PerSecond map[string]float64 `json:"per_second"`
	Total     map[string]float64 `json:"total"`
	// Latency is the time from MAIL to the final reply in the last
	// interval, in seconds, as the histogram's buckets tell it.
	Latency   map[string]float64           `json:"latency"`
	Sessions  float64                      `json:"sessions"`
	Logins    map[string]float64           `json:"logins"`
	Limited   map[string]float64           `json:"limited"`
	Upstreams []upstreamapp.UpstreamStatus `json:"upstreams"`
	Providers []oauthtoken.ProviderStatus  `json:"providers"`
	Accounts  statusAccounts               `json:"accounts"`
}

// statusFeed makes snapshots. All who watch share them.
type statusFeed struct {
	registry *prometheus.Registry
	interval time.Duration
	accounts bool

	mu         sync.Mutex
	last       statusSnapshot
	lastAt     time.Time
	lastTotals map[string]float64
	lastBucket map[float64]float64
	scanned    time.Time
	scan       statusAccounts
}

// snapshot returns the current one; a fresh one is made at most once an interval.
func (f *statusFeed) snapshot() statusSnapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(f.lastAt) < f.interval/2 {
		return f.last
	}
	s := statusSnapshot{
		Time: now, Interval: f.interval.Seconds(), Total: map[string]float64{},
		Latency: map[string]float64{}, Logins: map[string]float64{}, Limited: map[string]float64{},
		Upstreams: []upstreamapp.UpstreamStatus{}, Providers: []oauthtoken.ProviderStatus{},
	}
	buckets := map[float64]float64{}
	// A family that cannot be gathered is left out; the others still stand.
	families, _ := f.registry.Gather()
	for _, family := range families {
		switch family.GetName() {
		case "caddy_smtp_messages_total":
			sum(family, "code", s.Total)
		case "caddy_smtp_auth_total":
			sum(family, "result", s.Logins)
		case "caddy_smtp_limited_total":
			sum(family, "result", s.Limited)
		case "caddy_smtp_sessions_active":
			for _, m := range family.GetMetric() {
				s.Sessions += m.GetGauge().GetValue()
			}
		case "caddy_smtp_message_duration_seconds":
			for _, m := range family.GetMetric() {
				for _, b := range m.GetHistogram().GetBucket() {
					buckets[b.GetUpperBound()] += float64(b.GetCumulativeCount())
				}
				buckets[math.Inf(1)] += float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	// After a pause nobody wants the mean of the pause as the present.
	if elapsed := now.Sub(f.lastAt); f.lastTotals != nil && elapsed <= max(3*f.interval, 10*time.Second) {
		s.PerSecond = map[string]float64{}
		for class, n := range s.Total {
			s.PerSecond[class] = max(0, n-f.lastTotals[class]) / elapsed.Seconds()
		}
		for name, q := range map[string]float64{"p50": .5, "p95": .95, "p99": .99} {
			if v, ok := quantile(buckets, f.lastBucket, q); ok {
				s.Latency[name] = v
			}
		}
	}
	if app, err := operate.App[*upstreamapp.App]("smtp_upstreams"); err == nil {
		s.Upstreams = app.Status()
	}
	if app, err := operate.App[*oauthtoken.App]("oauth_tokens"); err == nil {
		s.Providers = app.ProviderStatus()
	}
	if now.Sub(f.scanned) >= accountsEvery {
		f.scan, f.scanned = f.scanAccounts(), now
	}
	s.Accounts = f.scan
	f.last, f.lastAt, f.lastTotals, f.lastBucket = s, now, s.Total, buckets
	return s
}

func sum(family *dto.MetricFamily, label string, into map[string]float64) {
	for _, m := range family.GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == label {
				into[l.GetValue()] += m.GetCounter().GetValue()
			}
		}
	}
}

// quantile estimates a quantile of what came between two readings of a
// histogram, within its bucket by a straight line, as Prometheus does.
func quantile(now, before map[float64]float64, q float64) (float64, bool) {
	bounds := make([]float64, 0, len(now))
	for b := range now {
		bounds = append(bounds, b)
	}
	slices.Sort(bounds)
	total := now[math.Inf(1)] - before[math.Inf(1)]
	if total <= 0 {
		return 0, false
	}
	rank := q * total
	low, below := 0.0, 0.0
	for _, b := range bounds {
		n := now[b] - before[b]
		if n >= rank {
			if math.IsInf(b, 1) || n == below {
				return low, true
			}
			return low + (b-low)*(rank-below)/(n-below), true
		}
		low, below = b, n
	}
	return low, true
}
