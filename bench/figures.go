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

import (
	"fmt"
	"slices"
	"time"
)

// percentiles sorts d.
func percentiles(d []time.Duration) latencies {
	if len(d) == 0 {
		return latencies{}
	}
	slices.Sort(d)
	at := func(p float64) float64 {
		i := min(int(p*float64(len(d))), len(d)-1)
		return float64(d[i].Microseconds()) / 1000
	}
	return latencies{Count: len(d), P50: at(0.50), P95: at(0.95), P99: at(0.99), Max: at(1)}
}

// median of figures; the lower one of an even number.
func median(f []float64) float64 {
	if len(f) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(f))
	return s[(len(s)-1)/2]
}

// quartiles of ratios that were measured in pairs.
type quartiles struct {
	Count  int     `json:"count"`
	Lower  float64 `json:"lower"`
	Median float64 `json:"median"`
	Upper  float64 `json:"upper"`
}

func quartilesOf(f []float64) quartiles {
	if len(f) == 0 {
		return quartiles{}
	}
	s := slices.Sorted(slices.Values(f))
	at := func(q int) float64 { return s[(len(s)-1)*q/4] }
	return quartiles{Count: len(s), Lower: at(1), Median: at(2), Upper: at(3)}
}

// String shows the quartiles where there are enough figures for any.
func (q quartiles) String() string {
	switch {
	case q.Count == 0:
		return "-"
	case q.Count < 4:
		return fmt.Sprintf("%.2f", q.Median)
	}
	return fmt.Sprintf("%.2f (%.2f to %.2f)", q.Median, q.Lower, q.Upper)
}
