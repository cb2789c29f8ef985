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

package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/connect"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/setup"
	"github.com/caddymail/mailgateway/upstreamapp"
)

// The steps of the way from nothing to a test mail. Which one is next follows from
// the answers and from what runs, so that any window and any operator goes on where
// it is.
const (
	stepChoice   = "choice"
	stepAnswers  = "answers"
	stepProvider = "provider"
	stepWrite    = "write"
	stepAccount  = "account"
	stepConsent  = "consent"
	stepTest     = "test"
	stepDone     = "done"
)

var setupSteps = []string{stepChoice, stepAnswers, stepProvider, stepWrite, stepAccount, stepConsent, stepTest, stepDone}

// beginning is a setup that is under way in this process. It outlives the reload that
// it causes.
type beginning struct {
	mu      sync.Mutex
	loaded  bool
	answers setup.Answers
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

// beginnings are by the configuration's file.
var beginnings sync.Map

// noDirectory is where the lines that an operator puts in place look for secrets.
const noDirectory = "/etc/mailgateway"

func (v *visit) setupDir() string {
	if v.h.Setup == "" {
		return noDirectory
	}
	return filepath.Dir(v.h.Setup)
}

// beginning returns the setup that is under way, locked.
func (v *visit) beginning() (b *beginning, unlock func()) {
	got, _ := beginnings.LoadOrStore(v.h.Setup, new(beginning))
	b = got.(*beginning)
	b.mu.Lock()
	if !b.loaded && v.h.Setup != "" {
		// Begun on a terminal, or before the process was started anew.
		a, _, err := setup.Load(v.setupDir())
		if err != nil {
			v.h.logger.Warn("the answers of an earlier setup cannot be read", zap.Error(err))
		}
		b.answers = a
	}
	b.loaded = true
	if site, err := connect.Current(); err == nil && b.answers.Provider != "" {
		b.answers.Redirect = site.URL + "/callback/" + b.answers.OAuth()
	}
	return b, b.mu.Unlock
}

// keep writes the answers down, as far as that can be done here.
func (v *visit) keep(b *beginning) {
	b.unkept = errors.New("`setup` of smtp_console names no file")
	if v.h.Setup != "" {
		b.unkept = setup.Save(v.setupDir(), &b.answers)
	}
}

// keeps reports whether secrets can be kept here.
func (v *visit) keeps(b *beginning) bool { return v.h.Setup != "" && b.unkept == nil }

// running reports whether the running configuration has what the answers need, and
// what is in the way of it if something else has its name.
func (v *visit) running(a *setup.Answers) (have setup.Have, ok bool, conflict string) {
	if dir, err := operate.Directory(); err == nil {
		have.Accounts = slices.ContainsFunc(dir.Sources(), func(s accounts.SourceInfo) bool { return s.Editable })
		have.Servers = len(ways()) > 0
	}
	tokens, err := operate.App[*oauthtoken.App]("oauth_tokens")
	if err != nil {
		return have, false, ""
	}
	p, found := tokens.Provider(a.OAuth())
	if !found {
		return have, false, ""
	}
	app := p.Grant != authserver.GrantRefreshToken
	if app != (a.Way == setup.App) || a.NeedsSecret() && p.ClientID != a.ClientID {
		return have, false, fmt.Sprintf("The running configuration has a provider '%s' already, with another application or another way. "+
			"A second one of the kind gets a name of its own, by hand.", a.OAuth())
	}
	upstreams, err := operate.App[*upstreamapp.App]("smtp_upstreams")
	return have, err == nil && upstreams.Has(a.Upstream()) && have.Accounts && have.Servers, ""
}

// next is the step that is to be done.
func (v *visit) next(b *beginning) string {
	a := &b.answers
	_, missing := setup.Missing(a)
	_, ok, conflict := v.running(a)
	switch {
	case a.Provider == "", a.Way == "":
		return stepChoice
	case missing:
		return stepAnswers
	case !ok && b.skipped != a.Digest() && (b.checked != a.Digest() || failed(b.checks)):
		return stepProvider
	case !ok || conflict != "":
		return stepWrite
	}
	dir, err := operate.Directory()
	if err != nil {
		return stepWrite
	}
	account, err := dir.Get(v.r.Context(), a.Mailbox)
	if err != nil {
		return stepAccount
	}
	if a.Consents() {
		if there, err := operate.Consented(v.r.Context(), account.Name); err != nil || !there {
			return stepConsent
		}
	}
	// A good token is no test: what counts is a mail of this setup's that went out.
	if b.finished != a.Digest() && !hasSent(account.Name) {
		return stepTest
	}
	return stepDone
}

func failed(list []setup.Result) bool {
	return slices.ContainsFunc(list, func(r setup.Result) bool { return r.Err != nil })
}

// SetsUp reports whether an account is that of a setup under way, whose pages lead
// back to it.
func (v *visit) SetsUp(account string) bool {
	if !v.User.Operator {
		return false
	}
	b, unlock := v.beginning()
	defer unlock()
	return b.answers.Mailbox != "" && b.finished != b.answers.Digest() && accounts.FoldName(b.answers.Mailbox) == accounts.FoldName(account)
}

// setupField is a question, as a form has it.
type setupField struct {
	setup.Question
	Value, Problem string
	Secret         bool
}

// setupChoice is one of the first step's, with what it means.
type setupChoice struct{ Value, Text, Help string }

var setupChoices = []setupChoice{
	{"microsoft app", "Microsoft 365, an administrator agrees once", "For the mailboxes that the administrator names; their owners do nothing."},
	{"microsoft user", "Microsoft 365, each owner agrees", "In a browser, once for each mailbox."},
	{"google app", "Google Workspace, an administrator agrees once", "For the whole domain, by a service account."},
	{"google user", "Google, each owner agrees", "In a browser, once for each mailbox."},
	{"other user", "Another provider", "One with OAuth, whose addresses you know."},
}

// setupPage is the page of a step.
type setupPage struct {
	Step string
	// Number of Steps is where it stands.
	Number, Steps int
	Answers       *setup.Answers
	Version       string
	Problem       string
	Fields        []setupField
	Tasks         []setup.Task
	Checks        []setup.Result
	// File is what Added is written into; Manual says why it is not.
	File, Added, Hash, Manual, JSON string
	// SecretFile is where the operator puts the secret, if they have to.
	SecretFile string
	Link       string
}

// Choices are those of the first step.
func (setupPage) Choices() []setupChoice { return setupChoices }

// Chosen is the value of the first step's answer, Choice its words.
func (p setupPage) Chosen() string { return string(p.Answers.Provider) + " " + string(p.Answers.Way) }

// Choice is what was chosen, in words.
func (p setupPage) Choice() string {
	for _, c := range setupChoices {
		if c.Value == p.Chosen() {
			return c.Text
		}
	}
	return ""
}

// SecretDir is the directory of the secret's file.
func (p setupPage) SecretDir() string { return filepath.Dir(p.SecretFile) }

// Failed reports whether a check has failed.
func (p setupPage) Failed() bool { return failed(p.Checks) }

// showSetup shows what is next, or an earlier step again.
func showSetup(v *visit) error {
	if !v.User.Operator {
		return errViewer
	}
	b, unlock := v.beginning()
	defer unlock()
	return v.showStep(http.StatusOK, b, v.r.URL.Query().Get("step"), setupPage{})
}

func (v *visit) showStep(status int, b *beginning, step string, p setupPage) error {
	next := v.next(b)
	if i := slices.Index(setupSteps, step); i < 0 || i > slices.Index(setupSteps, next) {
		step = next
	}
	a, part := b.answers, v.r.URL.Query().Has("part")
	p.Step, p.Answers, p.Version = step, &a, a.Digest()
	p.Number, p.Steps = 1+slices.Index(setupSteps, step), len(setupSteps)-1
	switch step {
	case stepAnswers:
		p.Tasks = setup.Tasks(&a)[:1]
		if p.Fields == nil {
			p.Fields = v.fields(b, nil)
		}
	case stepProvider:
		p.Tasks = setup.Tasks(&a)[1:]
		if b.checked == a.Digest() {
			p.Checks = b.checks
		}
		if a.NeedsSecret() && v.secretOf(&a) == "" {
			p.SecretFile = setup.SecretFile(v.setupDir(), &a)
		}
	case stepWrite:
		if b.checked == a.Digest() {
			p.Checks = b.checks
		}
		if err := v.describePlan(b, &p); err != nil {
			return err
		}
	case stepConsent:
		if part {
			break
		}
		p.Link = v.secret(a.Mailbox, "link")
		if _, err := connect.Current(); err != nil {
			p.Manual = err.Error()
			p.Added = fmt.Sprintf("smtp_connect {\n\turl %s://%s/connect\n}\n", v.h.base.Scheme, v.h.base.Host)
		}
	case stepDone:
		b.finished = a.Digest()
	}
	if part {
		return v.part("setup_wait", p)
	}
	return v.show(status, "setup", "setup", "Set up", p)
}

// fields are the questions of the second step, with what was typed.
func (v *visit) fields(b *beginning, typed func(string) string) (list []setupField) {
	a := b.answers
	for _, q := range setup.Questions(&a) {
		if q.Name == "provider" || q.Name == "way" {
			continue
		}
		f := setupField{Question: q, Value: q.Get(&a)}
		if typed != nil {
			f.Value = strings.TrimSpace(typed(q.Name))
		} else if f.Value == "" {
			f.Value = q.Default
		}
		if q.Name == "key-file" && v.keeps(b) {
			f.Text, f.Help, f.Value, f.Secret = "The service account's key", "What the JSON file holds.", "", true
		}
		list = append(list, f)
		if q.Name == "client-id" && a.NeedsSecret() && v.keeps(b) {
			s := setupField{Question: setup.Question{Name: "secret", Text: "The application's client secret", Help: "Its value, which is shown once when it is made. It is kept in a file of its own, and shown nowhere."}, Secret: true}
			if setup.HasSecret(v.setupDir(), &a) {
				s.Help = "One is kept already. Leave it empty to keep that one."
			}
			list = append(list, s)
		}
	}
	return list
}

// secretOf is the kept client secret; empty if there is none here.
func (v *visit) secretOf(a *setup.Answers) string {
	if v.h.Setup == "" {
		return ""
	}
	s, _ := setup.Secret(v.setupDir(), a) //nolint:errcheck // then the operator is asked
	return s
}

// setupChange is what a form changes of a setup under way. A form that another window
// has overtaken changes nothing.
func setupChange(change func(v *visit, b *beginning) error) pageFunc {
	return func(v *visit) error {
		b, unlock := v.beginning()
		defer unlock()
		if v.r.PostForm.Get("version") != b.answers.Digest() {
			return v.showStep(http.StatusConflict, b, "", setupPage{Problem: "The answers were changed in another window in the meantime. This is how they are now."})
		}
		return change(v, b)
	}
}

// chooseProvider takes the first step's answer: whose mailboxes, and who agrees.
func chooseProvider(v *visit, b *beginning) error {
	provider, way, _ := strings.Cut(v.r.PostForm.Get("choice"), " ")
	a := b.answers
	if string(a.Provider) != provider || string(a.Way) != way {
		// What the other provider was asked for is nothing to this one.
		a = setup.Answers{Mailbox: a.Mailbox, To: a.To, Hostname: a.Hostname, Dial: a.Dial, TokenURL: a.TokenURL, AuthURL: a.AuthURL, Scopes: a.Scopes, CAFile: a.CAFile}
	}
	for _, answer := range []string{provider, way} {
		q, ok := setup.Missing(&a)
		if !ok || q.Name != "provider" && q.Name != "way" {
			break
		}
		if err := q.Set(&a, answer); err != nil {
			return v.showStep(http.StatusBadRequest, b, stepChoice, setupPage{Problem: "Choose one."})
		}
	}
	b.answers = a
	v.keep(b)
	return v.leave("setup")
}

// answerSetup takes the answers of the second step, all or none.
func answerSetup(v *visit, b *beginning) error {
	a, form, wrong := b.answers, v.r.PostForm.Get, false
	fields := v.fields(b, form)
	for i := range fields {
		f := &fields[i]
		var err error
		switch {
		case f.Name == "secret":
			if form("secret") != "" || !setup.HasSecret(v.setupDir(), &a) {
				err = setup.CheckSecret(strings.TrimSpace(form("secret")))
			}
		case f.Secret:
			if form(f.Name) != "" || f.Get(&a) == "" {
				err = setup.SaveKey(v.setupDir(), &a, form(f.Name))
			}
		default:
			err = f.Set(&a, f.Value)
		}
		if err != nil {
			f.Problem, wrong = err.Error(), true
		}
	}
	if wrong {
		return v.showStep(http.StatusBadRequest, b, stepAnswers, setupPage{Fields: fields})
	}
	if s := strings.TrimSpace(form("secret")); s != "" {
		if err := setup.SaveSecret(v.setupDir(), &a, s); err != nil {
			b.unkept = err
		}
		b.checked = "" // the same answers with another secret
	}
	b.answers = a
	v.keep(b)
	v.did("setup answered", zap.String("provider", string(a.Provider)), zap.String("mailbox", a.Mailbox))
	return v.leave("setup")
}

// checkSetup really asks.
func checkSetup(v *visit, b *beginning) error {
	a := b.answers
	if v.r.PostForm.Has("skip") {
		b.skipped = a.Digest()
		return v.leave("setup")
	}
	secret := strings.TrimSpace(v.r.PostForm.Get("secret"))
	if secret == "" {
		secret = v.secretOf(&a)
	}
	b.mu.Unlock() // other windows are not kept waiting for the network
	checks := setup.Check(v.r.Context(), &a, secret)
	b.mu.Lock()
	b.checks, b.checked = checks, a.Digest()
	return v.leave("setup")
}

// plan is what the answers add to the running configuration's file.
func (v *visit) plan(b *beginning) (*setup.Plan, string, error) {
	have, _, conflict := v.running(&b.answers)
	added := setup.Additions(&b.answers, v.setupDir(), have, setup.LocalPort())
	switch {
	case conflict != "":
		return nil, added, errors.New(conflict)
	case v.h.Setup == "":
		return nil, added, errors.New("`setup` of smtp_console names no Caddyfile that these pages may write")
	case b.unkept != nil:
		return nil, added, b.unkept
	case b.answers.NeedsSecret() && v.secretOf(&b.answers) == "":
		return nil, added, errors.New("the client secret is in no file yet")
	case !v.loaded():
		return nil, added, fmt.Errorf("%s was changed since it was loaded: load it (`caddy reload`), so that the two are the same", v.h.Setup)
	}
	p, err := setup.Propose(v.h.Setup, added)
	return p, added, err
}

// writtenHere are the texts that these pages have written into a file, and loaded.
var writtenHere sync.Map

// loaded reports whether the configuration's file is as it was when it was loaded.
func (v *visit) loaded() bool {
	now := setup.Fingerprint(v.h.Setup)
	ours, _ := writtenHere.Load(v.h.Setup)
	return now == v.h.setupText || now == ours
}

func (v *visit) describePlan(b *beginning, p *setupPage) error {
	plan, added, err := v.plan(b)
	p.Added, p.File = added, v.h.Setup
	if err == nil {
		p.File, p.Hash = plan.File, plan.Hash
		return nil
	}
	p.Manual = err.Error()
	if p.JSON, err = setup.JSON(added); err != nil {
		// It shows what is wrong with the lines, which are right otherwise.
		p.Manual += "; " + err.Error()
	}
	if b.answers.NeedsSecret() && v.secretOf(&b.answers) == "" {
		p.SecretFile = setup.SecretFile(v.setupDir(), &b.answers)
	}
	return nil
}

// writeSetup writes what the page has shown, and loads it.
func writeSetup(v *visit, b *beginning) error {
	if _, ok, _ := v.running(&b.answers); ok {
		return v.leave("setup") // by the other click
	}
	plan, _, err := v.plan(b)
	if err != nil {
		return v.showStep(http.StatusConflict, b, stepWrite, setupPage{})
	}
	if plan.Hash != v.r.PostForm.Get("plan") {
		return v.showStep(http.StatusConflict, b, stepWrite, setupPage{Problem: "The configuration was changed in the meantime: nothing was written. This is what would be written now."})
	}
	loaded := false
	err = plan.Write(func(adapted []byte) error {
		// Not of this request: it goes on in the new configuration.
		err := caddy.Load(adapted, false)
		loaded = err == nil
		return err
	})
	if err != nil {
		if loaded {
			err = errors.Join(err, caddy.Load(plan.Before(), false))
		}
		v.h.logger.Warn("the setup's configuration was not written", zap.Error(err))
		return v.showStep(http.StatusConflict, b, stepWrite, setupPage{Problem: "Nothing was written. " + err.Error()})
	}
	writtenHere.Store(v.h.Setup, setup.Fingerprint(v.h.Setup))
	v.did("configuration written", zap.String("file", plan.File), zap.String("provider", b.answers.OAuth()), zap.String("upstream", b.answers.Upstream()))
	return v.leave("setup")
}

// addFirstAccount makes the mailbox's account with its first device.
func addFirstAccount(v *visit, b *beginning) error {
	dir, err := operate.Directory()
	if err != nil {
		return err
	}
	device, err := v.deviceName()
	if err != nil {
		return err
	}
	plain, hash := password.Generate()
	record := map[string]any{"upstream": b.answers.Upstream(), "password_hashes": []string{hash}, "senders": []string{b.answers.Mailbox}}
	labelPatch(record, hash, device)
	body, err := json.Marshal(record)
	if err != nil {
		return err
	}
	cond, err := accounts.ParseCondition("", "*")
	if err != nil {
		return err
	}
	c, err := dir.Put(v.r.Context(), b.answers.Mailbox, body, cond)
	if errors.Is(err, accounts.ErrPrecondition) {
		return v.leave("setup") // it is there already
	}
	if err != nil {
		return err
	}
	v.did("account added", zap.String("account", c.Account.Name), zap.String("upstream", c.Account.Upstream))
	return v.leaveToCard(c.Account, plain, hash)
}

// inviteFirst makes the link for the owner's consent.
func inviteFirst(v *visit, b *beginning) error {
	invited, err := v.invitation(v.r.Context(), b.answers.Mailbox, "")
	if err != nil {
		return err
	}
	if err := v.keepSecret(b.answers.Mailbox, "link", invited.Link); err != nil {
		return err
	}
	return v.leave("setup")
}

// invitation invites in the name of who is logged in.
func (v *visit) invitation(ctx context.Context, account, delegate string) (connect.Invited, error) {
	by := v.User.Name
	if !v.h.hasLogin() {
		by = v.h.Name
	}
	invited, err := connect.Invite(ctx, connect.Request{Account: account, InvitedBy: by, Delegate: delegate})
	if err == nil {
		v.did("owner invited", zap.String("account", account), zap.String("invitation", invited.ID[:12]))
	}
	return invited, err
}

// setUpAnother forgets the answers; what was written stays.
func setUpAnother(v *visit, b *beginning) error {
	b.answers, b.checks, b.checked, b.skipped = setup.Answers{Hostname: b.answers.Hostname}, nil, "", ""
	v.keep(b)
	return v.leave("setup")
}
