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
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddymail/mailgateway/bench/message"
	"github.com/caddymail/mailgateway/bench/sink"
	"github.com/caddymail/mailgateway/bench/smtp"
	"github.com/caddymail/mailgateway/bench/system"
)

// loadSetup is what the load generator reads from standard input, one JSON
// line.
type loadSetup struct {
	Addr string `json:"addr"`
	TLS  string `json:"tls"` // off, implicit, starttls
	CA   string `json:"ca"`
	Mode string `json:"mode"`

	Run     uint32 `json:"run"`
	Clients int    `json:"clients"`
	// Accounts are used in turn, one per connection, from FirstAccount on.
	Accounts     int `json:"accounts"`
	FirstAccount int `json:"first_account"`
	// PerConn is the number of messages a connection carries.
	PerConn int `json:"per_conn"`
	Size    int `json:"size"`

	// Rate is the number of messages started per second (open loop);
	// latency then counts from when a message should have started. 0 is a
	// closed loop: each client sends as fast as it is answered.
	Rate float64 `json:"rate"`
	// Warmup and Window bound the run in time, Messages in number.
	Warmup   time.Duration `json:"warmup"`
	Window   time.Duration `json:"window"`
	Messages int           `json:"messages"`
	// Timeout bounds one message.
	Timeout time.Duration `json:"timeout"`
	// SickEvery separates the accounts that are 0 or 1 modulo it.
	SickEvery int `json:"sick_every"`

	// TokenURL has each connection fetch its account's access token first, as
	// who sends without a gateway would.
	TokenURL string `json:"token_url"`
	// NoAuth sends without logging in.
	NoAuth bool `json:"no_auth"`
	// Hold opens Clients connections, logs in, says so and waits for the
	// end of standard input.
	Hold bool `json:"hold"`

	// PIDs are the processes whose CPU time is read at both ends of the window.
	PIDs []int `json:"pids"`
}

// latencies are percentiles in milliseconds.
type latencies struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P95   float64 `json:"p95_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

// loadResult is what the load generator answers when it is done.
type loadResult struct {
	Sent      int            `json:"sent"`    // messages started in the whole run
	Accepted  int            `json:"sent_ok"` // of these, answered 250
	Unknown   int            `json:"unknown"` // connection lost after the end of data
	Errors    map[string]int `json:"errors,omitempty"`
	Window    float64        `json:"window_seconds"`
	InWindow  int            `json:"in_window"` // answered 250 within the window
	Latency   latencies      `json:"latency"`   // of those, healthy accounts only
	Sick      latencies      `json:"sick"`
	HealthyNo int            `json:"healthy_errors"` // errors of healthy accounts
	HealthyN  int            `json:"healthy_sent"`
	CPU       []float64      `json:"cpu_seconds"` // per PID, within the window
	OwnCPU    float64        `json:"own_cpu_seconds"`
	Logins    int            `json:"logins"`
	Bitmap    string         `json:"bitmap"`
}

// loadEvent is one line of the load generator's output.
type loadEvent struct {
	Event  string      `json:"event"`
	Result *loadResult `json:"result,omitempty"`
}

// loader is one run of the load generator.
type loader struct {
	loadSetup
	dialer       smtp.Dialer
	http         *http.Client
	msg, stuffed []byte
	accepted     message.Bitmap
	next         atomic.Int64 // sequence numbers
	conns        atomic.Int64 // connections, for the choice of the account
	begin        time.Time    // of the schedule
	from, until  time.Time    // the window
	workers      []*worker
}

// worker is one client's figures; they are merged at the end.
type worker struct {
	sent, accepted, unknown, healthyErrors, healthySent int
	inWindow                                            int
	logins                                              int
	healthy, sick                                       []time.Duration
	errors                                              map[string]int
}

func runLoad(in io.Reader, out io.Writer) error {
	system.RaiseFileLimit()
	r := bufio.NewReader(in)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("load: reading setup: %w", err)
	}
	l := new(loader)
	if err := json.Unmarshal(line, &l.loadSetup); err != nil {
		return fmt.Errorf("load: parsing setup: %w", err)
	}
	if l.Timeout == 0 {
		l.Timeout = 30 * time.Second
	}
	l.dialer = smtp.Dialer{Addr: l.Addr, TLSMode: l.TLS, Timeout: l.Timeout, NoAuth: l.NoAuth}
	if l.dialer.TLS, err = clientTLS(l.CA); err != nil {
		return err
	}
	l.http = &http.Client{Timeout: l.Timeout, Transport: &http.Transport{TLSClientConfig: l.dialer.TLS, MaxIdleConnsPerHost: l.Clients}}
	enc := json.NewEncoder(out)
	if l.Hold {
		return l.hold(r, enc)
	}
	if l.msg, err = message.Template(l.Run, l.Size); err != nil {
		return err
	}
	l.stuffed = message.Stuff(l.msg)
	l.accepted = message.NewBitmap(sink.MaxMessages)
	return enc.Encode(loadEvent{Event: "done", Result: l.loop()})
}

// loop runs the clients and merges what they saw.
func (l *loader) loop() *loadResult {
	l.begin = time.Now()
	l.from = l.begin.Add(l.Warmup)
	l.until = l.from.Add(l.Window)
	if l.Messages > 0 && l.Window == 0 {
		l.until = l.begin.Add(24 * time.Hour)
	}
	var wg sync.WaitGroup
	for range l.Clients {
		w := &worker{errors: make(map[string]int)}
		l.workers = append(l.workers, w)
		wg.Go(func() { l.client(w) })
	}
	res := &loadResult{Errors: make(map[string]int), CPU: make([]float64, len(l.PIDs))}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()

	before := make([]float64, len(l.PIDs))
	wait(l.from, done)
	start, own := time.Now(), system.OwnCPU()
	for i, pid := range l.PIDs {
		before[i] = system.ProcessCPU(pid)
	}
	wait(l.until, done)
	end := time.Now()
	for i, pid := range l.PIDs {
		res.CPU[i] = system.ProcessCPU(pid) - before[i]
	}
	res.OwnCPU = system.OwnCPU() - own
	res.Window = end.Sub(start).Seconds()
	<-done
	l.merge(res)
	return res
}

// wait returns at t, or when the clients are done before it.
func wait(t time.Time, done <-chan struct{}) {
	select {
	case <-time.After(time.Until(t)):
	case <-done:
	}
}

func (l *loader) merge(res *loadResult) {
	var healthy, sick []time.Duration
	for _, w := range l.workers {
		res.Sent += w.sent
		res.Accepted += w.accepted
		res.Unknown += w.unknown
		res.InWindow += w.inWindow
		res.HealthyNo += w.healthyErrors
		res.HealthyN += w.healthySent
		res.Logins += w.logins
		for k, n := range w.errors {
			res.Errors[k] += n
		}
		healthy = append(healthy, w.healthy...)
		sick = append(sick, w.sick...)
	}
	res.Latency, res.Sick = percentiles(healthy), percentiles(sick)
	res.Bitmap = l.accepted.Text()
}

// client is one client: connections one after the other, PerConn messages each.
func (l *loader) client(w *worker) {
	for {
		if l.ended() {
			return
		}
		n := int(l.conns.Add(1) - 1)
		if l.Messages > 0 && n*l.PerConn >= l.Messages {
			return // so that each account gets its turn, and none a second one
		}
		account := l.FirstAccount + n%l.Accounts
		sick := l.SickEvery > 0 && account%l.SickEvery < 2
		if l.Rate > 0 {
			if !l.openConn(w, account, sick) {
				return
			}
		} else {
			l.closedConn(w, account, sick)
		}
	}
}

func (l *loader) ended() bool {
	return !time.Now().Before(l.until) || l.Messages > 0 && l.next.Load() >= int64(l.Messages)
}

// take returns the next sequence number, false if there is none.
func (l *loader) take() (uint32, bool) {
	n := l.next.Add(1) - 1
	if l.Messages > 0 && n >= int64(l.Messages) || n >= sink.MaxMessages {
		return 0, false
	}
	return uint32(n), true
}

func (l *loader) connect(w *worker, account int) (*smtp.Client, error) {
	if l.TokenURL != "" {
		if err := l.token(account); err != nil {
			return nil, err
		}
	}
	c, err := l.dialer.Dial(account)
	if err != nil {
		return nil, err
	}
	w.logins++
	c.Prepare(l.Mode, account, l.msg, l.stuffed)
	return c, nil
}

// token fetches an access token (RFC 6749 section 6). The sink takes any login.
func (l *loader) token(account int) error {
	resp, err := l.http.PostForm(l.TokenURL, url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {message.AccountSeed(account)},
		"client_id": {"bench"}, "client_secret": {"made-up-client-secret"},
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.AccessToken == "" {
		return fmt.Errorf("token endpoint: %s", resp.Status)
	}
	return nil
}

// closedConn sends as fast as it is answered.
func (l *loader) closedConn(w *worker, account int, sick bool) {
	c, err := l.connect(w, account)
	if err != nil {
		w.fail(err, sick)
		time.Sleep(10 * time.Millisecond)
		return
	}
	c.Deadline(l.Timeout)
	for range l.PerConn {
		start := time.Now()
		if !start.Before(l.until) {
			break
		}
		seq, ok := l.take()
		if !ok {
			break
		}
		err := c.Send(seq)
		l.count(w, seq, start, sick, err)
		if err != nil {
			break
		}
	}
	c.Quit()
}

// openConn sends when it is time, and counts from that time on. It reports whether
// there is more to send: who asked again to no end would load what is measured.
func (l *loader) openConn(w *worker, account int, sick bool) (more bool) {
	// The connection is made ahead of the message's time, as a client that
	// has something to send would hold it.
	c, err := l.connect(w, account)
	more = true
	for i := 0; i < l.PerConn; i++ {
		seq, ok := l.take()
		due := l.begin.Add(time.Duration(float64(seq) / l.Rate * float64(time.Second)))
		if !ok || !due.Before(l.until) {
			more = false
			break
		}
		if d := time.Until(due); d > 0 {
			time.Sleep(d)
		}
		if err == nil {
			c.Deadline(l.Timeout)
			err = c.Send(seq)
		}
		l.count(w, seq, due, sick, err)
		if err != nil {
			break
		}
	}
	if c != nil {
		c.Quit()
	}
	return more
}

// count notes one message's outcome.
func (l *loader) count(w *worker, seq uint32, start time.Time, sick bool, err error) {
	now := time.Now()
	w.sent++
	if !sick {
		w.healthySent++
	}
	if err != nil {
		if errors.As(err, new(smtp.UnknownError)) {
			w.unknown++
		}
		w.fail(err, sick)
		if !smtp.IsReply(err) {
			return
		}
		if sick && l.counts(start) {
			w.sick = append(w.sick, now.Sub(start))
		}
		return
	}
	w.accepted++
	l.accepted.Set(seq)
	if !now.Before(l.from) && now.Before(l.until) {
		w.inWindow++
	}
	if l.counts(start) {
		if sick {
			w.sick = append(w.sick, now.Sub(start))
		} else {
			w.healthy = append(w.healthy, now.Sub(start))
		}
	}
}

// counts reports whether a message that started then belongs to the window.
func (l *loader) counts(start time.Time) bool {
	return !start.Before(l.from) && start.Before(l.until)
}

func (w *worker) fail(err error, sick bool) {
	if !sick {
		w.healthyErrors++
	}
	what := err.Error()
	if len(what) > 120 {
		what = what[:120]
	}
	w.errors[what]++
}

// hold keeps idle clients.
func (l *loader) hold(in io.Reader, enc *json.Encoder) error {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		first error
		slots = make(chan struct{}, 64)
		conns = make([]*smtp.Client, l.Clients)
	)
	for i := range l.Clients {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			c, err := l.dialer.Dial(l.FirstAccount + i%l.Accounts)
			if err != nil {
				mu.Lock()
				if first == nil {
					first = err
				}
				mu.Unlock()
				return
			}
			_ = c.Conn.SetDeadline(time.Time{})
			conns[i] = c
		})
	}
	wg.Wait()
	if first != nil {
		return fmt.Errorf("load: idle clients: %w", first)
	}
	if err := enc.Encode(loadEvent{Event: "held"}); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, in)
	for _, c := range conns {
		_ = c.Conn.Close()
	}
	return err
}
