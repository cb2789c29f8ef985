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

package firstrun

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddymail/mailgateway/setup"
)

// Field is a question, as a form has it.
type Field struct {
	setup.Question
	Value, Problem string
	Secret         bool
}

// Option is one of the first step's, with what it means.
type Option struct{ Value, Text, Help string }

var choices = []Option{
	{"microsoft app", "Microsoft 365, an administrator agrees once", "For the mailboxes that the administrator names; their owners do nothing."},
	{"microsoft user", "Microsoft 365, each owner agrees", "In a browser, once for each mailbox."},
	{"microsoft app graph", "Microsoft 365 through Graph, an administrator agrees once", "Where SMTP AUTH is off and stays off. For the mailboxes that the administrator names."},
	{"microsoft user graph", "Microsoft 365 through Graph, each owner agrees", "Where SMTP AUTH is off and stays off. In a browser, once for each mailbox."},
	{"microsoft personal", "Outlook.com or Hotmail, the owner agrees", "A personal mailbox, which sends through Graph."},
	{"google app", "Google Workspace, an administrator agrees once", "For the whole domain, by a service account."},
	{"google user", "Google, each owner agrees", "In a browser, once for each mailbox."},
	{"other user", "Another provider", "One with OAuth, whose addresses you know."},
}

// Page is what the page of a step shows.
type Page struct {
	Step string
	// Number of Steps is where it stands.
	Number, Steps int
	Answers       *setup.Answers
	Version       string
	Problem       string
	Fields        []Field
	Tasks         []setup.Task
	Checks        []setup.Result
	// File is what Added is written into; Manual says why it is not.
	File, Added, Hash, Manual, JSON string
	// SecretFile is where the operator puts the secret, if they have to.
	SecretFile string
	Link       string
	// Through is the upstream of the mailbox's account where that is another one;
	// Fixed says that it is not changed here.
	Through string
	Fixed   bool
}

// Choices are those of the first step.
func (Page) Choices() []Option { return choices }

// Chosen is the value of the first step's answer, Choice its words.
func (p Page) Chosen() string {
	s := string(p.Answers.Provider) + " " + string(p.Answers.Way)
	if p.Answers.Transport == setup.Graph {
		s += " graph"
	}
	return s
}

// choose takes the first step's answer into the answers.
func choose(a *setup.Answers, choice string) error {
	words := strings.Fields(choice)
	before := *a
	a.Provider, a.Way, a.Transport = "", "", ""
	for {
		q, ok := setup.Missing(a)
		if !ok || !slices.Contains(firstStep, q.Name) {
			break
		}
		word := q.Default // of those that go on, the last need not be said
		if len(words) > 0 {
			word, words = words[0], words[1:]
		} else if q.Name != "transport" {
			return errChoice
		}
		if !slices.Contains(q.Choices, word) {
			return errChoice
		}
		if err := q.Set(a, word); err != nil {
			return err
		}
	}
	if len(words) > 0 {
		return errChoice
	}
	if a.Provider != before.Provider || a.Way != before.Way {
		// What the other provider was asked for is nothing to this one.
		*a = setup.Answers{
			Provider: a.Provider, Way: a.Way, Transport: a.Transport,
			Mailbox: a.Mailbox, To: a.To, Hostname: a.Hostname,
			Dial: a.Dial, TokenURL: a.TokenURL, AuthURL: a.AuthURL, GraphURL: a.GraphURL, Scopes: a.Scopes, CAFile: a.CAFile,
		}
	}
	return nil
}

var errChoice = errors.New("choose one of them")

// firstStep are the questions whose answers are chosen together.
var firstStep = []string{"provider", "way", "transport"}

// Choice is what was chosen, in words.
func (p Page) Choice() string {
	for _, c := range choices {
		if c.Value == p.Chosen() {
			return c.Text
		}
	}
	return ""
}

// SecretDir is the directory of the secret's file.
func (p Page) SecretDir() string { return filepath.Dir(p.SecretFile) }

// Failed reports whether a check has failed.
func (p Page) Failed() bool { return failed(p.Checks) }

// Fields are the questions of the second step, with what was typed.
func (r *Run) Fields(typed func(string) string) (list []Field) {
	a := r.Answers
	for _, q := range setup.Questions(&a) {
		if slices.Contains(firstStep, q.Name) {
			continue
		}
		f := Field{Question: q, Value: q.Get(&a)}
		if typed != nil {
			f.Value = strings.TrimSpace(typed(q.Name))
		} else if f.Value == "" {
			f.Value = q.Default
		}
		if q.Name == "key-file" && r.keeps() {
			f.Text, f.Help, f.Value, f.Secret = "The service account's key", "What the JSON file holds.", "", true
		}
		list = append(list, f)
		if q.Name == "client-id" && a.NeedsSecret() && r.keeps() {
			s := Field{Question: setup.Question{Name: "secret", Text: "The application's client secret", Help: "Its value, which is shown once when it is made. It is kept in a file of its own, and shown nowhere."}, Secret: true}
			if setup.HasSecret(r.Dir(), &a) {
				s.Help = "One is kept already. Leave it empty to keep that one."
			}
			list = append(list, s)
		}
	}
	return list
}
