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
	"path/filepath"
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
}

// Choices are those of the first step.
func (Page) Choices() []Option { return choices }

// Chosen is the value of the first step's answer, Choice its words.
func (p Page) Chosen() string { return string(p.Answers.Provider) + " " + string(p.Answers.Way) }

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
		if q.Name == "provider" || q.Name == "way" {
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
