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

	"github.com/caddymail/mailgateway/console/audit"
	"github.com/caddymail/mailgateway/internal/site"
)

// did writes to the audit log what the user did, and keeps it for the page of changes.
// What was done is done: a storage that fails leaves it to the log alone.
func (v *visit) did(what string, fields ...zap.Field) {
	from := site.Client(v.r)
	v.h.audit.Info(what, append([]zap.Field{zap.String("user", v.User.Name), zap.String("from", from)}, fields...)...)
	if err := (audit.Trail{Storage: v.h.storage}).Add(v.r.Context(), audit.New(v.User.Name, from, what, fields...)); err != nil {
		v.h.logger.Error("a change is missing on the page of changes", zap.String("change", what), zap.Error(err))
	}
}

// changeList is what the page of changes shows.
type changeList struct {
	Query string
	audit.Page
	Next string
}

func showChanges(v *visit) error {
	query := v.r.URL.Query()
	l := changeList{Query: strings.TrimSpace(query.Get("q"))}
	trail := audit.Trail{Storage: v.h.storage}
	err := trail.Flush(v.r.Context()) // what commands and the admin API have changed just now
	if err != nil {
		v.h.logger.Error("changes are missing on the page of changes", zap.Error(err))
	}
	l.Page, err = trail.List(v.r.Context(), l.Query, query.Get("before"), pageSize)
	if errors.Is(err, audit.ErrCursor) {
		return refuse(http.StatusBadRequest, "The address of this page is incomplete. Begin at the first page.")
	}
	if err != nil {
		return err
	}
	if l.Page.Next != "" {
		l.Next = "?" + url.Values{"q": {l.Query}, "before": {l.Page.Next}}.Encode()
	}
	return v.show(http.StatusOK, "changes", "changes", "Changes", l)
}
