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

package choice

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// scripted is an upstream and its only transaction; recipients are answered with
// rcpt.
type scripted struct {
	relay.Transport // nil: of a way only Begin is used

	begin, rcpt error
	aborted     int
	wanted      bool
}

func (s *scripted) Begin(context.Context, *accounts.Account, string, *smtp.MailOptions) (relay.Transaction, error) {
	if s.begin != nil {
		return nil, s.begin
	}
	return &scriptedTx{s}, nil
}

type scriptedTx struct{ s *scripted }

func (tx *scriptedTx) Rcpt(context.Context, string, *smtp.RcptOptions) error { return tx.s.rcpt }

func (tx *scriptedTx) RcptBatch(_ context.Context, rcpts []relay.Recipient) []error {
	errs := make([]error, len(rcpts))
	for i := range errs {
		errs[i] = tx.s.rcpt
	}
	return errs
}

func (tx *scriptedTx) Data(context.Context, io.Reader) (relay.Reply, error) {
	return relay.Reply{}, relay.ReplyBadSequence
}

func (tx *scriptedTx) Abort()               { tx.s.aborted++ }
func (tx *scriptedTx) Describe() relay.Info { return relay.Info{Upstream: "scripted"} }
func (tx *scriptedTx) Wanted() bool         { return tx.s.wanted }

var errClosing = errors.New("535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox")

// chosen returns a transaction on the first of the ways.
func chosen(t *testing.T, ways ...*scripted) relay.Transaction {
	t.Helper()
	var all []relay.Transport
	for _, s := range ways {
		all = append(all, s)
	}
	tr, a := several(t, all...)
	tx, err := tr.Begin(t.Context(), a, "box@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

// several is a choice of these ways, of whose mailbox nothing is known.
func several(t *testing.T, ways ...relay.Transport) (*Transport, *accounts.Account) {
	t.Helper()
	tr := &Transport{name: "office", logger: zap.NewNop()}
	for i, s := range ways {
		tr.ways = append(tr.ways, way{t.Name() + strings.Repeat("'", i), s})
	}
	a := &accounts.Account{Record: accounts.Record{Name: "box@example.com", Mailbox: "box@example.com"}}
	t.Cleanup(func() {
		for _, w := range tr.ways {
			learn(w.name, a, "", false)
		}
	})
	return tr, a
}

// TestNextWayFails holds that a message whose way turned out to be closed is
// answered with what kept it from the next one, at every recipient and after: a
// limit that passes is not a mailbox that no way takes.
func TestNextWayFails(t *testing.T) {
	rcpts := []relay.Recipient{{To: "a@example.org"}, {To: "b@example.org"}}
	for name, rcpt := range map[string]func(tx relay.Transaction) []error{
		"one by one": func(tx relay.Transaction) (errs []error) {
			for _, r := range rcpts {
				errs = append(errs, tx.Rcpt(t.Context(), r.To, &r.Opts))
			}
			return errs
		},
		"batch": func(tx relay.Transaction) []error { return tx.(relay.RcptBatcher).RcptBatch(t.Context(), rcpts) },
	} {
		t.Run(name, func(t *testing.T) {
			first := &scripted{rcpt: errClosing}
			tx := chosen(t, first, &scripted{begin: relay.ReplyLimitsNotStored})
			errs := rcpt(tx)
			if len(errs) != len(rcpts) {
				t.Fatalf("%d answers for %d recipients", len(errs), len(rcpts))
			}
			_, err := tx.Data(t.Context(), strings.NewReader(""))
			for _, err := range append(errs, err) {
				if !errors.Is(err, relay.ReplyLimitsNotStored) {
					t.Errorf("%v, want %v", err, relay.ReplyLimitsNotStored)
				}
			}
			if first.aborted != 1 {
				t.Errorf("the closed way was given back %d times", first.aborted)
			}
		})
	}
}

// TestNextWay holds that a batch is answered by the way that is taken in the end.
func TestNextWay(t *testing.T) {
	tx := chosen(t, &scripted{rcpt: errClosing}, &scripted{})
	for i, err := range tx.(relay.RcptBatcher).RcptBatch(t.Context(), make([]relay.Recipient, 3)) {
		if err != nil {
			t.Errorf("recipient %d: %v", i, err)
		}
	}
}

// flight is a way that sends as one flight. It reads so much of the body before it
// fails with err: as the answer to a command, unless it is late.
type flight struct {
	*scripted
	reads int64
	late  bool
	err   error
	sent  string
}

func (f *flight) Send(_ context.Context, _ *accounts.Account, _ string, _ *smtp.MailOptions, _ relay.Recipient, body io.Reader) (relay.Reply, relay.Info, error) {
	if f.err != nil {
		_, _ = io.CopyN(io.Discard, body, f.reads)
		return relay.Reply{}, relay.Info{Upstream: "flight", Refused: !f.late}, f.err
	}
	b, err := io.ReadAll(body)
	f.sent = string(b)
	return *relay.ReplyAPIOK("1"), relay.Info{Upstream: "flight"}, err
}

// TestSingleFlight: the chosen way sends as one flight what it can; the next one is
// taken as long as a command was refused and what was read is kept, and never after.
func TestSingleFlight(t *testing.T) {
	failed := relay.NewReply(451, smtp.EnhancedCode{4, 0, 0}, "failed")
	text := strings.Repeat("text", maxReplay/4+100)
	for name, tc := range map[string]struct {
		first, second flight
		want          error
		sent          [2]bool
	}{
		"open":                    {flight{}, flight{}, nil, [2]bool{true, false}},
		"closed":                  {flight{err: errClosing}, flight{}, nil, [2]bool{false, true}},
		"closed, and read ahead":  {flight{err: errClosing, reads: maxReplay}, flight{}, nil, [2]bool{false, true}},
		"closed, and read beyond": {flight{err: errClosing, reads: maxReplay + 1}, flight{}, errClosing, [2]bool{}},
		"closed behind commands":  {flight{err: errClosing, reads: 10, late: true}, flight{}, errClosing, [2]bool{}},
		"down":                    {flight{err: failed}, flight{}, failed, [2]bool{}},
		"cannot carry it":         {flight{err: relay.ReplyAPIDSN}, flight{}, nil, [2]bool{false, true}},
		"closed, the other down":  {flight{err: errClosing}, flight{err: failed}, failed, [2]bool{}},
		"both cannot":             {flight{err: relay.ReplyNoSMTPUTF8}, flight{err: relay.ReplyAPIDSN}, relay.ReplyNoSMTPUTF8, [2]bool{}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.first.scripted, tc.second.scripted = new(scripted), new(scripted)
			tr, a := several(t, &tc.first, &tc.second)
			_, _, err := tr.Send(t.Context(), a, "box@example.com", nil, relay.Recipient{To: "a@example.org"}, strings.NewReader(text))
			if !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
			// A refusal for good is known then, however it came.
			if _, known := closed(tr.ways[0].name, a); known != errors.Is(tc.first.err, errClosing) {
				t.Errorf("that the first way is closed is known: %t", known)
			}
			for i, f := range []flight{tc.first, tc.second} {
				if (f.sent == text) != tc.sent[i] || !tc.sent[i] && f.sent != "" {
					t.Errorf("way %d was given %d octets of %d", i, len(f.sent), len(text))
				}
			}
		})
	}
	tr, a := several(t, &flight{scripted: new(scripted), err: errClosing}, &flight{scripted: new(scripted), err: errClosing})
	for range 2 { // by what is known then
		if _, info, err := tr.Send(t.Context(), a, "", nil, relay.Recipient{}, strings.NewReader("")); err == nil || !strings.HasPrefix(err.Error(), "454 4.7.0") || !info.Refused {
			t.Errorf("both ways are closed: %+v, %v", info, err)
		}
	}
}

// TestCannotCarry: what the first recipient asks for is a fact of the message alone.
func TestCannotCarry(t *testing.T) {
	for _, cannot := range []*relay.Reply{relay.ReplyAPIDSN, relay.ReplyNoSMTPUTF8} {
		first, second := &scripted{rcpt: cannot}, new(scripted)
		tr, a := several(t, first, second)
		for range 2 {
			tx, err := tr.Begin(t.Context(), a, "box@example.com", nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := tx.Rcpt(t.Context(), "a@example.org", nil); err != nil {
				t.Errorf("%v: %v", cannot, err)
			}
			tx.Abort()
		}
		if first.aborted != 2 {
			t.Errorf("the first way was asked %d times", first.aborted)
		}
		first.rcpt = nil
		tx, err := tr.Begin(t.Context(), a, "box@example.com", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.Rcpt(t.Context(), "a@example.org", nil); err != nil {
			t.Fatal(err)
		}
		first.rcpt = cannot // of a later recipient: the message stays where it is
		if err := tx.Rcpt(t.Context(), "b@example.org", nil); !errors.Is(err, cannot) {
			t.Errorf("%v, want %v", err, cannot)
		}
		tx.Abort()
	}
}

// ownBusiness are optional interfaces of which each of the ways is asked by itself,
// and FrontUser, which is the business of the app that has all upstreams.
var ownBusiness = []string{"AccountFollower", "AccountUser", "Drainer", "Dependent", "FrontUser", "Introducer", "Reacher", "Spooler", "Spool"}

// watched is a body of which only Watch is used.
type watched struct {
	io.Reader
	h relay.Holder
}

func (w *watched) Watch(h relay.Holder) { w.h = h }

// TestHidesNothing holds that what an upstream and a transaction may do besides is
// the chosen one's too: of every optional interface that package relay has.
func TestHidesNothing(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../../relay/transport.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		_, of, optional := strings.Cut(strings.Join(strings.Fields(g.Doc.Text()), " "), "optional interface of a")
		if !optional || slices.Contains(ownBusiness, g.Specs[0].(*ast.TypeSpec).Name.Name) {
			continue
		}
		kept := reflect.TypeFor[*Transport]()
		if strings.HasPrefix(of, " Transaction") {
			kept = reflect.TypeFor[*transaction]()
		} else if strings.HasPrefix(of, " body") {
			kept = reflect.TypeFor[*replay]()
		}
		for _, m := range g.Specs[0].(*ast.TypeSpec).Type.(*ast.InterfaceType).Methods.List {
			found++
			if _, ok := kept.MethodByName(m.Names[0].Name); !ok {
				t.Errorf("%s is hidden", m.Names[0].Name)
			}
		}
	}
	if found < 10 {
		t.Errorf("%d methods of optional interfaces were found", found)
	}
	s := new(scripted)
	tx := chosen(t, s, new(scripted))
	for _, s.wanted = range []bool{true, false} {
		if got := tx.(relay.Holder).Wanted(); got != s.wanted {
			t.Errorf("wanted: %t, and what it wraps says %t", got, s.wanted)
		}
	}
	body := new(watched)
	relay.Watch(&replay{src: body}, tx.(relay.Holder))
	if body.h != tx.(relay.Holder) {
		t.Error("the body is not told what is held")
	}
	if got := tx.(relay.Describer).Describe().Upstream; got != "scripted" {
		t.Errorf("described as %q", got)
	}
}
