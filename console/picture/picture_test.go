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

// axis is what stands beneath a picture.
func axis(c Chart) string {
	var list []string
	for _, k := range c.Axis {
		if list = append(list, k.Word); k.Word == "" {
			list[len(list)-1] = k.Hour.Format("15:04")
		}
	}
	return strings.Join(list, " ")
}

func TestDay(t *testing.T) {
	c := Day(hours(now, map[int]history.Counts{0: {Accepted: 1_000_000, Deferred: 1, Refused: 1, Aborted: 1}, 23: {Refused: 5}, 24: {Accepted: 7}}))
	sound(t, c)
	if len(c.Bars) != 24 || c.Sum != (history.Counts{Accepted: 1_000_000, Deferred: 1, Refused: 6, Aborted: 1}) || c.Most != 1_000_003 {
		t.Errorf("%d bars, %+v, most %d", len(c.Bars), c.Sum, c.Most)
	}
	if axis(c) != "15:00 21:00 03:00 09:00" {
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
		axis string
		bar  int // of the hour of now
	}{
		{now, "Fri Sat Sun Mon Tue Wed Thu", 26},
		{time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), "Mon Tue Wed Thu Fri Sat Sun", 24},
		{time.Date(2026, 11, 26, 23, 59, 0, 0, time.UTC), "Fri Sat Sun Mon Tue Wed Thu", 27},
	} {
		c := Week(hours(tc.now, map[int]history.Counts{0: {Accepted: 1}, 144: {Accepted: 2}, 168: {Accepted: 4}}))
		sound(t, c)
		if got := axis(c); got != tc.axis {
			t.Errorf("%s: axis %s", tc.now, got)
		}
		if len(c.Bars) != 28 || c.Bars[tc.bar].Counts.Accepted != 1 || c.Bars[tc.bar-24].Counts.Accepted != 2 {
			t.Errorf("%s: %+v", tc.now, c.Bars)
		}
		if c.Sum.Accepted != 3 { // the day a week ago is no longer shown
			t.Errorf("%s: sum %+v", tc.now, c.Sum)
		}
	}
}

func TestNothing(t *testing.T) {
	for _, c := range []Chart{Day(hours(now, nil)), Week(hours(now, nil)), Day(nil), Week(nil)} {
		sound(t, c)
		if c.Busy() != nil || c.Sum.Total() != 0 {
			t.Errorf("%+v", c)
		}
	}
	if w := Day(hours(now, nil)).Words; w != "The last 24 hours: no message." {
		t.Error(w)
	}
}
