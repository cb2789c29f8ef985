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
	"net/url"
	"strings"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/messagelog"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/setup"
	"github.com/caddymail/mailgateway/smtpapp"
)

// messageRow is one transaction as the page shows it.
type messageRow struct {
	*messagelog.Entry
	// Explained is what the last refusal means, if that is known.
	Explained *explain.Explanation
}

// messageList is what the page of messages shows.
type messageList struct {
	Query, Account string
	Failed         bool
	Rows           []messageRow
	Next           string
	Status         messagelog.Status
}

// shownMessages is a page of messages, lastMessages how many an account's page shows.
const (
	shownMessages = 50
	lastMessages  = 10
)

// messagesLog is the running one; nil if none is configured.
func messagesLog() (*messagelog.Log, error) {
	app, err := operate.App[*smtpapp.App]("smtp")
	if err != nil {
		return nil, err
	}
	l, err := app.MessageLog()
	if errors.Is(err, smtpapp.ErrNoMessageLog) {
		return nil, nil
	}
	return l, err
}

func showMessages(v *visit) error {
	log, err := messagesLog()
	if err != nil {
		return err
	}
	if log == nil {
		return v.showNoMessages(http.StatusOK, "")
	}
	query := v.r.URL.Query()
	l := messageList{Query: strings.TrimSpace(query.Get("q")), Account: query.Get("account"), Failed: query.Get("failed") != "", Status: log.Status()}
	page, err := log.Search(v.r.Context(), messagelog.Query{Text: l.Query, Account: l.Account, Failed: l.Failed, Limit: shownMessages, Cursor: query.Get("after")})
	if errors.Is(err, messagelog.ErrCursor) {
		return refuse(http.StatusBadRequest, "The address of this page is incomplete. Begin at the first page.")
	}
	if err != nil {
		return err
	}
	l.Rows = explainedRows(page.Messages)
	if page.Next != "" {
		q := url.Values{"q": {l.Query}, "account": {l.Account}, "after": {page.Next}}
		if l.Failed {
			q.Set("failed", "1")
		}
		l.Next = "?" + q.Encode()
	}
	return v.show(http.StatusOK, "messages", "messages", "Where is my message?", l)
}

// keepOption is what has messages kept.
const keepOption = "\tsmtp {\n\t\tmessages\n\t}\n"

// noMessages is the page without a list of messages. Plan is what the button writes;
// without one, Manual says why the operator does it.
type noMessages struct {
	Problem, Manual string
	Plan            *setup.Plan
}

func (v *visit) showNoMessages(status int, problem string) error {
	p := noMessages{Problem: problem}
	if v.User.Operator {
		b, unlock := v.firstRun()
		defer unlock()
		var err error
		if p.Plan, err = b.Add(keepOption); err != nil {
			p.Manual = err.Error()
		}
	}
	return v.show(status, "no_messages", "messages", "Where is my message?", p)
}

// keepMessages has messages kept from now on.
func keepMessages(v *visit) error {
	if log, err := messagesLog(); err != nil || log != nil {
		if err == nil {
			err = v.leave("messages") // by the other click
		}
		return err
	}
	if err := v.writeOption(keepOption); err != nil {
		return v.showNoMessages(http.StatusConflict, "Nothing was written. "+err.Error())
	}
	return v.leave("messages")
}

func (v *visit) writeOption(option string) error {
	b, unlock := v.firstRun()
	defer unlock()
	plan, err := b.Add(option)
	if err == nil && plan.Hash != v.r.PostForm.Get("plan") {
		err = errors.New("the configuration was changed in the meantime: look at it again")
	}
	if err != nil {
		return err
	}
	if err := v.apply(b, plan); err != nil {
		return err
	}
	v.did("configuration written", zap.String("file", plan.File), zap.String("added", strings.Join(strings.Fields(option), " ")))
	return nil
}

func explainedRows(entries []*messagelog.Entry) []messageRow {
	rows := make([]messageRow, 0, len(entries))
	for _, e := range entries {
		row := messageRow{Entry: e}
		said := ""
		for i := range e.Recipients {
			if e.Recipients[i].Code != 0 {
				said = e.Recipients[i].Reply
			}
		}
		if e.Code >= 400 {
			said = e.Reply
		}
		if said != "" {
			if x, ok := (explain.About{Account: e.Account}).Of(said); ok {
				row.Explained = &x
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// messagesOf are the last ones of an account; none without a log of messages.
func (v *visit) messagesOf(account string) ([]messageRow, error) {
	log, err := messagesLog()
	if log == nil || err != nil {
		return nil, err
	}
	page, err := log.Search(v.r.Context(), messagelog.Query{Account: account, Limit: lastMessages})
	return explainedRows(page.Messages), err
}
