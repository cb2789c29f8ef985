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
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/connect/mailing"
	"github.com/caddymail/mailgateway/operate"
)

// shownFailures bounds the rows in error that a page names.
const shownFailures = 100

func (v *visit) orders() mailing.Orders { return mailing.Orders{Storage: v.h.storage} }

func (v *visit) mailer() mailing.Runner { return v.h.keeper.Runner }

// mailInvitations has invitations mailed to those on a list.
func (v *visit) mailInvitations(rows []mailing.Row) error {
	form := v.r.PostForm
	pace, err := strconv.Atoi(strings.TrimSpace(form.Get("pace")))
	if err != nil {
		return refuseField("pace", "Want a whole number of mails a minute, up to %d.", mailing.MaxPace)
	}
	dir, err := operate.Directory()
	if err != nil {
		return err
	}
	sender, err := dir.Get(v.r.Context(), strings.TrimSpace(form.Get("sender")))
	if err != nil {
		return refuseField("sender", "Want an account that sends the mails: %v.", err)
	}
	o, err := v.orders().Add(v.r.Context(), mailing.Order{By: v.User.Name, Account: sender.Name, Gateway: v.h.Name, PerMinute: pace}, rows)
	if ie, ok := errors.AsType[*mailing.InvalidError](err); ok {
		return refuseField(ie.Field, "The %s: %v.", ie.Field, err)
	}
	if err != nil {
		return err
	}
	v.did("invitations mailed", zap.Int("accounts", o.Total), zap.String("through", o.Account), zap.String("mailing", o.ID))
	v.mailer().Start(o.ID)
	return v.leave("invitations", "mailings", o.ID)
}

// mailingPage is the page of one mailing.
type mailingPage struct {
	mailing.Status
	Failures []mailing.Failure
	// Later is where the failures go on that the page does not show; 0: nowhere.
	Later int
}

func showMailing(v *visit) error {
	st, err := v.orders().Get(v.r.Context(), v.r.PathValue("id"))
	if err != nil {
		return mailingError(err)
	}
	from, _ := strconv.Atoi(v.r.URL.Query().Get("from"))
	from = max(0, from)
	p := mailingPage{Status: st}
	if p.Failures, err = v.orders().Failures(v.r.Context(), st.ID, from, shownFailures); err != nil {
		return err
	}
	for i := range p.Failures {
		p.Failures[i].Row++ // people count from one
	}
	if from += len(p.Failures); from < st.Failed {
		p.Later = from
	}
	if v.r.URL.Query().Has("part") {
		return v.part("mailing_progress", p)
	}
	return v.show(http.StatusOK, "mailing", "invitations", "Invitations by mail", p)
}

func mailingError(err error) error {
	if errors.Is(err, mailing.ErrUnknown) {
		return refuse(http.StatusNotFound, "No such list: the last twenty are kept.")
	}
	return err
}

func steerMailing(v *visit) error {
	id := v.r.PathValue("id")
	st, err := v.orders().Get(v.r.Context(), id)
	if err != nil {
		return mailingError(err)
	}
	switch what := v.r.PathValue("what"); what {
	case "pause":
		if err := v.orders().Pause(v.r.Context(), st.ID, v.User.Name); err != nil {
			return err
		}
		v.did("mailing of invitations paused", zap.String("mailing", st.ID))
	case "resume":
		if err := v.orders().Resume(v.r.Context(), st.ID); err != nil {
			return err
		}
		v.mailer().Start(st.ID)
		v.did("mailing of invitations resumed", zap.String("mailing", st.ID))
	case "again":
		o, err := v.orders().AddFailed(v.r.Context(), st.ID, v.User.Name)
		if err != nil {
			return refuse(http.StatusConflict, "The list: %v.", err)
		}
		v.did("invitations mailed", zap.Int("accounts", o.Total), zap.String("through", o.Account), zap.String("mailing", o.ID))
		v.mailer().Start(o.ID)
		id = o.ID
	default:
		return refuse(http.StatusNotFound, "There is no such thing to do.")
	}
	return v.leave("invitations", "mailings", id)
}
