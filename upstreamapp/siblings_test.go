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

package upstreamapp

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/relay"
)

// through is a transport that sends through others.
type through struct {
	relay.Transport
	name   string
	needs  []string
	joined map[string]relay.Transport
	log    *[]string
	fails  error
}

func (t *through) DependsOn() []string { return t.needs }

func (t *through) Join(siblings map[string]relay.Transport) error {
	t.joined = siblings
	return nil
}

func (t *through) Attach() error {
	*t.log = append(*t.log, "+"+t.name)
	return t.fails
}

func (t *through) Detach() error {
	*t.log = append(*t.log, "-"+t.name)
	return nil
}

func TestSiblings(t *testing.T) {
	var log []string
	app := func(needs map[string][]string) *App {
		log = nil
		a := &App{transports: make(map[string]relay.Transport)}
		for name, list := range needs {
			a.transports[name] = &through{name: name, needs: list, log: &log}
		}
		return a
	}
	a := app(map[string][]string{"a": {"c", "b"}, "b": {"d"}, "c": {"d"}, "d": nil})
	if err := a.join(); err != nil {
		t.Fatal(err)
	}
	if got := a.transports["a"].(*through).joined; len(got) != 2 || got["b"] != a.transports["b"] || got["c"] != a.transports["c"] {
		t.Errorf("a got %v", got)
	}
	if err := a.Start(); err != nil {
		t.Error(err)
	}
	if err := a.Stop(); err != nil {
		t.Error(err)
	}
	if want := strings.Fields("+d +c +b +a -a -b -c -d"); !slices.Equal(log, want) {
		t.Errorf("attached and detached as %v, want %v", log, want)
	}

	a.transports["b"].(*through).fails = errors.New("no")
	log = nil
	if err := a.Start(); err == nil || !strings.Contains(err.Error(), "upstream 'b': no") {
		t.Error(err)
	}
	if want := strings.Fields("+d +c +b -c -d"); !slices.Equal(log, want) {
		t.Errorf("a failed start left %v, want %v", log, want)
	}

	for _, tc := range []struct {
		needs map[string][]string
		want  string
	}{
		{map[string][]string{"a": {"a"}}, "upstream 'a' sends through itself: a -> a"},
		{map[string][]string{"a": {"b"}, "b": {"c"}, "c": {"b"}}, "upstream 'b' sends through itself: b -> c -> b"},
		{map[string][]string{"a": {"x"}}, "upstream 'a' sends through 'x': no such upstream"},
	} {
		if err := app(tc.needs).join(); err == nil || err.Error() != tc.want {
			t.Errorf("%v: %v, want %s", tc.needs, err, tc.want)
		}
	}
}
