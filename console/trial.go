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
	"net/http"
	"net/mail"
	"strings"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/console/trial"
)

// startTrial sends a test mail, which the next page shows the steps of.
func startTrial(v *visit) error {
	_, a, err := v.account()
	if err != nil {
		return err
	}
	from, to := a.Mailbox, ""
	for field, p := range map[string]*string{"from": &from, "to": &to} {
		text := strings.TrimSpace(v.r.PostForm.Get(field))
		if text == "" && field == "from" {
			continue
		}
		addr, err := mail.ParseAddress(text)
		if err != nil || addr.Address != text || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			return refuseField(field, "Want a mail address such as you@example.com.")
		}
		*p = text
	}
	id, err := trial.Start(a, from, to, v.h.Name)
	if err != nil {
		return &statusError{status: http.StatusTooManyRequests, text: "Wait a while: " + err.Error() + ".", field: "to"}
	}
	v.did("test mail sent", zap.String("account", a.Name), zap.String("trial", id))
	return v.leave("trials", id)
}

// showTestForm is the page that has the form of the test mail.
func showTestForm(v *visit) error {
	if v.r.PostForm.Get("on") == "setup" {
		return showSetup(v)
	}
	return showAccount(v)
}

// showTrial shows the steps so far. With `part`, only they are sent, for an open page.
func showTrial(v *visit) error {
	t, ok := trial.Get(v.r.PathValue("id"))
	if !ok {
		return refuse(http.StatusNotFound, "There is no such test mail: each is kept for half an hour.")
	}
	if v.r.URL.Query().Has("part") {
		return v.part("trial_steps", t)
	}
	return v.show(http.StatusOK, "trial", "accounts", "Test mail", t)
}
