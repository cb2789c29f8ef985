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
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/upstreamapp"
)

const pageSize = 50

func pathOf(name string) string { return url.PathEscape(name) }

// accountRow is one account of the list.
type accountRow struct{ Name, Upstream, State string }

type accountList struct {
	Query, State string
	States       []string
	Rows         []accountRow
	Total        int
	Next         string
}

func showAccounts(v *visit) error {
	dir, err := operate.Directory()
	if err != nil {
		return err
	}
	query := v.r.URL.Query()
	l := accountList{Query: strings.TrimSpace(query.Get("q")), State: query.Get("state"), States: operate.AccountStates, Total: dir.Len()}
	states := operate.NewStates()
	f := accounts.Filter{Match: func(a *accounts.Account) bool {
		return (l.Query == "" || contains(a, l.Query)) && (!slices.Contains(operate.AccountStates, l.State) || states.Of(a) == l.State)
	}}
	page, next := dir.List(f, query.Get("after"), pageSize)
	for _, a := range page {
		l.Rows = append(l.Rows, accountRow{a.Name, a.Upstream, states.Of(a)})
	}
	if next != "" {
		q := url.Values{"q": {l.Query}, "state": {l.State}, "after": {next}}
		l.Next = "?" + q.Encode()
	}
	return v.show(http.StatusOK, "accounts", "accounts", "Accounts", l)
}

// contains looks for a word in what an account is known by.
func contains(a *accounts.Account, word string) bool {
	word = strings.ToLower(word)
	for _, s := range []string{a.Name, a.Mailbox, a.Upstream} {
		if strings.Contains(strings.ToLower(s), word) {
			return true
		}
	}
	for k, s := range a.Labels {
		if strings.Contains(strings.ToLower(k+"="+s), word) {
			return true
		}
	}
	return false
}

// newAccountForm is the form of a new account, as it was filled in.
type newAccountForm struct {
	Upstreams                       []string
	Name, Upstream, Mailbox, Device string
	// Problem is what is wrong with Field; Exists is the account that has the name.
	Field, Problem, Exists string
}

func showNewAccount(v *visit) error {
	if !v.User.Operator {
		return errViewer
	}
	return v.showNewAccount(http.StatusOK, newAccountForm{})
}

func (v *visit) showNewAccount(status int, f newAccountForm) error {
	app, err := operate.App[*upstreamapp.App]("smtp_upstreams")
	if err != nil {
		return err
	}
	f.Upstreams = app.Names()
	return v.show(status, "new_account", "accounts", "Add an account", f)
}

// addAccount makes an account with a password, and shows its card. A form that cannot be
// taken is shown again as it was filled in.
func addAccount(v *visit) error {
	field := func(name string) string { return strings.TrimSpace(v.r.PostForm.Get(name)) }
	f := newAccountForm{Name: field("name"), Upstream: field("upstream"), Mailbox: field("mailbox"), Device: field("device")}
	if f.Name == "" {
		f.Field, f.Problem = "name", "must not be empty"
		return v.showNewAccount(http.StatusBadRequest, f)
	}
	device, err := v.deviceName()
	if se, ok := errors.AsType[*statusError](err); ok {
		f.Field, f.Problem = se.field, se.text
		return v.showNewAccount(se.status, f)
	}
	plain, hash := password.Generate()
	record := map[string]any{"upstream": f.Upstream, "password_hashes": []string{hash}}
	labelPatch(record, hash, device)
	if f.Mailbox != "" {
		record["mailbox"] = f.Mailbox
	}
	err = v.addRecord(f.Name, record, plain, hash)
	if fe, ok := errors.AsType[*accounts.FieldError](err); ok {
		f.Field, f.Problem = fe.Field, fe.Err.Error()
		return v.showNewAccount(http.StatusBadRequest, f)
	}
	if errors.Is(err, accounts.ErrReadOnly) {
		f.Field, f.Problem = "name", err.Error()
		return v.showNewAccount(http.StatusConflict, f)
	}
	if errors.Is(err, accounts.ErrPrecondition) {
		f.Field, f.Problem, f.Exists = "name", "there is an account of this name already", f.Name
		return v.showNewAccount(http.StatusConflict, f)
	}
	if se, ok := v.broken(err); ok {
		f.Problem = se.text
		return v.showNewAccount(se.status, f)
	}
	return err
}

// addRecord adds an account, and shows its first device's card.
func (v *visit) addRecord(name string, record map[string]any, plain, hash string) error {
	dir, err := operate.Directory()
	if err != nil {
		return err
	}
	body, err := json.Marshal(record)
	if err != nil {
		return err
	}
	cond, err := accounts.ParseCondition("", "*")
	if err != nil {
		return err
	}
	c, err := dir.Put(v.r.Context(), name, body, cond)
	if err != nil {
		return err
	}
	v.did("account added", zap.String("account", c.Account.Name), zap.String("upstream", c.Account.Upstream))
	return v.leaveToCard(c.Account, plain, hash)
}

// account finds the one that the path names.
func (v *visit) account() (*accounts.Directory, *accounts.Account, error) {
	dir, err := operate.Directory()
	if err != nil {
		return nil, nil, err
	}
	a, err := dir.Get(v.r.Context(), v.r.PathValue("name"))
	return dir, a, err
}

func pauseAccount(paused bool) pageFunc {
	return func(v *visit) error {
		dir, a, err := v.account()
		if err != nil {
			return err
		}
		c, err := dir.SetPaused(v.r.Context(), a.Name, paused)
		if err != nil {
			return err
		}
		what := "account paused"
		if !paused {
			what = "account resumed"
			operate.RetryGrant(c.Account)
		}
		v.did(what, zap.String("account", a.Name))
		return v.leave("accounts", a.Name)
	}
}

// removeAccount takes an account away, with its devices' passwords and its consent.
func removeAccount(v *visit) error {
	dir, a, err := v.account()
	if err != nil {
		return err
	}
	if err := operate.DeleteAccount(v.r.Context(), dir, a.Name, accounts.Condition{}); err != nil {
		return err
	}
	v.did("account removed", zap.String("account", a.Name), zap.String("upstream", a.Upstream))
	return v.leave("accounts")
}
