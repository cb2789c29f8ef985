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
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/connect"
	"github.com/caddymail/mailgateway/connect/mailing"
)

const (
	// maxBatch bounds the invitations that are made at a time, maxBatches what is
	// kept of them: some megabytes.
	maxBatch     = 10_000
	maxBatches   = 4
	batchTimeout = 30 * time.Minute
	batchKept    = 30 * time.Minute
	// shownFailures bounds the lines in error that a page names.
	shownFailures = 100
)

// batch is invitations of many accounts under way, or what came of them. The links are
// here alone, and only for who had them made. It belongs to the process.
type batch struct {
	ID, by string
	began  time.Time
	total  int

	mu       sync.Mutex
	made     []connect.Invited
	failed   int
	failures []string
	done     bool
}

// batchView is a batch as a page shows it.
type batchView struct {
	ID                  string
	Made, Failed, Total int
	Failures            []string
	Done                bool
}

// batches are those of the process.
var batches = struct {
	sync.Mutex
	byID map[string]*batch
}{byID: make(map[string]*batch)}

func keepBatch(b *batch) error {
	batches.Lock()
	defer batches.Unlock()
	for id, old := range batches.byID {
		old.mu.Lock()
		done := old.done
		old.mu.Unlock()
		if !done {
			return refuse(http.StatusTooManyRequests, "Invitations are being made already. Wait until they are done.")
		}
		if time.Since(old.began) > batchKept {
			delete(batches.byID, id)
		}
	}
	if len(batches.byID) >= maxBatches {
		return refuse(http.StatusTooManyRequests, "Many lists of invitations were made in the last half hour. Wait, or use the command line.")
	}
	batches.byID[b.ID] = b
	return nil
}

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
		if len(list) == maxBatch {
			return nil, refuseField("list", "The list has more than %d accounts: make several of it.", maxBatch)
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
	b := &batch{ID: rand.Text(), by: v.User.Name, began: time.Now(), total: len(list)}
	if err := keepBatch(b); err != nil {
		return err
	}
	v.did("owners invited", zap.Int("accounts", len(list)), zap.String("list", b.ID))
	go b.run(list)
	return v.leave("invitations", "many", b.ID)
}

// run makes them, one after the other. One that fails does not stop the others.
func (b *batch) run(list []mailing.Row) {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	for _, req := range list {
		invited, err := connect.Invite(ctx, req.Request)
		b.mu.Lock()
		if err == nil {
			b.made = append(b.made, invited)
		} else if b.failed++; len(b.failures) < shownFailures {
			b.failures = append(b.failures, fmt.Sprintf("%s: %v", req.Account, err))
		}
		b.mu.Unlock()
	}
	b.mu.Lock()
	b.done = true
	b.mu.Unlock()
}

// batch is that of the page's address, for who had it made.
func (v *visit) batch() (*batch, error) {
	batches.Lock()
	b := batches.byID[v.r.PathValue("id")]
	batches.Unlock()
	if b == nil || b.by != v.User.Name || !v.User.Operator || time.Since(b.began) > batchTimeout+batchKept {
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
	b.mu.Lock()
	w := batchView{b.ID, len(b.made), b.failed, b.total, append([]string{}, b.failures...), b.done}
	b.mu.Unlock()
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
	b.mu.Lock()
	made, done := b.made, b.done
	b.mu.Unlock()
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
