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
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/smtpapp/history"
)

// hours are those up to now, with counts in some: by how many hours ago.
func hours(now time.Time, counts map[int]history.Counts) []history.Hour {
	list := make([]history.Hour, history.Hours)
	for i := range list {
		ago := history.Hours - 1 - i
		list[i] = history.Hour{Begin: now.Truncate(time.Hour).Add(-time.Duration(ago) * time.Hour), Counts: counts[ago]}
	}
	return list
}

var now = time.Date(2026, 11, 26, 14, 30, 0, 0, time.UTC)

// sound checks that every part lies within the picture, upon the one before.
func sound(t *testing.T, c Chart) {
	t.Helper()
	number := func(s string) float64 {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	for i, b := range c.Bars {
		floor := float64(c.Height)
		for _, p := range b.Parts {
			x, y, w, h := number(p.X), number(p.Y), number(p.W), number(p.H)
			if x < float64(i*pitch) || x+w > float64((i+1)*pitch) || y < 0 || h <= 0 || y+h > floor+.02 || y+h < floor-.02 {
				t.Errorf("%s bar %d: %+v does not stand on %.2f", c.ID, i, p, floor)
			}
			floor = y
		}
		if (len(b.Parts) > 0) != (b.Counts.Total() > 0) {
			t.Errorf("%s bar %d: %d parts of %d messages", c.ID, i, len(b.Parts), b.Counts.Total())
		}
	}
}

func TestDay(t *testing.T) {
	c := Day(hours(now, map[int]history.Counts{0: {Accepted: 1_000_000, Deferred: 1, Refused: 1, Aborted: 1}, 23: {Refused: 5}, 24: {Accepted: 7}}), time.UTC)
	sound(t, c)
	if len(c.Bars) != 24 || c.Sum != (history.Counts{Accepted: 1_000_000, Deferred: 1, Refused: 6, Aborted: 1}) || c.Most != 1_000_003 {
		t.Errorf("%d bars, %+v, most %d", len(c.Bars), c.Sum, c.Most)
	}
	if strings.Join(c.Axis, " ") != "15:00 21:00 03:00 09:00" {
		t.Errorf("axis %q", c.Axis)
	}
	last := c.Bars[23]
	if len(last.Parts) != 4 || last.Parts[1].H < "1.8" || !strings.HasPrefix(last.Words(), "Thu 26 Nov, 14:00 UTC: 1000000 accepted, 1 to be sent again") {
		t.Errorf("the last bar: %+v %s", last.Parts, last.Words())
	}
	if busy := c.Busy(); len(busy) != 2 || busy[0].Counts != last.Counts || busy[1].Counts.Refused != 5 {
		t.Errorf("busy: %+v", busy)
	}
	if !strings.Contains(c.Words, "6 refused") || !strings.Contains(c.Words, "1000003, Thu 26 Nov, 14:00 UTC") {
		t.Errorf("words: %s", c.Words)
	}
}

func TestWeek(t *testing.T) {
	for _, tc := range []struct {
		now  time.Time
		zone string
		axis string
		// bar is that of the hour of now, before that of 144 hours earlier.
		bar, before int
		time        string
	}{
		{now, "UTC", "Fri Sat Sun Mon Tue Wed Thu", 26, 2, "Thu 26 Nov, 12:00 to 18:00 UTC"},
		{time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), "UTC", "Mon Tue Wed Thu Fri Sat Sun", 24, 0, "Sun 1 Mar, 00:00 to 06:00 UTC"},
		{time.Date(2026, 11, 26, 23, 59, 0, 0, time.UTC), "UTC", "Fri Sat Sun Mon Tue Wed Thu", 27, 3, "Thu 26 Nov, 18:00 to 00:00 UTC"},
		// It is tomorrow there already, and still yesterday.
		{time.Date(2026, 11, 26, 23, 30, 0, 0, time.UTC), "Europe/Berlin", "Sat Sun Mon Tue Wed Thu Fri", 24, 0, "Fri 27 Nov, 00:00 to 06:00 CET"},
		{time.Date(2026, 11, 26, 5, 30, 0, 0, time.UTC), "America/Los_Angeles", "Thu Fri Sat Sun Mon Tue Wed", 27, 3, "Wed 25 Nov, 18:00 to 00:00 PST"},
		{time.Date(2026, 11, 26, 19, 0, 0, 0, time.UTC), "Asia/Kathmandu", "Sat Sun Mon Tue Wed Thu Fri", 24, 0, "Fri 27 Nov, 00:00 to 06:00 UTC+05:45"},
		// A day of 25 hours, and one of 23, are in the week.
		{time.Date(2026, 10, 27, 11, 0, 0, 0, time.UTC), "Europe/Berlin", "Wed Thu Fri Sat Sun Mon Tue", 26, 2, "Tue 27 Oct, 12:00 to 18:00 CET"},
		{time.Date(2026, 3, 31, 10, 0, 0, 0, time.UTC), "Europe/Berlin", "Wed Thu Fri Sat Sun Mon Tue", 26, 1, "Tue 31 Mar, 12:00 to 18:00 CEST"},
	} {
		zone, words := Zone(tc.zone)
		if words != tc.zone {
			t.Errorf("%s is called %s", tc.zone, words)
		}
		c := Week(hours(tc.now, map[int]history.Counts{0: {Accepted: 1}, 144: {Accepted: 2}, 168: {Accepted: 4}}), zone)
		sound(t, c)
		if got := c.Bars[tc.bar].Time; got != tc.time {
			t.Errorf("%s: the bar is of %s, want %s", tc.now, got, tc.time)
		}
		if got := strings.Join(c.Axis, " "); got != tc.axis {
			t.Errorf("%s: axis %s", tc.now, got)
		}
		if len(c.Bars) != 28 || c.Bars[tc.bar].Counts.Accepted != 1 || c.Bars[tc.before].Counts.Accepted != 2 {
			t.Errorf("%s: %+v", tc.now, c.Bars)
		}
		if c.Sum.Accepted != 3 { // the day a week ago is no longer shown
			t.Errorf("%s: sum %+v", tc.now, c.Sum)
		}
	}
}

func TestNothing(t *testing.T) {
	for _, c := range []Chart{Day(hours(now, nil), time.UTC), Week(hours(now, nil), time.UTC), Day(nil, time.UTC), Week(nil, time.UTC)} {
		sound(t, c)
		if c.Busy() != nil || c.Sum.Total() != 0 {
			t.Errorf("%+v", c)
		}
	}
	if w := Day(hours(now, nil), time.UTC).Words; w != "The last 24 hours: no message." {
		t.Error(w)
	}
}

// TestZone has names as browsers send them, and as nobody does.
func TestZone(t *testing.T) {
	for name, want := range map[string]string{"Europe/Berlin": "Europe/Berlin", "America/Argentina/Buenos_Aires": "America/Argentina/Buenos_Aires", "Etc/GMT+5": "Etc/GMT+5", "UTC": "UTC"} {
		if zone, words := Zone(name); words != want || zone.String() != want {
			t.Errorf("%s: %s, %s", name, zone, words)
		}
	}
	for _, name := range []string{"", "Local", "../../etc/passwd", "/etc/localtime", "Europe/../Berlin", "Nowhere/Else", strings.Repeat("a", 100), "Europe/Berlin\x00", "<b>"} {
		if zone, words := Zone(name); zone != time.Local || !strings.HasPrefix(words, "the gateway's own machine, ") {
			t.Errorf("%.20q: %s, %s", name, zone, words)
		}
	}
}
