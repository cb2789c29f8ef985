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
	tx, err := tr.Begin(t.Context(), a, "box@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	return tx
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

// TestHidesNothing holds that what a transaction may do besides is the chosen
// one's too: of every optional interface that package relay has.
func TestHidesNothing(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../../relay/transport.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	kept := reflect.TypeFor[*transaction]()
	found := 0
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || !strings.Contains(strings.Join(strings.Fields(g.Doc.Text()), " "), "optional interface of a Transaction ") {
			continue
		}
		for _, m := range g.Specs[0].(*ast.TypeSpec).Type.(*ast.InterfaceType).Methods.List {
			found++
			if _, ok := kept.MethodByName(m.Names[0].Name); !ok {
				t.Errorf("%s is hidden", m.Names[0].Name)
			}
		}
	}
	if found == 0 {
		t.Error("no optional interface was found")
	}
	s := new(scripted)
	tx := chosen(t, s, new(scripted))
	for _, s.wanted = range []bool{true, false} {
		if got := tx.(relay.Holder).Wanted(); got != s.wanted {
			t.Errorf("wanted: %t, and what it wraps says %t", got, s.wanted)
		}
	}
	if got := tx.(relay.Describer).Describe().Upstream; got != "scripted" {
		t.Errorf("described as %q", got)
	}
}
