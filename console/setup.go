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
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/connect"
	"github.com/caddymail/mailgateway/console/firstrun"
	"github.com/caddymail/mailgateway/console/trial"
	"github.com/caddymail/mailgateway/setup"
)

// firstRun returns the setup that is under way, locked.
func (v *visit) firstRun() (r *firstrun.Run, unlock func()) {
	r, unlock, err := firstrun.Of(firstrun.Place{File: v.h.Setup, Text: v.h.setupText})
	if err != nil {
		v.h.logger.Warn("the answers of an earlier setup cannot be read", zap.Error(err))
	}
	return r, unlock
}

// SetsUp reports whether an account is that of a setup under way, whose pages lead
// back to it.
func (v *visit) SetsUp(account string) bool {
	if !v.User.Operator {
		return false
	}
	b, unlock := v.firstRun()
	defer unlock()
	return b.UnderWay(account)
}

// showSetup shows what is next, or an earlier step again.
func showSetup(v *visit) error {
	if !v.User.Operator {
		return errViewer
	}
	b, unlock := v.firstRun()
	defer unlock()
	return v.showStep(http.StatusOK, b, v.r.URL.Query().Get("step"), firstrun.Page{})
}

func (v *visit) showStep(status int, b *firstrun.Run, step string, p firstrun.Page) error {
	next := b.Next(v.r.Context(), trial.HasSent)
	if i := slices.Index(firstrun.Steps, step); i < 0 || i > slices.Index(firstrun.Steps, next) {
		step = next
	}
	a, part := b.Answers, v.r.URL.Query().Has("part")
	p.Step, p.Answers, p.Version = step, &a, a.Digest()
	p.Number, p.Steps = 1+slices.Index(firstrun.Steps, step), len(firstrun.Steps)-1
	switch step {
	case firstrun.Answering:
		p.Tasks = setup.Tasks(&a)[:1]
		if p.Fields == nil {
			p.Fields = b.Fields(nil)
		}
	case firstrun.AtProvider:
		p.Tasks = setup.Tasks(&a)[1:]
		p.Checks = b.Checks()
		p.SecretFile = b.SecretFile()
	case firstrun.Writing:
		p.Checks = b.Checks()
		if err := v.describePlan(b, &p); err != nil {
			return err
		}
	case firstrun.Account:
		p.Through, p.Fixed = b.Through(v.r.Context())
	case firstrun.Consent:
		if part {
			break
		}
		p.Link = v.secret(a.Mailbox, "link")
		if _, err := connect.Current(); err != nil {
			p.Manual = err.Error()
			p.Added = fmt.Sprintf("smtp_connect {\n\turl %s://%s/connect\n}\n", v.h.base.Scheme, v.h.base.Host)
		}
	case firstrun.Done:
		b.Finish()
	}
	if part {
		return v.part("setup_wait", p)
	}
	return v.show(status, "setup", "setup", "Set up", p)
}

// setupChange is what a form changes of a setup under way. A form that another window
// has overtaken changes nothing.
func setupChange(change func(v *visit, b *firstrun.Run) error) pageFunc {
	return func(v *visit) error {
		b, unlock := v.firstRun()
		defer unlock()
		if v.r.PostForm.Get("version") != b.Answers.Digest() {
			return v.showStep(http.StatusConflict, b, "", firstrun.Page{Problem: "The answers were changed in another window in the meantime. This is how they are now."})
		}
		return change(v, b)
	}
}

// chooseProvider takes the first step's answer.
func chooseProvider(v *visit, b *firstrun.Run) error {
	if err := b.Choose(v.r.PostForm.Get("choice")); err != nil {
		return v.showStep(http.StatusBadRequest, b, firstrun.Choice, firstrun.Page{Problem: "Choose one."})
	}
	return v.leave("setup")
}

// answerSetup takes the answers of the second step, all or none.
func answerSetup(v *visit, b *firstrun.Run) error {
	a, form, wrong := b.Answers, v.r.PostForm.Get, false
	fields := b.Fields(form)
	for i := range fields {
		f := &fields[i]
		var err error
		switch {
		case f.Name == "secret":
			if form("secret") != "" || !setup.HasSecret(b.Dir(), &a) {
				err = setup.CheckSecret(strings.TrimSpace(form("secret")))
			}
		case f.Secret:
			if form(f.Name) != "" || f.Get(&a) == "" {
				err = setup.SaveKey(b.Dir(), &a, form(f.Name))
			}
		default:
			if err = f.Set(&a, f.Value); f.Name == "client-id" || f.Name == "key-file" {
				firstrun.Number(&a) // which secret and which key are kept follows from it
			}
		}
		if err != nil {
			f.Problem, wrong = err.Error(), true
		}
	}
	if wrong {
		return v.showStep(http.StatusBadRequest, b, firstrun.Answering, firstrun.Page{Fields: fields})
	}
	b.Keep(a)
	if s := strings.TrimSpace(form("secret")); s != "" {
		b.KeepSecret(s)
	}
	v.did("setup answered", zap.String("provider", string(a.Provider)), zap.String("mailbox", a.Mailbox))
	return v.leave("setup")
}

// checkSetup really asks.
func checkSetup(v *visit, b *firstrun.Run) error {
	if v.r.PostForm.Has("skip") {
		b.Skip()
	} else {
		b.Check(v.r.Context(), strings.TrimSpace(v.r.PostForm.Get("secret")))
	}
	return v.leave("setup")
}

func (v *visit) describePlan(b *firstrun.Run, p *firstrun.Page) error {
	plan, added, err := b.Plan()
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
	p.SecretFile = b.SecretFile()
	return nil
}

// writeSetup writes what the page has shown, and loads it.
func writeSetup(v *visit, b *firstrun.Run) error {
	if _, ok, _ := b.Running(); ok {
		return v.leave("setup") // by the other click
	}
	plan, _, err := b.Plan()
	if err != nil {
		return v.showStep(http.StatusConflict, b, firstrun.Writing, firstrun.Page{})
	}
	if plan.Hash != v.r.PostForm.Get("plan") {
		return v.showStep(http.StatusConflict, b, firstrun.Writing, firstrun.Page{Problem: "The configuration was changed in the meantime: nothing was written. This is what would be written now."})
	}
	if err := v.apply(b, plan); err != nil {
		return v.showStep(http.StatusConflict, b, firstrun.Writing, firstrun.Page{Problem: "Nothing was written. " + err.Error()})
	}
	v.did("configuration written", zap.String("file", plan.File), zap.String("provider", b.Answers.OAuth()), zap.String("upstream", b.Answers.Upstream()))
	return v.leave("setup")
}

// apply loads a plan and writes it; otherwise nothing is changed.
func (v *visit) apply(b *firstrun.Run, plan *setup.Plan) error {
	loaded := false
	err := plan.Write(func(adapted []byte) error {
		// Not of this request: it goes on in the new configuration.
		err := caddy.Load(adapted, false)
		loaded = err == nil
		return err
	})
	if err == nil {
		b.Written()
		return nil
	}
	if loaded {
		err = errors.Join(err, caddy.Load(plan.Before(), false))
	}
	v.h.logger.Warn("the configuration was not written", zap.Error(err))
	return err
}

// addFirstAccount makes the mailbox's account with its first device.
func addFirstAccount(v *visit, b *firstrun.Run) error {
	if through, _ := b.Through(v.r.Context()); through != "" {
		err := b.Switch(v.r.Context())
		if err == nil {
			v.did("account changed", zap.String("account", b.Answers.Mailbox), zap.Strings("changes", []string{"upstream: " + through + " -> " + b.Answers.Upstream()}))
			err = v.leave("setup")
		}
		return err
	}
	device, err := v.deviceName()
	if err != nil {
		return err
	}
	plain, hash := password.Generate()
	record := map[string]any{"upstream": b.Answers.Upstream(), "password_hashes": []string{hash}, "senders": []string{b.Answers.Mailbox}}
	labelPatch(record, hash, device)
	err = v.addRecord(b.Answers.Mailbox, record, plain, hash)
	if errors.Is(err, accounts.ErrPrecondition) {
		return v.leave("setup") // it is there already
	}
	return err
}

// inviteFirst makes the link for the owner's consent.
func inviteFirst(v *visit, b *firstrun.Run) error {
	invited, err := v.invitation(v.r.Context(), b.Answers.Mailbox, "")
	if err != nil {
		return err
	}
	if err := v.keepSecret(b.Answers.Mailbox, "link", invited.Link); err != nil {
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
func setUpAnother(v *visit, b *firstrun.Run) error {
	b.Anew()
	return v.leave("setup")
}
