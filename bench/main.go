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

// Command bench measures the gateway: a load generator, a sink and the gateway
// itself as separate processes on loopback, in one interleaved run. It is a
// program and not a test: it reports times, and fails only if a message was
// lost, duplicated or damaged.
//
//	go run ./bench                    the speed rows
//	go run ./bench -short             under two minutes, for CI
//	go run ./bench -scale -tokens     the speed, scale and token rows
//	go run ./bench -speed=false -ramp    more and more until the gateway can take no more
//	go run ./bench -rows closed-4k    only the rows whose group or name matches
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/caddymail/mailgateway/bench/sink"
)

// options are the flags of the program itself; load and sink get theirs as
// JSON on standard input.
type options struct {
	json      string
	markdown  string
	caddy     string
	before    string
	accessLog string
	rows      string
	profile   string
	short     bool
	speed     bool
	scale     bool
	tokens    bool
	ramp      bool
	keep      bool
	reps      int
	window    time.Duration
	warmup    time.Duration
	clients   int
	accounts  int
}

func init() {
	// Pdeathsig is tied to the thread that starts the child: everything is
	// started from main's goroutine, and that stays on the main thread.
	runtime.LockOSThread()
}

func main() {
	log.SetFlags(log.Ltime)
	log.SetPrefix("bench: ")
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "sink":
			exit(sink.Run(os.Stdin, os.Stdout))
		case "load":
			exit(runLoad(os.Stdin, os.Stdout))
		}
	}
	var o options
	flag.StringVar(&o.json, "json", "", "write the figures as JSON to this `file`")
	flag.StringVar(&o.markdown, "markdown", "", "write the report as markdown to this `file`, too")
	flag.StringVar(&o.caddy, "caddy", "", "use this Caddy `binary` and build none")
	flag.StringVar(&o.before, "before", "", "run each gateway row with this Caddy `binary` too, in turn with the other")
	flag.StringVar(&o.accessLog, "access-log", logFile, "where the gateway's log goes: file (each line at once, as by default), buffered (a file, many lines at a time) or discard")
	flag.StringVar(&o.rows, "rows", "", "only rows whose group or name contains one of these `words` (comma-separated; one that ends in $ must end it)")
	flag.StringVar(&o.profile, "profile", "", "write a CPU and an allocation profile of each gateway row into this `directory` (slows the row down)")
	flag.BoolVar(&o.short, "short", false, "one repetition, small counts, under two minutes in all")
	flag.BoolVar(&o.speed, "speed", true, "run the speed rows")
	flag.BoolVar(&o.scale, "scale", false, "run the scale and isolation rows")
	flag.BoolVar(&o.tokens, "tokens", false, "run the token rows")
	flag.BoolVar(&o.ramp, "ramp", false, "raise the rate of one gateway until it can take no more; with -profile, record where goroutines wait just below that")
	flag.BoolVar(&o.keep, "keep", false, "keep the working directory")
	flag.IntVar(&o.reps, "reps", 3, "repetitions of each speed row, interleaved; the median is shown")
	flag.DurationVar(&o.window, "window", 5*time.Second, "measured time of one repetition")
	flag.DurationVar(&o.warmup, "warmup", time.Second, "time before the measured one")
	flag.IntVar(&o.clients, "clients", 50, "clients at a time")
	flag.IntVar(&o.accounts, "accounts", 100, "accounts")
	flag.Parse()
	if flag.NArg() > 0 {
		exit(fmt.Errorf("unrecognized argument %q", flag.Arg(0)))
	}
	if o.short {
		o.reps, o.window, o.warmup = 1, 2*time.Second, 500*time.Millisecond
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(runAll(ctx, o))
}

func exit(err error) {
	if err == nil {
		os.Exit(0)
	}
	log.Print(err)
	os.Exit(1)
}

// errFailedRows says that a row lost, duplicated or damaged messages.
var errFailedRows = errors.New("messages were lost, duplicated, damaged or refused: see the rows marked FAILED")

// runAll makes the environment, runs what the options ask for and reports.
func runAll(ctx context.Context, o options) (err error) {
	e, err := newEnv(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()

	rep := newReport(e)
	runs := []struct {
		on  bool
		run func(context.Context, *env, *report) error
	}{
		{o.speed, runSpeed},
		{o.scale, runScale},
		{o.tokens, runTokens},
		{o.ramp, runRamp},
	}
	for _, r := range runs {
		if !r.on || err != nil {
			continue
		}
		err = r.run(ctx, e, rep)
	}
	// What was measured before an error is worth showing.
	if werr := rep.write(os.Stdout, o); werr != nil {
		err = errors.Join(err, werr)
	}
	if err == nil && rep.failed() {
		err = errFailedRows
	}
	return err
}

// matches reports whether the -rows flag selects a row.
func (o *options) matches(group, name string) bool {
	if o.rows == "" {
		return true
	}
	for w := range strings.SplitSeq(o.rows, ",") {
		w = strings.TrimSpace(w)
		if _, ok := groupTitles[w]; ok {
			// The name of a group may begin that of another.
			if w == group {
				return true
			}
			continue
		}
		if end, ok := strings.CutSuffix(w, "$"); ok && strings.HasSuffix(group+"/"+name, end) || !ok && strings.Contains(group+"/"+name, w) {
			return true
		}
	}
	return false
}

func (o *options) profilePath(group, name, kind string) string {
	clean := strings.NewReplacer(" ", "-", "/", "-", ",", "").Replace(group + "-" + name)
	return filepath.Join(o.profile, clean+"."+kind+".pprof")
}
