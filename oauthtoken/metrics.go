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

package oauthtoken

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddymail/mailgateway/internal/registry"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
)

// The collectors belong to the process: each configuration has a registry of
// its own, and counters must survive a reload. Labels are from closed sets.
var (
	refreshesTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "oauth", Name: "token_refreshes_total",
		Help: "Number of finished token refreshes by provider and result.",
	}, []string{"provider", "result"})
	refreshSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "caddy", Subsystem: "oauth", Name: "token_refresh_duration_seconds",
		Help:    "Duration of token refreshes with all their waiting and retrying.",
		Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
	}, []string{"provider"})
	accountsGauge = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "caddy", Subsystem: "oauth", Name: "accounts",
		Help: "Number of known accounts by provider and state.",
	}, []string{"provider", "state"})
)

func registerMetrics(r *prometheus.Registry) error {
	return registry.Register(r, refreshesTotal, refreshSeconds, accountsGauge)
}

// Results of refreshes.
const (
	resultOK       = "ok"
	resultAdopted  = "adopted" // found in the store, no request was made
	resultStored   = "stored"  // a rotated token, stored late
	resultReauth   = "reauth_required"
	resultRefused  = "refused" // for a reason that can pass
	resultConfig   = "client_error"
	resultStore    = "store_error"
	resultEndpoint = "endpoint_error"
	resultError    = "error"
)

func (m *manager) observe(f *flight, err *authserver.Error, d time.Duration) {
	r := f.result
	switch {
	case err == nil && r == "":
		r = resultOK
	case err == nil:
	case err.Class == authserver.ClassReauth && err.Passing():
		r = resultRefused
	case err.Class == authserver.ClassReauth:
		r = resultReauth
	case err.Class == authserver.ClassProvider:
		r = resultConfig
	case err.Class == authserver.ClassStore, err.Class == authserver.ClassDamaged:
		r = resultStore
	case err.Class == authserver.ClassTransient:
		r = resultEndpoint
	default:
		r = resultError
	}
	refreshesTotal.WithLabelValues(m.name, r).Inc()
	refreshSeconds.WithLabelValues(m.name).Observe(d.Seconds())
}

// state is what an account is in, for status and metrics.
type state uint8

const (
	stateNone       state = iota
	stateIdle             // no token in memory, nothing wrong
	stateOK               // a valid token
	stateRefreshing       // being refreshed
	stateReauth           // a human is needed
	stateError            // the last refresh failed
	stateRefused          // refused for a reason that can pass
)

var stateNames = [...]string{"", "idle", "ok", "refreshing", "reauth_required", "error", "refused"}

// String returns the state's name.
func (s state) String() string { return stateNames[s] }

// setState is called with e.mu held.
func (m *manager) setState(e *entry, s state) {
	if e.state == s || e.gone {
		return
	}
	if e.state != stateNone {
		accountsGauge.WithLabelValues(m.name, e.state.String()).Dec()
	}
	if s != stateNone {
		accountsGauge.WithLabelValues(m.name, s.String()).Inc()
	} else {
		e.gone = true
	}
	e.state = s
}
