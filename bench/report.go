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
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/bench/system"
)

// report gathers what the rows gave.
type report struct {
	Date     string       `json:"date"`
	Commit   string       `json:"commit"`
	Machine  string       `json:"machine"`
	Go       string       `json:"go"`
	Load     string       `json:"load_average_before"`
	Files    uint64       `json:"open_files_limit"`
	Settings string       `json:"settings"`
	Notes    []string     `json:"notes,omitempty"`
	Targets  []*target    `json:"targets,omitempty"`
	Speed    []*speedLine `json:"speed,omitempty"`
	Tables   []*table     `json:"tables,omitempty"`
}

// speedLine is one row and all its repetitions.
type speedLine struct {
	Group    string  `json:"group"`
	Via      string  `json:"via"`
	Median   figure  `json:"median"`
	OfDirect float64 `json:"of_direct,omitempty"`
	// OfDirectCPU is the ratio that the CPU times of all processes would
	// give: on a machine that others use, it moves less.
	OfDirectCPU float64 `json:"of_direct_by_cpu,omitempty"`
	// OfBefore and OfBeforeCPU compare with the binary of -before.
	OfBefore    quartiles `json:"of_before"`
	OfBeforeCPU quartiles `json:"cpu_of_before"`
	AddedP95    float64   `json:"added_p95_ms,omitempty"`
	Repetitions []figure  `json:"repetitions"`
}

// table is one of the scale and token tables.
type table struct {
	Title   string     `json:"title"`
	Columns []string   `json:"columns"`
	Rows    [][]string `json:"rows"`
	Text    []string   `json:"text,omitempty"`
	Failed  bool       `json:"failed,omitempty"`
}

func newReport(e *env) *report {
	return &report{
		Date:    time.Now().UTC().Format(time.RFC3339),
		Commit:  e.commit,
		Machine: fmt.Sprintf("%s, %d cores, %s", system.CPUModel(), runtime.NumCPU(), system.Kernel()),
		Go:      runtime.Version(),
		Load:    system.LoadAverage(),
		Files:   e.files,
		Settings: fmt.Sprintf("%d accounts, %d clients, 100 messages a client connection, the gateway's defaults, %d repetition(s) of %s after %s, medians; access log: %s",
			e.o.accounts, e.o.clients, e.o.reps, e.o.window, e.o.warmup, e.o.accessLog),
	}
}

func (rep *report) note(s string) {
	if !slices.Contains(rep.Notes, s) {
		rep.Notes = append(rep.Notes, s)
	}
}

func (rep *report) add(t *table) { rep.Tables = append(rep.Tables, t) }

// speed adds one repetition.
func (rep *report) speed(r speedRow, f figure) {
	if l := rep.speedLine(r.group, r.name()); l != nil {
		l.Repetitions = append(l.Repetitions, f)
		return
	}
	rep.Speed = append(rep.Speed, &speedLine{Group: r.group, Via: r.name(), Repetitions: []figure{f}})
}

// finish computes medians and ratios.
func (rep *report) finish() {
	for _, l := range rep.Speed {
		l.Median = medianFigure(l.Repetitions)
	}
	for _, l := range rep.Speed {
		if b := rep.speedLine(l.Group, beforePrefix+l.Via); b != nil {
			l.OfBefore = quartilesOf(pairedRatios(l, b, func(f *figure) float64 { return f.Rate }))
			l.OfBeforeCPU = quartilesOf(pairedRatios(l, b, func(f *figure) float64 { return f.CPU }))
		}
		d := rep.speedLine(l.Group, viaDirect)
		if d == nil {
			d = rep.speedLine(l.Group, viaOwnToken)
		}
		if d == nil {
			continue
		}
		l.OfDirect = pairedRatio(l, d, func(f *figure) float64 { return f.Rate })
		if all := pairedRatio(l, d, (*figure).allCPU); all > 0 {
			l.OfDirectCPU = 1 / all
		}
		if one := rep.speedLine(l.Group, viaOneFlight); one != nil && l.Via == viaDeferred {
			d = one // what takes one round trip is compared with what takes one
		}
		if l != d {
			l.AddedP95 = l.Median.Latency.P95 - d.Median.Latency.P95
		}
	}
	rep.speedTargets()
}

func (rep *report) speedLine(group, via string) *speedLine {
	for _, l := range rep.Speed {
		if l.Group == group && l.Via == via {
			return l
		}
	}
	return nil
}

// pairedRatio is the median of the ratios of repetitions that ran one after
// the other: a machine that is slower for a minute moves it less than the
// ratio of two medians.
func pairedRatio(l, d *speedLine, get func(*figure) float64) float64 {
	return median(pairedRatios(l, d, get))
}

func pairedRatios(l, d *speedLine, get func(*figure) float64) (ratios []float64) {
	for i := range min(len(l.Repetitions), len(d.Repetitions)) {
		if of := get(&d.Repetitions[i]); of > 0 {
			ratios = append(ratios, get(&l.Repetitions[i])/of)
		}
	}
	return ratios
}

func (f *figure) allCPU() float64 { return f.CPU + f.LoadCPU + f.SinkCPU }

// medianFigure takes the median of each figure by itself; counts are summed.
func medianFigure(fs []figure) figure {
	of := func(get func(figure) float64) float64 {
		var v []float64
		for _, f := range fs {
			v = append(v, get(f))
		}
		return median(v)
	}
	m := figure{
		Rate:       of(func(f figure) float64 { return f.Rate }),
		CPU:        of(func(f figure) float64 { return f.CPU }),
		LoadCPU:    of(func(f figure) float64 { return f.LoadCPU }),
		SinkCPU:    of(func(f figure) float64 { return f.SinkCPU }),
		PeakKiB:    int64(of(func(f figure) float64 { return float64(f.PeakKiB) })),
		Upstream:   int64(of(func(f figure) float64 { return float64(f.Upstream) })),
		RoundTrips: of(func(f figure) float64 { return f.RoundTrips }),
		Latency: latencies{
			P50: of(func(f figure) float64 { return f.Latency.P50 }),
			P95: of(func(f figure) float64 { return f.Latency.P95 }),
			P99: of(func(f figure) float64 { return f.Latency.P99 }),
			Max: of(func(f figure) float64 { return f.Latency.Max }),
		},
	}
	for _, f := range fs {
		m.Latency.Count += f.Latency.Count
		m.Sent += f.Sent
		m.Delivered += f.Delivered
		m.Lost += f.Lost
		m.Unasked += f.Unasked
		m.Duplicates += f.Duplicates
		m.Corrupt += f.Corrupt
		for what, n := range f.Errors {
			if m.Errors == nil {
				m.Errors = make(map[string]int)
			}
			m.Errors[what] += n
		}
		m.Failed = m.Failed || f.Failed
	}
	return m
}

func (rep *report) failed() bool {
	for _, l := range rep.Speed {
		for _, f := range l.Repetitions {
			if f.Failed {
				return true
			}
		}
	}
	for _, t := range rep.Tables {
		if t.Failed {
			return true
		}
	}
	return false
}

// write prints the report and writes the files that were asked for.
func (rep *report) write(w io.Writer, o options) error {
	rep.finish()
	md := rep.text()
	_, err := io.WriteString(w, md)
	if o.markdown != "" {
		err = errors.Join(err, os.WriteFile(o.markdown, []byte(md), 0o644)) //nolint:gosec // a report is for everybody
	}
	if o.json != "" {
		b, jerr := json.MarshalIndent(rep, "", "  ")
		if jerr != nil {
			return errors.Join(err, jerr)
		}
		err = errors.Join(err, os.WriteFile(o.json, append(b, '\n'), 0o644)) //nolint:gosec // as above
	}
	return err
}

func (rep *report) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\nThe last run of `go run ./bench`: figures of one machine, on loopback, load generator and sink\nincluded. Only ratios within one run mean something elsewhere.\n\n")
	fmt.Fprintf(&b, "- Date: %s\n- Commit: %s\n- Machine: %s; load average before the run: %s\n- Go: %s; open files: %d\n- Settings: %s\n", rep.Date, rep.Commit, rep.Machine, rep.Load, rep.Go, rep.Files, rep.Settings)
	for _, n := range rep.Notes {
		fmt.Fprintf(&b, "- %s\n", n)
	}
	if len(rep.Targets) > 0 {
		rep.targetTable().text(&b)
	}
	if len(rep.Speed) > 0 {
		rep.speedText(&b)
	}
	for _, t := range rep.Tables {
		t.text(&b)
	}
	return b.String()
}

func (t *table) text(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\n", t.Title)
	for _, s := range t.Text {
		fmt.Fprintf(b, "%s\n", s)
	}
	if len(t.Text) > 0 {
		b.WriteByte('\n')
	}
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(t.Columns, " | "), strings.Repeat("---|", len(t.Columns)))
	for _, r := range t.Rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(r, " | "))
	}
	if t.Failed {
		b.WriteString("\n**FAILED**: messages were lost, duplicated, damaged or refused.\n")
	}
}

func (rep *report) speedText(b *strings.Builder) {
	b.WriteString("\n## Speed\n\n" +
		"DIRECT is the load generator straight to the sink, over TLS, logged in. HAProxy passes the same TLS\n" +
		"through. The gateway takes plaintext unless stated, and speaks TLS and XOAUTH2 to the sink. CPU is that of\n" +
		"the gateway (or HAProxy) alone; \"of load, sink\" that of the other two; \"by CPU\" is\n" +
		"the ratio to DIRECT that the CPU time of all three gives, which a busy machine moves less. Ratios are medians of\n" +
		"those of repetitions that ran one after the other. Round trips are flights of replies\n" +
		"at the sink per message. A row is ok if what the sink counted is exactly what was answered 250.\n")
	cols := []string{"via", "msg/s", "of DIRECT", "by CPU", "p50 ms", "p95 ms", "p99 ms", "CPU s/1000", "of load, sink", "peak RSS MiB", "upstream conns", "round trips", "sent = delivered", ""}
	compared := rep.compared()
	if compared {
		cols = append(cols, "of before: msg/s", "CPU")
	}
	group := ""
	for _, l := range rep.Speed {
		if l.Group != group {
			group = l.Group
			fmt.Fprintf(b, "\n**%s** (`%s`)\n\n| %s |\n|%s\n", groupTitles[group], group, strings.Join(cols, " | "), strings.Repeat("---|", len(cols)))
		}
		m := l.Median
		ratio, byCPU, added, cpu, rss := "-", "-", "", "-", "-"
		if l.OfDirectCPU > 0 && group != groupOpen && group != groupRTT {
			byCPU = fmt.Sprintf("%.2f", l.OfDirectCPU)
		}
		if l.OfDirect > 0 {
			ratio = fmt.Sprintf("%.2f", l.OfDirect)
		}
		if l.AddedP95 != 0 && (group == groupOpen || group == groupRTT) {
			added = fmt.Sprintf(" (%+.2f)", l.AddedP95)
		}
		if l.Via != viaDirect && l.Via != viaOneFlight && l.Via != viaOwnToken {
			cpu, rss = fmt.Sprintf("%.4f", m.CPU), fmt.Sprintf("%.0f", float64(m.PeakKiB)/1024)
		}
		fmt.Fprintf(b, "| %s | %.0f | %s | %s | %.2f | %.2f%s | %.2f | %s | %.4f, %.4f | %s | %d | %.2f | %d = %d | %s |",
			l.Via, m.Rate, ratio, byCPU, m.Latency.P50, m.Latency.P95, added, m.Latency.P99, cpu, m.LoadCPU, m.SinkCPU, rss, m.Upstream, m.RoundTrips, m.Sent, m.Delivered, m.verdict())
		if compared {
			fmt.Fprintf(b, " %s | %s |", l.OfBefore, l.OfBeforeCPU)
		}
		b.WriteByte('\n')
	}
}

// compared reports whether there is a row with the binary of -before.
func (rep *report) compared() bool {
	return slices.ContainsFunc(rep.Speed, func(l *speedLine) bool { return l.OfBefore.Count > 0 })
}

// verdict is ok, or what is wrong.
func (f *figure) verdict() string {
	if !f.Failed {
		return "ok"
	}
	refused := 0
	for _, n := range f.Errors {
		refused += n
	}
	return fmt.Sprintf("**FAILED**: lost %d, without 250 %d, duplicate %d, damaged %d, refused %d", f.Lost, f.Unasked, f.Duplicates, f.Corrupt, refused)
}
