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
	"strings"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

var errUnverifiable = errors.New("the upstream has no test")

// Verify implements relay.Verifier: it tries every way, says which one a message
// would take and why, and fails if that one does.
func (t *Transport) Verify(ctx context.Context, a *accounts.Account, from string, step func(relay.VerifyStep)) error {
	results := make(map[string]error, len(t.ways))
	for _, w := range t.ways {
		step(relay.VerifyStep{Name: "choice", Way: w.name, Said: "trying '" + w.name + "'"})
		begin := time.Now()
		said := ""
		err := errUnverifiable
		if v, ok := w.Transport.(relay.Verifier); ok {
			err = v.Verify(ctx, a, from, func(s relay.VerifyStep) {
				said += s.Error + " " + s.Challenge + " "
				s.Way = w.name
				step(s)
			})
		} else {
			step(relay.VerifyStep{Name: "choice", Way: w.name, Took: time.Since(begin), Error: "'" + w.name + "': " + err.Error()})
		}
		results[w.name] = err
		switch {
		case err == nil:
			learn(w.name, a, "", false)
		case closing(said + err.Error()):
			learn(w.name, a, err.Error(), true)
		}
	}
	sender := from
	switch from {
	case "":
		sender = a.Mailbox
	case "<>":
		sender = ""
	}
	ways, not := t.open(a, sender, nil)
	var why strings.Builder
	for _, o := range not {
		why.WriteString("; not through '" + o.way + "': " + o.said)
	}
	if len(ways) == 0 {
		err := refusal(not)
		step(relay.VerifyStep{Name: "choice", Said: "no upstream can carry it" + why.String(), Error: err.Error()})
		return err
	}
	chosen := ways[0].name
	s := relay.VerifyStep{Name: "choice", Way: chosen, Said: "messages leave through '" + chosen + "'" + why.String()}
	if err := results[chosen]; err != nil {
		s.Error = "messages leave through '" + chosen + "', which fails: " + err.Error()
		step(s)
		return err
	}
	step(s)
	return nil
}
