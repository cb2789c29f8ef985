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

package picture

import (
	"time"
	_ "time/tzdata" // images and Windows have no zones of their own
)

const maxZoneName = 64

// Zone is a time zone that a browser names, and what to call it; the server's own if the
// name is none.
func Zone(name string) (zone *time.Location, words string) {
	if name != "" && name != "Local" && len(name) <= maxZoneName {
		if zone, err := time.LoadLocation(name); err == nil {
			return zone, zone.String()
		}
	}
	return time.Local, "the gateway's own machine, " + abbreviation(time.Now())
}

// abbreviation is what clocks call a time's zone. Zones without a name are told by their
// distance.
func abbreviation(t time.Time) string {
	if name, _ := t.Zone(); name != "" && name[0] != '+' && name[0] != '-' {
		return name
	}
	return t.Format("UTC-07:00")
}
