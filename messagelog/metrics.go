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

package messagelog

import (
	"github.com/prometheus/client_golang/prometheus"
)

var droppedTotal = prometheus.NewCounter(prometheus.CounterOpts{
	Namespace: "caddy", Subsystem: "smtp", Name: "message_log_dropped_total",
	Help: "Transactions that the message log could not keep.",
})

// Collector counts what all logs of the process dropped.
func Collector() prometheus.Collector { return droppedTotal }
