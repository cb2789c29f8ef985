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
	"fmt"
	"net/http"
	"strings"

	"go.uber.org/zap"
)

// refuseField is about what was typed into a field: the form's page is shown again, with
// all that was typed.
func refuseField(field, format string, args ...any) error {
	return &statusError{status: http.StatusBadRequest, text: fmt.Sprintf(format, args...), field: field}
}

// refusal is a form that could not be taken, as its page shows it again.
type refusal struct {
	// ID is the element that it is about; Value is what was typed there.
	ID, Value string
	Problem   string
	status    int
}

// formOn is f for a form of one field on a page. What cannot be taken is shown there,
// beside the field, which keeps what was typed; so it does where the gateway fails. id is
// the field's element, with the path's {id}.
func formOn(show pageFunc, id, name string, f pageFunc) pageFunc {
	return func(v *visit) error {
		err := f(v)
		se, ok := errors.AsType[*statusError](err)
		if err == nil || ok && se.field == "" {
			return err
		}
		if !ok {
			if se, ok = v.broken(err); !ok {
				return err
			}
		}
		v.Refused = &refusal{strings.ReplaceAll(id, "{id}", v.r.PathValue("id")), v.r.PostForm.Get(name), se.text, se.status}
		return show(v)
	}
}

// broken reports whether an error is the gateway's own, which the log has then, and not
// an answer to what was asked.
func (v *visit) broken(err error) (*statusError, bool) {
	if err == nil {
		return nil, false
	}
	status, text := v.said(err)
	if status != http.StatusInternalServerError {
		return nil, false
	}
	v.h.logger.Error("a form of the console failed", zap.String("path", v.r.URL.Path), zap.Error(err))
	return &statusError{status: status, text: text}, true
}

// Typed is what was typed into a field of a form that was refused; else what the page
// would show.
func (v *visit) Typed(id, otherwise string) string {
	if v.Refused != nil && v.Refused.ID == id {
		return v.Refused.Value
	}
	return otherwise
}

// Field is what a template shows of a field's refusal.
func (v *visit) Field(id string) refusal {
	if v.Refused != nil && v.Refused.ID == id {
		return *v.Refused
	}
	return refusal{ID: id}
}
