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

package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymail/mailgateway/internal/checkup"
)

// recorder is a destination that keeps what it is sent.
type recorder struct {
	mu      sync.Mutex
	digests []digest
	err     error
}

func (r *recorder) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *recorder) send(_ context.Context, d digest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.digests = append(r.digests, d)
	return r.err
}

func noFailure(t *testing.T) func(error, int) {
	return func(err error, _ int) { t.Errorf("not delivered: %v", err) }
}

func trouble(account, state string) Notice {
	return Notice{State: state, Check: "consent", Subject: "google", Account: account, Cause: "why", Remedy: "how"}
}

func TestOnceATroubleOneDigestAndItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(recorder)
		d := newDesk([]destination{r}, time.Minute, time.Second, noFailure(t))
		for _, account := range []string{"a", "b", "a"} {
			d.tell(trouble(account, began))
		}
		time.Sleep(2 * time.Minute)
		d.tell(trouble("a", began))
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		if len(r.digests) != 1 || len(r.digests[0].notices) != 2 {
			t.Fatalf("digests %v, want one of two troubles", r.digests)
		}
		d.tell(trouble("a", over))
		d.tell(trouble("a", over))
		time.Sleep(2 * time.Minute)
		d.tell(trouble("a", began))
		time.Sleep(2 * time.Minute)
		if err := d.Destruct(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if len(r.digests) != 3 {
			t.Fatalf("digests %v, want its end and the next beginning as well", r.digests)
		}
		for i, want := range []string{over, began} {
			if got := r.digests[i+1].notices; len(got) != 1 || got[0].State != want || got[0].Account != "a" {
				t.Errorf("digest %d is %v, want a %s", i+1, got, want)
			}
		}
	})
}

func TestOverBeforeItWasTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(recorder)
		d := newDesk([]destination{r}, time.Minute, time.Second, noFailure(t))
		d.tell(trouble("a", began))
		d.tell(trouble("a", over))
		time.Sleep(time.Hour)
		_ = d.Destruct()
		synctest.Wait()
		if len(r.digests) != 0 {
			t.Errorf("told %v", r.digests)
		}
	})
}

func TestUndeliveredIsTriedAgainAtItsDestinationOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad, failures := new(recorder), &recorder{err: errors.New("down")}, 0
		d := newDesk([]destination{good, bad}, time.Minute, time.Second, func(error, int) { failures++ })
		d.tell(trouble("a", began))
		time.Sleep(time.Minute + retryMin + time.Second)
		synctest.Wait()
		if len(good.digests) != 1 || len(bad.digests) != 2 || failures != 2 {
			t.Fatalf("%d and %d digests, %d failures; want 1, 2 and 2", len(good.digests), len(bad.digests), failures)
		}
		bad.fail(nil)
		time.Sleep(2 * retryMin)
		synctest.Wait()
		if len(bad.digests) != 3 || len(bad.digests[2].notices) != 1 {
			t.Errorf("%v, want the notice to arrive at last", bad.digests)
		}
		_ = d.Destruct()
	})
}

func TestEndSendsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(recorder)
		d := newDesk([]destination{r}, time.Hour, time.Second, noFailure(t))
		d.tell(trouble("a", began))
		_ = d.Destruct()
		synctest.Wait()
		if len(r.digests) != 1 {
			t.Errorf("%d digests, want what waited", len(r.digests))
		}
	})
}

func TestManyAreOneShortDigest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(recorder)
		d := newDesk([]destination{r}, time.Minute, time.Second, noFailure(t))
		for i := range 10_000 {
			d.tell(trouble(fmt.Sprint("account", i), began))
		}
		time.Sleep(2 * time.Minute)
		_ = d.Destruct()
		synctest.Wait()
		if len(r.digests) != 1 {
			t.Fatalf("%d digests", len(r.digests))
		}
		words := text(r.digests[0])
		if !strings.Contains(words, "and 9980 more") || strings.Count(words, "TROUBLE") != maxLines || title(r.digests[0]) != "10000 troubles" {
			t.Errorf("%s\n%s", title(r.digests[0]), words)
		}
	})
}

// TestOnlyTheNumberIsLeft holds that a digest is told of which nothing but the number
// is left: what there was room for is over.
func TestOnlyTheNumberIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(recorder)
		d := newDesk([]destination{r}, time.Minute, time.Second, noFailure(t))
		for _, state := range []string{began, over} {
			for i := range maxPending + 1 {
				if state == began || i < maxPending {
					d.tell(trouble(fmt.Sprint("account", i), state))
				}
			}
		}
		time.Sleep(2 * time.Minute)
		_ = d.Destruct()
		synctest.Wait()
		if len(r.digests) != 1 || len(r.digests[0].notices) != 0 || r.digests[0].more != 1 {
			t.Fatalf("digests %v", r.digests)
		}
		if words := text(r.digests[0]); title(r.digests[0]) != "1 trouble" || !strings.HasPrefix(words, "and 1 more") {
			t.Errorf("%s\n%s", title(r.digests[0]), words)
		}
	})
}

// TestFlapping holds that what is told last is how it stands.
func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(recorder)
		d := newDesk([]destination{r}, time.Minute, time.Second, noFailure(t))
		d.tell(trouble("a", began))
		time.Sleep(2 * time.Minute)
		for range 3 {
			d.tell(trouble("a", over))
			d.tell(trouble("a", began))
		}
		d.tell(trouble("a", over))
		time.Sleep(2 * time.Minute)
		_ = d.Destruct()
		synctest.Wait()
		last := r.digests[len(r.digests)-1].notices
		if len(r.digests) != 2 || len(last) == 0 || last[len(last)-1].State != over {
			t.Errorf("told %v, want its end last", r.digests)
		}
	})
}

// slow is a destination that takes all the time it may.
type slow struct{}

func (slow) send(ctx context.Context, _ digest) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestOneHoldsUpNoOther holds that a destination that is away, for hours or within a
// digest, delays none of the others'.
func TestOneHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad := new(recorder), &recorder{err: errors.New("down")}
		d := newDesk([]destination{slow{}, bad, good}, time.Minute, 30*time.Second, func(error, int) {})
		for i := range 10 {
			d.tell(trouble(fmt.Sprint("account", i), began))
			time.Sleep(time.Minute + time.Second)
			synctest.Wait()
			if len(good.digests) != i+1 {
				t.Fatalf("%d digests after %d troubles", len(good.digests), i+1)
			}
			time.Sleep(time.Hour)
		}
		_ = d.Destruct()
	})
}

func TestWatchTellsChanges(t *testing.T) {
	finding := func(state checkup.State) []checkup.Finding {
		return []checkup.Finding{{Check: "upstream", Subject: "gmail", State: state, Said: "words of a provider", Cause: "why"}}
	}
	var told []Notice
	w := &watch{every: time.Minute, emit: func(n Notice) { told = append(told, n) }}
	troubles, start := make(map[string]lasting), time.Now()
	for minute, findings := range [][]checkup.Finding{
		finding(checkup.OK), finding(checkup.Wrong), finding(checkup.Warning), finding(checkup.OK), finding(checkup.Wrong), nil,
		finding(checkup.OK), finding(checkup.OK), finding(checkup.OK), finding(checkup.Unknown),
	} {
		w.compare(troubles, findings, start.Add(time.Duration(minute)*time.Minute))
	}
	if len(told) != 2 || told[0].State != began || told[1].State != over || told[1].Subject != "gmail" {
		t.Errorf("told %+v, want one beginning and one end", told)
	}
	if strings.Contains(fmt.Sprint(told), "words of") {
		t.Errorf("told a provider's words: %+v", told)
	}
}
