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
	"strings"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/console/settings"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/upstreamapp"
)

func upstreamNames() []string {
	app, err := operate.App[*upstreamapp.App]("smtp_upstreams")
	if err != nil {
		return nil
	}
	return app.Names()
}

func showChange(v *visit) error {
	if !v.User.Operator {
		return errViewer
	}
	dir, a, err := v.account()
	if err != nil {
		return err
	}
	if !editable(dir, a) {
		return refuse(http.StatusConflict, "Account %s comes from %s, and is changed there.", a.Name, strings.Replace(a.Source, "inline", "the configuration", 1))
	}
	return v.showChange(http.StatusOK, settings.Of(a, upstreamNames()))
}

func (v *visit) showChange(status int, f *settings.Form) error {
	return v.show(status, "change", "accounts", "Change "+f.Name, f)
}

// changeAccount takes the form. One that cannot be taken is shown again as it was filled
// in, with what is wrong beside the field.
func changeAccount(v *visit) error {
	dir, old, err := v.account()
	if err != nil {
		return err
	}
	f := settings.Of(old, upstreamNames())
	patch := f.Read(v.r.PostForm.Get)
	if f.Problem != "" {
		return v.showChange(http.StatusBadRequest, f)
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	c, err := dir.Patch(v.r.Context(), old.Name, body, accounts.Condition{Versions: []string{f.Version}})
	var fe *accounts.FieldError
	switch {
	case errors.Is(err, accounts.ErrPrecondition):
		// What came between is not overwritten unseen: the next attempt is, by
		// whoever has been told.
		now := settings.Of(old, nil)
		f.Version = old.Version()
		f.Wrong("", "The account was changed in the meantime. It now has "+now.Summary()+". Save again to replace that by what you see here.")
		return v.showChange(http.StatusConflict, f)
	case errors.As(err, &fe):
		field, _, _ := strings.Cut(strings.TrimPrefix(fe.Field, "limits."), "[")
		f.Wrong(field, fe.Err.Error())
		return v.showChange(http.StatusBadRequest, f)
	case err != nil:
		if se, ok := v.broken(err); ok {
			f.Wrong("", "Nothing was changed. "+se.text)
			return v.showChange(se.status, f)
		}
		return err
	}
	if changes := settings.Differences(old, c.Account); len(changes) > 0 {
		v.did("account changed", zap.String("account", c.Account.Name), zap.Strings("changes", changes))
	}
	return v.leave("accounts", c.Account.Name)
}
