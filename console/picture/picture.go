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

// Package picture draws what became of messages, by the hour and by the day: bars for an
// SVG within the page, which needs no script, and the same as words and as a table.
//
// It knows the history and nothing of the console; the template that draws a Chart is
// the console's (pages/picture.html).
package picture

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/smtpapp/history"
)

// Chart is a picture of some hours.
type Chart struct {
	// ID is for the page, Title says which time it is of.
	ID, Title string
	// Words say what the picture shows to those who do not see it.
	Words string
	// Width and Height are the picture's own; a page stretches it.
	Width, Height int
	Bars          []Bar
	// Axis is what stands beneath, each for the same share of the width.
	Axis []string
	// Sum is what all bars show, Most what the highest does.
	Sum  history.Counts
	Most uint64
}

// Bar is some hours: its parts stand upon each other.
type Bar struct {
	// Begin is when it begins, and Time says which hours it is of.
	Begin  time.Time
	Time   string
	Counts history.Counts
	Parts  []Part
}

// Part is one outcome of a bar, as a rectangle.
type Part struct {
	// Tone is a class of the style sheet.
	Tone       string
	X, Y, W, H string
	thickness  float64
}

const (
	height = 100
	pitch  = 10 // from one bar to the next
	width  = 8  // of a bar
	// least is the height of what is there at all.
	least = 2
)

// outcome is one of those that are drawn, from the bottom up.
type outcome struct {
	Tone, Word string
	of         func(history.Counts) uint64
}

var outcomes = []outcome{
	{"good", "accepted", func(c history.Counts) uint64 { return c.Accepted }},
	{"warn", "to be sent again", func(c history.Counts) uint64 { return c.Deferred }},
	{"bad", "refused", func(c history.Counts) uint64 { return c.Refused }},
	{"idle", "broken off by the client", func(c history.Counts) uint64 { return c.Aborted }},
}

// Number is a count with its word.
type Number struct {
	Tone, Word string
	Count      uint64
}

// Numbers are the counts in the order in which they are drawn. What is never there
// but seldom (broken off) is left out if there is none.
func (c Chart) Numbers() []Number { return numbers(c.Sum) }

func numbers(c history.Counts) []Number {
	list := make([]Number, 0, len(outcomes))
	for _, o := range outcomes {
		if n := o.of(c); n > 0 || o.Tone != "idle" {
			list = append(list, Number{o.Tone, o.Word, n})
		}
	}
	return list
}

// Busy are the bars in which something happened, the newest first.
func (c Chart) Busy() []Bar {
	var list []Bar
	for _, b := range slices.Backward(c.Bars) {
		if b.Counts.Total() > 0 {
			list = append(list, b)
		}
	}
	return list
}

// Day draws the last 24 hours of a history, an hour each, as clocks in the zone show
// them.
func Day(hours []history.Hour, zone *time.Location) Chart {
	c := Chart{ID: "day", Title: "The last 24 hours"}
	hours = hours[max(0, len(hours)-24):]
	for i, h := range hours {
		begin := h.Begin.In(zone)
		if i%6 == 0 {
			c.Axis = append(c.Axis, begin.Format("15:04"))
		}
		c.Bars = append(c.Bars, Bar{Begin: begin, Time: begin.Format("Mon 2 Jan, 15:04 ") + abbreviation(begin), Counts: h.Counts})
	}
	c.draw()
	return c
}

// quarter is the hours of a quarter of a day.
const quarter = 6

// Week draws today and the six days before, a quarter of a day each. Days are those of
// the zone, also where its clocks are changed; an hour that lies across a border counts
// where it begins.
func Week(hours []history.Hour, zone *time.Location) Chart {
	c := Chart{ID: "week", Title: "The last 7 days"}
	if len(hours) == 0 {
		return c
	}
	year, month, today := hours[len(hours)-1].Begin.In(zone).Date()
	for day := today - 6; day <= today; day++ {
		for q := range 24 / quarter {
			from, to := time.Date(year, month, day, q*quarter, 0, 0, 0, zone), time.Date(year, month, day, (q+1)*quarter, 0, 0, 0, zone)
			if q == 0 {
				c.Axis = append(c.Axis, from.Format("Mon"))
			}
			c.Bars = append(c.Bars, Bar{Begin: from, Time: from.Format("Mon 2 Jan, 15:04 to ") + to.Format("15:04 ") + abbreviation(from)})
		}
	}
	for _, h := range hours {
		if i := sort.Search(len(c.Bars), func(i int) bool { return c.Bars[i].Begin.After(h.Begin) }) - 1; i >= 0 {
			c.Bars[i].Counts.Add(h.Counts)
		}
	}
	c.draw()
	return c
}

// draw gives each bar its parts, and the chart its sizes and words.
func (c *Chart) draw() {
	c.Width, c.Height = len(c.Bars)*pitch, height
	when := ""
	for _, b := range c.Bars {
		c.Sum.Add(b.Counts)
		if n := b.Counts.Total(); n > c.Most {
			c.Most, when = n, b.Time
		}
	}
	for i := range c.Bars {
		c.Bars[i].stack(i*pitch+(pitch-width)/2, c.Most)
	}
	c.Words = c.Title + ": no message."
	if c.Most > 0 {
		c.Words = fmt.Sprintf("%s: %s. The most in one bar: %d, %s.", c.Title, words(c.Sum), c.Most, when)
	}
}

// stack puts the parts of a bar upon each other. What is there is seen, however little
// it is: the others give way, so that none is higher than the picture.
func (b *Bar) stack(x int, most uint64) {
	total := 0.0
	for _, o := range outcomes {
		n := o.of(b.Counts)
		if n == 0 {
			continue
		}
		h := max(least, float64(n)/float64(most)*height)
		b.Parts = append(b.Parts, Part{Tone: o.Tone, thickness: h})
		total += h
	}
	y, shrink := float64(height), min(1, height/max(total, 1))
	for i := range b.Parts {
		p := &b.Parts[i]
		h := p.thickness * shrink
		y -= h
		p.X, p.W, p.Y, p.H = strconv.Itoa(x), strconv.Itoa(width), decimal(y), decimal(h)
	}
}

func decimal(f float64) string { return strconv.FormatFloat(max(f, 0), 'f', 2, 64) }

func words(c history.Counts) string {
	var list []string
	for _, n := range numbers(c) {
		list = append(list, fmt.Sprintf("%d %s", n.Count, n.Word))
	}
	return strings.Join(list, ", ")
}

// Figures are the counts of a bar.
func (b Bar) Figures() string { return words(b.Counts) }

// Words say what a bar shows.
func (b Bar) Words() string { return b.Time + ": " + b.Figures() }
