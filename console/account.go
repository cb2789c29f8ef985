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
	"errors"
	"net/http"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/connect"
	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/smtpapp"
)

// accountPage is all that is known of one account.
type accountPage struct {
	accounts.View
	State  string
	Status operate.AccountStatus
	// Trouble is what the provider said last, Explained what it means.
	Trouble   string
	Explained *explain.Explanation
	Devices   []device
	Labels    map[string]string
	// Editable reports whether the account can be changed here.
	Editable bool
	Sessions []smtpapp.SessionInfo
	Messages []messageRow
	// Refusals are what its devices were refused lately, by wrong passwords too.
	Refusals []smtpapp.Refusal
	// Consents reports whether the owner can be sent an invitation, Link is
	// that of one which was just made.
	Consents bool
	Link     string
}

func showAccount(v *visit) error {
	dir, a, err := v.account()
	if err != nil {
		return err
	}
	p := accountPage{
		View: a.Redacted(), State: operate.NewStates().Of(a), Status: operate.StatusOf(a),
		Devices: devicesOf(a), Labels: ownLabels(a), Editable: editable(dir, a),
	}
	if t := p.Status.Token; t != nil && t.LastError != nil {
		p.Trouble, p.Explained = t.LastError.Cause, &explain.Explanation{Cause: t.LastError.Cause, Remedy: t.LastError.Remedy}
	} else if u := p.Status.UpstreamStatus; u != nil && u.LastError != "" {
		p.Trouble = u.LastError
		if e, ok := (explain.About{Account: a.Name, Mailbox: a.Mailbox}).Of(u.LastError); ok {
			p.Explained = &e
		}
	}
	if app, err := operate.App[*smtpapp.App]("smtp"); err == nil {
		for _, s := range app.Sessions() {
			if accounts.FoldName(s.Account) == accounts.FoldName(a.Name) {
				p.Sessions = append(p.Sessions, s)
			}
		}
	}
	for _, r := range smtpapp.Refusals() {
		if r.Account != "" && accounts.FoldName(r.Account) == accounts.FoldName(a.Name) && len(p.Refusals) < lastMessages {
			p.Refusals = append(p.Refusals, r)
		}
	}
	if p.Messages, err = v.messagesOf(a.Name); err != nil {
		return err
	}
	if provider, err := connect.ProviderOf(a); err == nil {
		_, err := connect.Current()
		p.Consents = err == nil && provider.HasLogin()
	}
	p.Link = v.secret(a.Name, "link")
	return v.show(http.StatusOK, "account", "accounts", a.Name, p)
}

// inviteOwner makes a link for the owner, and shows it on the account's page.
func inviteOwner(v *visit) error {
	_, a, err := v.account()
	if err != nil {
		return err
	}
	invited, err := v.invitation(v.r.Context(), a.Name, v.r.PostForm.Get("delegate"))
	if err != nil {
		return err
	}
	if err := v.keepSecret(a.Name, "link", invited.Link); err != nil {
		return err
	}
	return v.leave("accounts", a.Name)
}

var errNoSession = errors.New("no such session: it has ended by itself")
