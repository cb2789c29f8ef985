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

package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/illness"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/record"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// provider is an upstream that counts what it has accepted, by the message's
// text.
type provider struct {
	relay.Transport

	mu    sync.Mutex
	down  bool
	got   map[string]int
	order []string
	reply *relay.Reply // to the message; nil: accepted
	judge func(text string) *relay.Reply
}

func newProvider() *provider { return &provider{got: make(map[string]int)} }

func (p *provider) Begin(context.Context, *accounts.Account, string, *smtp.MailOptions) (relay.Transaction, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return nil, relay.ReplyUpstreamDown
	}
	return &providerTx{p: p}, nil
}

func (p *provider) set(down bool) {
	p.mu.Lock()
	p.down = down
	p.mu.Unlock()
}

func (p *provider) setJudge(judge func(text string) *relay.Reply) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.judge = judge
}

func (p *provider) count(text string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got[text]
}

type providerTx struct{ p *provider }

func (*providerTx) Rcpt(context.Context, string, *smtp.RcptOptions) error { return nil }
func (*providerTx) Abort()                                                {}

func (tx *providerTx) Data(_ context.Context, r io.Reader) (relay.Reply, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return relay.Reply{}, err
	}
	text := string(b)
	if strings.HasPrefix(text, "Received: ") {
		_, text, _ = strings.Cut(text, "\r\n\t")
		_, text, _ = strings.Cut(text, "\r\n")
	}
	tx.p.mu.Lock()
	judge := tx.p.judge
	tx.p.mu.Unlock()
	if judge != nil {
		if reply := judge(text); reply != nil {
			return relay.Reply{}, reply
		}
	}
	tx.p.mu.Lock()
	defer tx.p.mu.Unlock()
	if tx.p.reply != nil {
		return relay.Reply{}, tx.p.reply
	}
	tx.p.got[text]++
	tx.p.order = append(tx.p.order, text)
	return *relay.ReplyOK, nil
}

// start runs a spool with these options on a file system.
func start(t *testing.T, fsys disk.FS, p *provider, options func(*Transport)) *Transport {
	t.Helper()
	tr := &Transport{Upstream: "p", Directory: "/spool/" + t.Name(), AlwaysKeep: true, Hostname: "here", fs: fsys, next: p, logger: zap.NewNop(), MinFree: -1}
	if options != nil {
		options(tr)
	}
	if err := tr.Bind("kept"); err != nil {
		t.Fatal(err)
	}
	tr.UseAccounts(func(name string) (*accounts.Account, bool) {
		return &accounts.Account{Record: accounts.Record{Name: name}}, true
	})
	if err := tr.Attach(); err != nil {
		t.Fatal(err)
	}
	return tr
}

// stop ends a spool and waits for it.
func stop(tr *Transport) {
	_ = tr.Detach()
	<-tr.engine.done
}

// send gives a spool a message.
func send(tr *Transport, account, text string) (relay.Reply, error) {
	ctx := context.Background()
	tx, err := tr.Begin(ctx, &accounts.Account{Record: accounts.Record{Name: account}}, "from@example.com", &smtp.MailOptions{})
	if err != nil {
		return relay.Reply{}, err
	}
	defer tx.Abort()
	if err := tx.Rcpt(ctx, "to@example.org", &smtp.RcptOptions{}); err != nil {
		return relay.Reply{}, err
	}
	return tx.Data(ctx, strings.NewReader(text))
}

// await waits until the spool is empty.
func await(t *testing.T, tr *Transport) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for tr.engine.status().Messages > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("the spool is not empty in time: %+v", Messages("", ""))
		}
		time.Sleep(time.Millisecond)
	}
}

// TestForgetfulDisk kills the process at every operation that writes, on a disk
// that forgets what was not synced: what was answered with 250 is delivered, and
// a message is delivered twice only if the process died between the provider's
// 250 and the line that notes it.
func TestForgetfulDisk(t *testing.T) {
	rounds := 150
	if testing.Short() {
		rounds = 40
	}
	accepted, twice := 0, 0
	for round := range rounds {
		fsys, p := newMemFS(), newProvider()
		die := round + 1 // the operation to die at
		var mu sync.Mutex
		n := 0
		fsys.before = func(op string) error {
			mu.Lock()
			defer mu.Unlock()
			if n++; n >= die {
				return errCrash
			}
			return nil
		}
		tr := start(t, fsys, p, nil)
		promised := make(map[string]bool)
		for i := range 6 {
			text := fmt.Sprintf("message %d of round %d %s\r\n", i, round, strings.Repeat("x", rand.IntN(200_000)))
			if _, err := send(tr, fmt.Sprint("a", i%2), text); err == nil {
				promised[text] = true
				accepted++
			}
		}
		stop(tr)

		after := fsys.crash()
		tr = start(t, after, p, nil)
		for _, m := range Messages("", "") {
			_ = Release(m.ID)
		}
		await(t, tr)
		stop(tr)
		for text := range promised {
			switch n := p.count(text); {
			case n == 0:
				t.Fatalf("round %d: %.40q was answered with 250 and is lost", round, text)
			case n > 2:
				t.Fatalf("round %d: %.40q came %d times after one crash", round, text, n)
			case n == 2:
				twice++
			}
		}
		if left := after.files(".tmp"); len(left) > 0 {
			t.Errorf("round %d: %v left behind", round, left)
		}
	}
	t.Logf("%d messages answered with 250, 0 lost, %d delivered twice", accepted, twice)
	if accepted < rounds {
		t.Errorf("only %d messages were accepted in %d rounds: the test shows nothing", accepted, rounds)
	}
}

// TestSyncFails holds that after a sync that failed nothing is accepted, though
// the next one would succeed.
func TestSyncFails(t *testing.T) {
	for _, op := range []string{"sync", "syncdir"} {
		fsys, p := newMemFS(), newProvider()
		p.down = true
		tr := start(t, fsys, p, nil)
		failed := false
		fsys.mu.Lock()
		fsys.before = func(o string) error {
			if o == op && !failed {
				failed = true
				return errors.New("input/output error")
			}
			return nil
		}
		fsys.mu.Unlock()
		for range 2 {
			if _, err := send(tr, "a", "text"); !errors.Is(err, relay.ReplySpoolFailed) {
				t.Errorf("after a failed %s the client heard %v", op, err)
			}
		}
		if st := tr.engine.status(); st.Error == "" || st.Messages != 0 {
			t.Errorf("after a failed %s: %+v", op, st)
		}
		stop(tr)
	}
}

// TestFull holds the bounds: 452, while what the provider takes goes on.
func TestFull(t *testing.T) {
	for name, tc := range map[string]struct {
		options func(*Transport)
		free    uint64
		ok      int // messages that are kept
	}{
		"messages": {func(tr *Transport) { tr.MaxMessages = 2 }, 100, 2},
		"octets":   {func(tr *Transport) { tr.MaxSize = 8 }, 100, 2},
		"disk":     {func(tr *Transport) { tr.MinFree = 20 }, 15, 0},
	} {
		t.Run(name, func(t *testing.T) {
			fsys, p := newMemFS(), newProvider()
			fsys.free = tc.free
			p.down = true
			tr := start(t, fsys, p, func(tr *Transport) { tr.AlwaysKeep = false; tc.options(tr) })
			defer stop(tr)
			for i := range 4 {
				_, err := send(tr, "a", "text")
				if kept := err == nil; kept != (i < tc.ok) || !kept && !errors.Is(err, relay.ReplySpoolFull) {
					t.Errorf("message %d: %v", i, err)
				}
			}
			if st := tr.engine.status(); !st.Full || len(st.GaveUp) > 0 {
				t.Errorf("status %+v", st)
			}
			p.set(false)
			if _, err := send(tr, "b", "other"); err != nil || p.count("other") != 1 {
				t.Errorf("a message that the provider takes: %v", err)
			}
		})
	}
}

// TestNoSpace holds that a disk that is full at any step is answered 452, and
// that the spool works again afterwards.
func TestNoSpace(t *testing.T) {
	for _, op := range []string{"create", "write"} {
		fsys, p := newMemFS(), newProvider()
		tr := start(t, fsys, p, nil)
		fsys.mu.Lock()
		fsys.before = func(o string) error {
			if o == op {
				return errNoSpace
			}
			return nil
		}
		fsys.mu.Unlock()
		if _, err := send(tr, "a", "text"); !errors.Is(err, relay.ReplySpoolFull) {
			t.Errorf("%s on a full disk: %v", op, err)
		}
		fsys.mu.Lock()
		fsys.before = nil
		fsys.mu.Unlock()
		if _, err := send(tr, "a", "text"); err != nil {
			t.Errorf("with room again: %v", err)
		}
		await(t, tr)
		stop(tr)
		if left := fsys.files(""); len(left) > 0 {
			t.Errorf("%v left behind", left)
		}
	}
}

// TestPoison holds that a message that the process has died of three times is
// held, and that it goes on when it is released.
func TestPoison(t *testing.T) {
	fsys, p := newMemFS(), newProvider()
	p.down = true
	tr := start(t, fsys, p, func(tr *Transport) { tr.AlwaysKeep = false })
	if _, err := send(tr, "a", "poison"); err != nil {
		t.Fatal(err)
	}
	id := Messages("", "")[0].ID
	stop(tr)
	for range poisonous {
		rec, err := tr.engine.store.OpenJournal(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := rec.Append(&record.Line{At: time.Now(), Event: record.EventTry}); err != nil {
			t.Fatal(err)
		}
	}
	p.set(false)
	tr = start(t, fsys, p, nil)
	defer stop(tr)
	if m, err := Get(id); err != nil || m.State != "held" || m.Why != illness.WhyPoison || m.Attempts != poisonous {
		t.Fatalf("%+v, %v", m, err)
	}
	if err := Release(id); err != nil {
		t.Fatal(err)
	}
	await(t, tr)
	if p.count("poison") != 1 {
		t.Error("released, and not delivered")
	}
}

// TestOddities holds that damaged and foreign files are named and left alone,
// and keep nothing else from being delivered.
func TestOddities(t *testing.T) {
	dir := t.TempDir()
	p := newProvider()
	p.down = true
	on := func(tr *Transport) { tr.AlwaysKeep, tr.Directory = false, dir }
	tr := start(t, disk.OS{}, p, on)
	for i := range 2 {
		if _, err := send(tr, "a", fmt.Sprint("message ", i)); err != nil {
			t.Fatal(err)
		}
	}
	list := Messages("", "")
	stop(tr)
	damaged := tr.engine.store.Path(list[0].ID, store.MessageExt)
	b, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	b[len(record.Magic)+12] ^= 1 // within the envelope
	foreign := filepath.Join(dir, "README")
	unsure := strings.TrimSuffix(tr.engine.store.Path(list[1].ID, store.MessageExt), store.MessageExt) + store.UnsureExt
	for path, content := range map[string][]byte{damaged: b, foreign: []byte("x"), unsure: []byte(record.Magic)} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.set(false)
	tr = start(t, disk.OS{}, p, on)
	defer stop(tr)
	if odd := tr.engine.status().LeftAlone; len(odd) != 2 {
		t.Errorf("left alone: %+v", odd)
	}
	for _, path := range []string{damaged, foreign} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(unsure); err == nil {
		t.Error("what was promised nobody is still there")
	}
	if err := Release(list[1].ID); err != nil {
		t.Fatal(err)
	}
	await(t, tr)
	if p.count("message 1") != 1 {
		t.Error("the sound message was not delivered")
	}
}

// TestSealed holds that with a key nothing of a message can be read on the disk,
// and that without it the file is left alone.
func TestSealed(t *testing.T) {
	fsys, p := newMemFS(), newProvider()
	p.down = true
	key := strings.Repeat("ab", 32)
	keyed := func(tr *Transport) { tr.AlwaysKeep, tr.EncryptionKeys = false, []string{key} }
	tr := start(t, fsys, p, keyed)
	if _, err := send(tr, "secret-account", "secret text"); err != nil {
		t.Fatal(err)
	}
	id := Messages("", "")[0].ID
	stop(tr)
	for _, name := range fsys.files(store.MessageExt) {
		for _, word := range []string{"secret", "example", "to@"} {
			if strings.Contains(string(fsys.names[name].data), word) {
				t.Errorf("%q can be read in the file", word)
			}
		}
	}
	tr = start(t, fsys, p, nil)
	if odd := tr.engine.status().LeftAlone; len(odd) != 1 || !strings.Contains(odd[0].Why, "no encryption key") {
		t.Errorf("without the key: %+v", odd)
	}
	stop(tr)
	p.set(false)
	tr = start(t, fsys, p, keyed)
	defer stop(tr)
	if err := Release(id); err != nil {
		t.Fatal(err)
	}
	await(t, tr)
	if p.count("secret text") != 1 {
		t.Error("not delivered")
	}
}

// TestReload holds that a spool outlives its configuration: the new one is in
// force, and what is kept stays.
func TestReload(t *testing.T) {
	fsys, p := newMemFS(), newProvider()
	p.down = true
	sync := func(tr *Transport) { tr.AlwaysKeep = false }
	first := start(t, fsys, p, sync)
	if _, err := send(first, "a", "kept"); err != nil {
		t.Fatal(err)
	}
	second := start(t, fsys, p, func(tr *Transport) { tr.AlwaysKeep = false; tr.MaxMessages = 1 })
	if first.engine != second.engine {
		t.Fatal("a reload made another spool")
	}
	_ = first.Detach()
	defer stop(second)
	if _, err := send(second, "a", "one too many"); !errors.Is(err, relay.ReplySpoolFull) {
		t.Errorf("the new bound is not in force: %v", err)
	}
	if n := len(Messages("", "")); n != 1 {
		t.Errorf("%d messages after the reload", n)
	}
}

// TestGivenUp holds that a message that is too old is reported and removed.
func TestGivenUp(t *testing.T) {
	fsys, p := newMemFS(), newProvider()
	p.down = true
	tr := start(t, fsys, p, func(tr *Transport) { tr.AlwaysKeep = false; tr.GiveUpAfter = caddy.Duration(time.Nanosecond) })
	defer stop(tr)
	if _, err := send(tr, "a", "Subject: old\r\n\r\ntext"); err != nil {
		t.Fatal(err)
	}
	list := Messages("", "")
	if err := Release(list[0].ID); err != nil {
		t.Fatal(err)
	}
	// Its report is given up as well, without another.
	await(t, tr)
	st := tr.engine.status()
	if st.Results["given_up"] != 2 || st.Full || len(st.GaveUp) != 1 || time.Since(st.GaveUp["a"]) > time.Hour {
		t.Errorf("status %+v", st)
	}
	tr.engine.ledger.GaveUp("a", time.Now().Add(-time.Hour-time.Second))
	if st := tr.engine.status(); len(st.GaveUp) > 0 {
		t.Errorf("an hour later: %v", st.GaveUp)
	}
}
