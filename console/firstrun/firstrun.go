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

// Package firstrun is the state of a setup in the browser: which step is next, and
// what its page shows. The pages themselves are the console's; what is asked, checked
// and written is package setup's, as on a terminal.
package firstrun

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/connect"
	"github.com/caddymail/mailgateway/internal/invoked"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/setup"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/upstreamapp"
)

// The steps of the way from nothing to a test mail. Which one is next follows from
// the answers and from what runs, so that any window and any operator goes on where
// it is.
const (
	Choice     = "choice"
	Answering  = "answers"
	AtProvider = "provider"
	Writing    = "write"
	Account    = "account"
	Consent    = "consent"
	Test       = "test"
	Done       = "done"
)

// Steps are all of them, in their order.
var Steps = []string{Choice, Answering, AtProvider, Writing, Account, Consent, Test, Done}

// Place is where a configuration comes from.
type Place struct {
	// File is its Caddyfile; empty: it is not known, or none.
	File string
	// Text is the file's fingerprint at the load.
	Text string
}

// Run is a setup that is under way in this process. It outlives the reload that it
// causes. It is used between Of and its unlock.
type Run struct {
	Answers setup.Answers

	mu     sync.Mutex
	loaded bool
	place  Place
	// checks are those of the answers with this digest.
	checks  []setup.Result
	checked string
	// skipped is the digest of answers whose failed checks an operator passed by.
	skipped string
	// finished is the digest of answers whose last page was shown.
	finished string
	// unkept says why answers and secrets cannot be kept in files.
	unkept error
}

// runs are by the configuration's file.
var runs sync.Map

// noDirectory is where the lines that an operator puts in place look for secrets.
const noDirectory = "/etc/mailgateway"

// Dir is where answers and secrets are kept, or would be.
func (r *Run) Dir() string {
	if r.place.File == "" {
		return noDirectory
	}
	return filepath.Dir(r.place.File)
}

// Of returns the setup that is under way, locked. Its error is about the answers of an
// earlier one, which are not taken up then.
func Of(place Place) (r *Run, unlock func(), err error) {
	got, _ := runs.LoadOrStore(place.File, new(Run))
	r = got.(*Run)
	r.mu.Lock()
	r.place = place
	if !r.loaded && place.File != "" {
		// Begun on a terminal, or before the process was started anew.
		r.Answers, _, err = setup.Load(r.Dir())
	}
	r.loaded = true
	if site, err := connect.Current(); err == nil && r.Answers.Provider != "" {
		r.Answers.Redirect = site.URL + "/callback/" + r.Answers.OAuth()
	}
	return r, r.mu.Unlock, err
}

// Keep takes answers, and writes them down as far as that can be done here.
func (r *Run) Keep(a setup.Answers) {
	r.Answers, r.unkept = a, errors.New("`setup` of smtp_console names no file")
	if r.place.File != "" {
		r.unkept = setup.Save(r.Dir(), &r.Answers)
	}
}

// KeepSecret writes the application's secret down.
func (r *Run) KeepSecret(secret string) {
	if err := setup.SaveSecret(r.Dir(), &r.Answers, secret); err != nil {
		r.unkept = err
	}
	r.checked = "" // the same answers with another secret
}

// Anew forgets the answers; what was written stays.
func (r *Run) Anew() {
	r.checks, r.checked, r.skipped = nil, "", ""
	r.Keep(setup.Answers{Hostname: r.Answers.Hostname})
}

// Check really asks. Other windows are not kept waiting meanwhile.
func (r *Run) Check(ctx context.Context, secret string) {
	a := r.Answers
	if secret == "" {
		secret = r.secret()
	}
	r.mu.Unlock()
	checks := setup.Check(ctx, &a, secret)
	r.mu.Lock()
	r.checks, r.checked = checks, a.Digest()
}

// Skip passes by checks that fail.
func (r *Run) Skip() { r.skipped = r.Answers.Digest() }

// Checks are those of the answers as they are; nil: there were none yet.
func (r *Run) Checks() []setup.Result {
	if r.checked != r.Answers.Digest() {
		return nil
	}
	return r.checks
}

// Finish says that the last page was shown.
func (r *Run) Finish() { r.finished = r.Answers.Digest() }

// UnderWay reports whether an account is that of a setup that is not finished.
func (r *Run) UnderWay(account string) bool {
	return r.Answers.Mailbox != "" && r.finished != r.Answers.Digest() && accounts.FoldName(r.Answers.Mailbox) == accounts.FoldName(account)
}

// keeps reports whether secrets can be kept here.
func (r *Run) keeps() bool { return r.place.File != "" && r.unkept == nil }

// Running reports whether the running configuration has what the answers need, and
// what is in the way of it if something else has its name.
func (r *Run) Running() (have setup.Have, ok bool, conflict string) {
	a := &r.Answers
	if dir, err := operate.Directory(); err == nil {
		have.Accounts = slices.ContainsFunc(dir.Sources(), func(s accounts.SourceInfo) bool { return s.Editable })
		app, err := operate.App[*smtpapp.App]("smtp")
		have.Servers = err == nil && len(app.Servers) > 0
	}
	tokens, err := operate.App[*oauthtoken.App]("oauth_tokens")
	if err != nil {
		return have, false, ""
	}
	p, found := tokens.Provider(a.OAuth())
	if !found {
		return have, false, ""
	}
	if !isOf(p, a) {
		return have, false, fmt.Sprintf("The running configuration has a provider '%s' already, with another application or another way. "+
			"Change the answers, and this one gets another name.", a.OAuth())
	}
	upstreams, err := operate.App[*upstreamapp.App]("smtp_upstreams")
	return have, err == nil && upstreams.Has(a.Upstream()) && have.Accounts && have.Servers, ""
}

// isOf reports whether a provider of the configuration is the one of the answers.
func isOf(p *authserver.Provider, a *setup.Answers) bool {
	app := p.Grant != authserver.GrantRefreshToken
	switch {
	case app != (a.Way == setup.App):
		return false
	case a.NeedsSecret():
		return p.ClientID == a.ClientID
	}
	return p.ServiceAccountFile == a.KeyFile
}

// Number numbers the provider of the answers: one that runs keeps its names, and one
// beside it of the same kind gets others. Before the application is known, it is taken
// for another.
func Number(a *setup.Answers) {
	tokens, err := operate.App[*oauthtoken.App]("oauth_tokens")
	a.Number = 0
	if err != nil {
		return
	}
	free := -1
	for n := range maxNumber {
		if a.Number = n; n == 1 {
			continue // the first has no number
		}
		p, found := tokens.Provider(a.OAuth())
		if found && (a.ClientID != "" || a.KeyFile != "") && isOf(p, a) {
			return
		}
		if !found && free < 0 {
			free = n
		}
	}
	a.Number = max(free, 0)
}

// maxNumber bounds the providers of a kind that are looked at.
const maxNumber = 100

// Next is the step that is to be done; sent reports whether a test mail of an account
// has gone out.
func (r *Run) Next(ctx context.Context, sent func(account string) bool) string {
	a := &r.Answers
	_, missing := setup.Missing(a)
	_, ok, conflict := r.Running()
	switch {
	case a.Provider == "", a.Way == "":
		return Choice
	case missing:
		return Answering
	case !ok && r.skipped != a.Digest() && (r.checked != a.Digest() || failed(r.checks)):
		return AtProvider
	case !ok || conflict != "":
		return Writing
	}
	dir, err := operate.Directory()
	if err != nil {
		return Writing
	}
	account, err := dir.Get(ctx, a.Mailbox)
	if err != nil {
		return Account
	}
	if a.Consents() {
		if there, err := operate.Consented(ctx, account.Name); err != nil || !there {
			return Consent
		}
	}
	// A good token is no test: what counts is a mail of this setup's that went out.
	if r.finished != a.Digest() && !sent(account.Name) {
		return Test
	}
	return Done
}

func failed(list []setup.Result) bool {
	return slices.ContainsFunc(list, func(r setup.Result) bool { return r.Err != nil })
}

// secret is the kept client secret; empty if there is none here.
func (r *Run) secret() string {
	if r.place.File == "" {
		return ""
	}
	s, _ := setup.Secret(r.Dir(), &r.Answers) //nolint:errcheck // then the operator is asked
	return s
}

// SecretFile is where the operator has to put the client secret; empty: it lies where
// it is needed.
func (r *Run) SecretFile() string {
	if !r.Answers.NeedsSecret() || r.secret() != "" {
		return ""
	}
	return setup.SecretFile(r.Dir(), &r.Answers)
}

// Plan is what the answers add to the running configuration's file. Its error says why
// that is not written here; added is right all the same.
func (r *Run) Plan() (p *setup.Plan, added string, err error) {
	have, _, conflict := r.Running()
	added = setup.Additions(&r.Answers, r.Dir(), have, setup.LocalPort())
	switch {
	case conflict != "":
		return nil, added, errors.New(conflict)
	case r.place.File != "" && r.unkept != nil:
		return nil, added, r.unkept
	case r.place.File != "" && r.SecretFile() != "":
		return nil, added, errors.New("the client secret is in no file yet")
	}
	p, err = r.Add(added)
	return p, added, err
}

// Add is a plan of more global options in the running configuration's file. Its error says
// why they are not written here.
func (r *Run) Add(options string) (*setup.Plan, error) {
	other := startedWithAnother(os.Args, r.place.File)
	switch {
	case r.place.File == "":
		return nil, errors.New("`setup` of smtp_console names no Caddyfile that these pages may write")
	case other != "":
		return nil, fmt.Errorf("this process was started with %s, and `setup` of smtp_console names %s", other, r.place.File)
	case !r.isLoaded():
		return nil, fmt.Errorf("%s was changed since it was loaded: load it (`%s`), so that the two are the same", r.place.File, invoked.Words("caddy reload"))
	}
	return setup.Propose(r.place.File, options)
}

// writtenHere are the texts that these pages have written into a file, and loaded.
var writtenHere sync.Map

// isLoaded reports whether the configuration's file is as it was when it was loaded.
func (r *Run) isLoaded() bool {
	now := setup.Fingerprint(r.place.File)
	ours, _ := writtenHere.Load(r.place.File)
	return now == r.place.Text || now == ours
}

// Written says that the file was written and loaded by a plan of this setup.
func (r *Run) Written() { writtenHere.Store(r.place.File, setup.Fingerprint(r.place.File)) }

// startedWithAnother is the file that a command line names as the configuration, if
// that is another: a copy would be written, which the next start does not read.
func startedWithAnother(args []string, file string) string {
	for i, arg := range args {
		name, ok := strings.CutPrefix(arg, "--config=")
		if !ok && (arg == "--config" || arg == "-c") && i+1 < len(args) {
			name, ok = args[i+1], true
		}
		if !ok {
			continue
		}
		a, err := os.Stat(name) //nolint:gosec // what this process was started with
		b, err2 := os.Stat(file)
		if err != nil || err2 != nil || !os.SameFile(a, b) {
			return name
		}
	}
	return ""
}
