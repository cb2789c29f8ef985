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

package mailing

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/connect"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/relay"
)

// killed works on an order until its process is killed: nothing of it runs any more but
// what gives the lock back, which a storage does by itself for a process that is gone.
func killed(t *testing.T, r Runner, id string) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.work(t.Context(), id); err != nil {
			t.Error(err)
		}
	}()
	<-done
}

// TestKilled kills the process at each mail, before it has left and behind it: no owner
// gets two, and of each it is known that it went out, that it did not, or neither.
func TestKilled(t *testing.T) {
	p, storage := newProvider(), &certmagic.FileStorage{Path: t.TempDir()}
	r := p.runner(storage)
	o := add(t, r.Orders, rowsOf(30))
	kills, send := 0, r.Send
	for !state(t, r.Orders, o.ID).Done {
		r.Send = func(ctx context.Context, account, to string, message func(string) []byte) error {
			var n int
			if _, err := fmt.Sscanf(to, "user%d@", &n); err != nil {
				t.Error(err)
			}
			switch n % 3 {
			case 1:
				kills++
				runtime.Goexit()
			case 2:
				_ = send(ctx, account, to, message)
				kills++
				runtime.Goexit()
			}
			return send(ctx, account, to, message)
		}
		if kills > 30 {
			t.Fatal("a mail is tried again and again")
		}
		killed(t, r, o.ID)
	}
	st := state(t, r.Orders, o.ID)
	if kills != 20 || st.Sent != 10 || st.Failed != 20 || len(p.sent) != 20 {
		t.Errorf("%d kills, %+v, %d owners have a mail", kills, st, len(p.sent))
	}
	for to, n := range p.sent {
		if n != 1 {
			t.Errorf("%s got %d mails", to, n)
		}
	}
	list, err := r.Failures(t.Context(), o.ID, 0, 100)
	if err != nil || len(list) != 20 {
		t.Fatalf("%d failures, %v", len(list), err)
	}
	for _, f := range list {
		if f.Row%3 == 0 || f.Why != whyEnded || f.Invitation == "" || !p.links[f.Invitation] {
			t.Errorf("%+v", f)
		}
	}
}

// TestNobodyKnows has mails of which the provider does not say whether it took them, and
// sends those again whose link was not used, when an operator says so.
func TestNobodyKnows(t *testing.T) {
	p, storage := newProvider(), &certmagic.FileStorage{Path: t.TempDir()}
	r := p.runner(storage)
	invitations := connect.Invitations{Storage: storage}
	r.Invite = func(ctx context.Context, q connect.Request) (connect.Invited, error) {
		token, i, err := invitations.Add(ctx, connect.Invitation{Account: q.Account, Mailbox: q.Account, Expires: time.Now().Add(time.Hour)})
		return connect.Invited{Invitation: i, Link: "https://gw.example/i/" + token}, err
	}
	answers := map[string]error{
		"user1@example.com": &operate.MailError{Stage: operate.MailContent, Err: relay.ReplyDeliveryUnknown},
		"user2@example.com": &operate.MailError{Stage: operate.MailContent, Err: context.DeadlineExceeded},
		"user3@example.com": &operate.MailError{Stage: operate.MailContent, Err: relay.ReplyAPIUnknown},
	}
	p.answer = func(to string, _ int) error { return answers[to] }
	o := add(t, r.Orders, rowsOf(5))
	if err := r.work(t.Context(), o.ID); err != nil {
		t.Fatal(err)
	}
	if st := state(t, r.Orders, o.ID); !st.Done || st.Sent != 2 || st.Failed != 3 {
		t.Errorf("%+v", st)
	}
	for to := range answers {
		if p.attempts[to] != 1 {
			t.Errorf("%s was tried %d times", to, p.attempts[to])
		}
	}
	list, err := r.Failures(t.Context(), o.ID, 0, 10)
	if err != nil || len(list) != 3 || !strings.HasPrefix(list[0].Why, whyUnsure) {
		t.Fatalf("%+v %v", list, err)
	}
	// One of the three has had the mail, and has agreed.
	if err := invitations.Use(t.Context(), list[0].Invitation, time.Now(), func(*connect.Invitation) (string, error) { return "x", nil }); err != nil {
		t.Fatal(err)
	}
	again, err := r.AddFailed(t.Context(), o.ID, "op")
	if err != nil || again.Total != 2 {
		t.Fatalf("%+v %v", again, err)
	}
	if _, err := invitations.Get(t.Context(), list[1].Invitation); !errors.Is(err, connect.ErrUnknown) {
		t.Errorf("the first link is still good: %v", err)
	}
	answers = nil
	if err := r.work(t.Context(), again.ID); err != nil {
		t.Fatal(err)
	}
	if p.sent["user1@example.com"] != 0 || p.sent["user2@example.com"] != 1 || p.sent["user3@example.com"] != 1 {
		t.Errorf("%v", p.sent)
	}
}

// TestStoppedProcess is about a process that was stopped for so long that another has
// taken its order for an ended one's, and that wakes up then.
func TestStoppedProcess(t *testing.T) {
	p, storage := newProvider(), &certmagic.FileStorage{Path: t.TempDir()}
	r := p.runner(storage)
	o := add(t, r.Orders, rowsOf(10))
	p.answer = func(to string, _ int) error {
		if to == "user4@example.com" { // it is being sent while the other goes on
			st := State{Next: 8, Sent: 7, Failed: 1}
			if err := r.store(t.Context(), o.ID, "state.json", st); err != nil {
				t.Error(err)
			}
		}
		return nil
	}
	if err := r.work(t.Context(), o.ID); !errors.Is(err, errOvertaken) {
		t.Errorf("it goes on: %v", err)
	}
	if st := state(t, r.Orders, o.ID); st.Next != 8 || p.attempts["user5@example.com"] != 0 {
		t.Errorf("%+v, %d attempts", st, p.attempts["user5@example.com"])
	}
}

// TestGatewayIsAway is about a configuration without what invitations need: that is no
// fault of a row's.
func TestGatewayIsAway(t *testing.T) {
	p, storage := newProvider(), &certmagic.FileStorage{Path: t.TempDir()}
	r := p.runner(storage)
	o := add(t, r.Orders, rowsOf(3))
	invite, causes := r.Invite, []error{connect.ErrNoSite, &operate.NotRunningError{App: "smtp"}, errors.New("the storage is away")}
	waiting := make(map[string]bool)
	r.Invite = func(ctx context.Context, q connect.Request) (connect.Invited, error) {
		if len(causes) > 0 {
			err := causes[0]
			causes = causes[1:]
			return connect.Invited{}, err
		}
		waiting[state(t, r.Orders, o.ID).Waiting] = true
		return invite(ctx, q)
	}
	if err := r.work(t.Context(), o.ID); err != nil {
		t.Fatal(err)
	}
	if st := state(t, r.Orders, o.ID); st.Sent != 3 || st.Failed != 0 || !waiting["the storage is away"] {
		t.Errorf("%+v, waited for %v", st, waiting)
	}
}

// TestKeeper has orders go on by themselves, but for one that is paused and one that is
// done, as long as a configuration is in force.
func TestKeeper(t *testing.T) {
	p, storage := newProvider(), &certmagic.FileStorage{Path: t.TempDir()}
	r := p.runner(storage)
	left, paused, done := add(t, r.Orders, rowsOf(4)), add(t, r.Orders, rowsOf(1)), add(t, r.Orders, []Row{{To: "done@example.com"}})
	if err := r.Pause(t.Context(), paused.ID, "op"); err != nil {
		t.Fatal(err)
	}
	if err := r.work(t.Context(), done.ID); err != nil {
		t.Fatal(err)
	}
	began, goOn := make(chan struct{}, 4), make(chan struct{})
	send := r.Send
	r.Send = func(ctx context.Context, account, to string, message func(string) []byte) error {
		began <- struct{}{}
		<-goOn
		return send(ctx, account, to, message)
	}
	old, now := &Keeper{r}, &Keeper{r}
	old.Begin()
	<-began
	// A reload: what is under way goes on.
	now.Begin()
	old.End()
	if !state(t, r.Orders, left.ID).Running {
		t.Error("the reload has ended it")
	}
	// The end: the mail that has begun is sent, and none after it.
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		now.End()
	}()
	for !stopping(left.ID) {
		runtime.Gosched()
	}
	close(goOn)
	<-ended
	st := state(t, r.Orders, left.ID)
	if st.Running || st.Next != 1 || st.Sent != 1 || st.Sending != "" {
		t.Errorf("behind the end: %+v", st)
	}
	// The next start.
	last := &Keeper{r}
	last.Begin()
	defer last.End()
	for late := time.Now().Add(time.Minute); !state(t, r.Orders, left.ID).Done; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("it does not go on: %+v", state(t, r.Orders, left.ID))
		}
	}
	for i := range 4 {
		if n := p.sent[fmt.Sprintf("user%d@example.com", i)]; n != 1 {
			t.Errorf("owner %d got %d mails", i, n)
		}
	}
	if st := state(t, r.Orders, paused.ID); st.Running || !st.Paused || st.Next != 0 {
		t.Errorf("the paused one: %+v", st)
	}
	if err := r.Resume(t.Context(), paused.ID); err != nil || state(t, r.Orders, paused.ID).Paused {
		t.Errorf("resumed: %v", err)
	}
}

// stopping reports whether an order was told to stop.
func stopping(id string) bool {
	runs.mu.Lock()
	defer runs.mu.Unlock()
	return runs.work[id] == nil || runs.work[id].stopped
}

// TestPauseElsewhere pauses an order that another node works on, and lets it go on while
// it still stops.
func TestPauseElsewhere(t *testing.T) {
	p, storage := newProvider(), &certmagic.FileStorage{Path: t.TempDir()}
	r := p.runner(storage)
	o := add(t, r.Orders, rowsOf(6))
	p.answer = func(to string, _ int) error {
		if to == "user2@example.com" {
			return r.store(t.Context(), o.ID, pausedName, "another node's")
		}
		return nil
	}
	if err := r.work(t.Context(), o.ID); err != nil {
		t.Fatal(err)
	}
	if st := state(t, r.Orders, o.ID); !st.Paused || st.Next != 3 || st.Sending != "" {
		t.Errorf("%+v", st)
	}
	if err := r.Resume(t.Context(), o.ID); err != nil {
		t.Fatal(err)
	}
	began, goOn := make(chan struct{}, 6), make(chan struct{})
	p.answer = func(string, int) error { return nil }
	send := r.Send
	r.Send = func(ctx context.Context, account, to string, message func(string) []byte) error {
		began <- struct{}{}
		<-goOn
		return send(ctx, account, to, message)
	}
	r.Start(o.ID)
	<-began
	if err := r.Pause(t.Context(), o.ID, "op"); err != nil {
		t.Fatal(err)
	}
	if err := r.Resume(t.Context(), o.ID); err != nil {
		t.Fatal(err)
	}
	r.Start(o.ID)
	close(goOn)
	for late := time.Now().Add(time.Minute); !state(t, r.Orders, o.ID).Done || isRunning(o.ID); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("it does not go on: %+v", state(t, r.Orders, o.ID))
		}
	}
	for i := range 6 {
		if n := p.sent[fmt.Sprintf("user%d@example.com", i)]; n != 1 {
			t.Errorf("owner %d got %d mails", i, n)
		}
	}
}
