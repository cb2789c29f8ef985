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
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/connect"
	"github.com/caddymail/mailgateway/connect/mailing"
	"github.com/caddymail/mailgateway/console/batch"
)

func showInviteMany(v *visit) error {
	if !v.User.Operator {
		return errViewer
	}
	return v.show(http.StatusOK, "many", "invitations", "Invite many", manyForm{How: "save", Pace: "30"})
}

// manyForm is the form of many invitations, as it was filled in.
type manyForm struct{ List, How, Sender, Pace, Field, Problem string }

// readBatch reads the list: a CSV whose first line names its columns, or an account a line.
func readBatch(text string, defaults connect.Request) ([]mailing.Row, error) {
	text = strings.TrimSpace(text)
	if first, _, _ := strings.Cut(text, "\n"); !strings.Contains(first, ",") && !strings.EqualFold(strings.TrimSpace(first), "account") {
		text = "account\n" + text
	}
	rows, err := connect.ReadRequests(strings.NewReader(text), defaults)
	if err != nil {
		return nil, refuseField("list", "The list: %v.", err)
	}
	var list []mailing.Row
	for {
		req, _, err := rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, refuseField("list", "The list: %v.", err)
		}
		if len(list) == batch.Max {
			return nil, refuseField("list", "The list has more than %d accounts: make several of it.", batch.Max)
		}
		list = append(list, mailing.Row{Request: req, To: rows.More("to")})
	}
	if len(list) == 0 {
		return nil, refuseField("list", "The list is empty.")
	}
	return list, nil
}

// inviteMany makes the invitations, which the next page shows the progress of. A form
// that cannot be taken is shown again as it was filled in.
func inviteMany(v *visit) error {
	err := v.inviteMany()
	se, ok := errors.AsType[*statusError](err)
	if !ok {
		se, ok = v.broken(err)
	}
	if !ok {
		return err
	}
	get := v.r.PostForm.Get
	return v.show(se.status, "many", "invitations", "Invite many", manyForm{get("list"), get("how"), get("sender"), get("pace"), se.field, se.text})
}

func (v *visit) inviteMany() error {
	if _, err := connect.Current(); err != nil {
		return err
	}
	by := v.User.Name
	if !v.h.hasLogin() {
		by = v.h.Name
	}
	list, err := readBatch(v.r.PostForm.Get("list"), connect.Request{InvitedBy: by})
	if err != nil {
		return err
	}
	if v.r.PostForm.Get("how") == "mail" {
		return v.mailInvitations(list)
	}
	b, err := batch.Start(v.User.Name, list)
	if err != nil {
		return &statusError{status: http.StatusTooManyRequests, text: "Wait: " + err.Error() + "."}
	}
	v.did("owners invited", zap.Int("accounts", len(list)), zap.String("list", b.ID))
	return v.leave("invitations", "many", b.ID)
}

// batch is that of the page's address, for who had it made.
func (v *visit) batch() (*batch.Batch, error) {
	b := batch.Of(v.r.PathValue("id"), v.User.Name)
	if b == nil || !v.User.Operator {
		return nil, refuse(http.StatusNotFound, "No such list: it is kept for half an hour, for who had it made. The invitations are good; a link that is lost is made anew.")
	}
	return b, nil
}

// showBatch shows how far it is. With `part`, only that is sent, for an open page.
func showBatch(v *visit) error {
	b, err := v.batch()
	if err != nil {
		return err
	}
	w := b.View()
	if v.r.URL.Query().Has("part") {
		return v.part("batch_progress", w)
	}
	return v.show(http.StatusOK, "batch", "invitations", "Invite many", w)
}

// exportBatch sends the links as a CSV.
func exportBatch(v *visit) error {
	b, err := v.batch()
	if err != nil {
		return err
	}
	made, done := b.Made()
	if !done {
		return refuse(http.StatusConflict, "Not all invitations are made yet.")
	}
	var out bytes.Buffer
	w, err := connect.NewLinks(&out)
	for i := 0; err == nil && i < len(made); i++ {
		err = w.Add(&made[i])
	}
	if err != nil {
		return err
	}
	w.Flush()
	v.did("links exported", zap.Int("accounts", len(made)), zap.String("list", b.ID))
	v.w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	v.w.Header().Set("Content-Disposition", `attachment; filename="links.csv"`)
	_, err = out.WriteTo(v.w)
	return err
}
