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

package history

import (
	"encoding/json"
	"fmt"
	"time"
)

// Counts are what became of messages.
type Counts struct {
	// Accepted, Deferred and Refused are final replies 2yz, 4yz and 5yz; Aborted
	// are messages whose client did not wait for one.
	Accepted uint64 `json:"accepted,omitempty"`
	Deferred uint64 `json:"deferred,omitempty"`
	Refused  uint64 `json:"refused,omitempty"`
	Aborted  uint64 `json:"aborted,omitempty"`
}

// Add adds others.
func (c *Counts) Add(o Counts) {
	c.Accepted += o.Accepted
	c.Deferred += o.Deferred
	c.Refused += o.Refused
	c.Aborted += o.Aborted
}

// Total is how many messages they are.
func (c Counts) Total() uint64 { return c.Accepted + c.Deferred + c.Refused + c.Aborted }

func (c *Counts) count(code int) {
	switch code / 100 {
	case 2:
		c.Accepted++
	case 4:
		c.Deferred++
	case 5:
		c.Refused++
	default:
		c.Aborted++
	}
}

// Hours is how many hours are kept: a week, and the hour that it began in.
const Hours = 7*24 + 1

// hour is one hour's counts. At is the hour since 1970.
type hour struct {
	At int64 `json:"at"`
	Counts
}

// ring is the last hours, each in the place that its time gives it.
type ring [Hours]hour

func hourOf(t time.Time) int64 { return t.Unix() / 3600 }

// at is the hour's place, emptied if another hour had it.
func (r *ring) at(h int64) *hour {
	p := &r[((h%Hours)+Hours)%Hours]
	if p.At != h {
		*p = hour{At: h}
	}
	return p
}

// merge adds the hours of another that are not older than what r has in their place.
// What a clock that was wrong has counted into a time that is yet to come is dropped,
// so that it does not stand in the way until then.
func (r *ring) merge(o *ring, now time.Time) {
	last := hourOf(now)
	for i := range r {
		if r[i].At > last {
			r[i] = hour{}
		}
		if o[i].Total() == 0 || o[i].At > last || o[i].At < r[i].At {
			continue
		}
		r.at(o[i].At).Add(o[i].Counts)
	}
}

// version is that of the stored form.
const version = 1

type stored struct {
	Version int    `json:"version"`
	Hours   []hour `json:"hours"`
}

// encode is what is stored: the hours in which something happened.
func (r *ring) encode() ([]byte, error) {
	s := stored{Version: version}
	for _, h := range r {
		if h.Total() > 0 {
			s.Hours = append(s.Hours, h)
		}
	}
	return json.Marshal(s)
}

// decode reads what encode has made.
func decode(b []byte) (*ring, error) {
	var s stored
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, err
	}
	if s.Version != version {
		return nil, fmt.Errorf("version %d, want %d", s.Version, version)
	}
	r := new(ring)
	for _, h := range s.Hours {
		if p := &r[((h.At%Hours)+Hours)%Hours]; h.At >= p.At {
			*p = h
		}
	}
	return r, nil
}
