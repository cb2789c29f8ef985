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

package connect

import (
	"encoding/csv"
	"fmt"
	"io"
	"strings"
)

// Requests reads invitations to make from a CSV. Its first line names the columns:
// `account`, and `invited_by`, `delegate` and `expires` if there are any.
type Requests struct {
	rows     *csv.Reader
	column   map[string]int
	defaults Request
	row      []string
}

// ReadRequests reads the first line.
func ReadRequests(in io.Reader, defaults Request) (*Requests, error) {
	rows := csv.NewReader(in)
	rows.ReuseRecord, rows.TrimLeadingSpace = true, true
	head, err := rows.Read()
	if err != nil {
		return nil, fmt.Errorf("no line with the names of the columns: %w", err)
	}
	column := make(map[string]int)
	for i, name := range head {
		column[strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")))] = i
	}
	if _, ok := column["account"]; !ok {
		return nil, fmt.Errorf("no column 'account' among %s", strings.Join(head, ", "))
	}
	return &Requests{rows: rows, column: column, defaults: defaults}, nil
}

// Next reads a line, with its number; io.EOF is the end.
func (r *Requests) Next() (req Request, line int, err error) {
	row, err := r.rows.Read()
	if err != nil {
		return Request{}, 0, err
	}
	req, r.row = r.defaults, row
	for name, field := range map[string]*string{
		"account": &req.Account, "invited_by": &req.InvitedBy, "delegate": &req.Delegate, "expires": &req.Expires,
	} {
		if i, ok := r.column[name]; ok && strings.TrimSpace(row[i]) != "" {
			*field = strings.TrimSpace(row[i])
		}
	}
	line, _ = r.rows.FieldPos(0)
	return req, line, nil
}

// More is what the line just read has in another column; empty if there is none.
func (r *Requests) More(column string) string {
	if i, ok := r.column[column]; ok && i < len(r.row) {
		return strings.TrimSpace(r.row[i])
	}
	return ""
}

// Links writes a CSV of invitations with their links.
type Links struct{ *csv.Writer }

// NewLinks writes the first line.
func NewLinks(out io.Writer) (Links, error) {
	w := Links{csv.NewWriter(out)}
	return w, w.Write([]string{"account", "mailbox", "expires", "link"})
}

// Add writes an invitation.
func (w Links) Add(i *Invited) error {
	return w.Write([]string{cell(i.Account), cell(i.Mailbox), i.Expires.Format("2006-01-02T15:04:05Z"), i.Link})
}

// cell keeps a spreadsheet from taking an account's name for a formula.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t", rune(s[0])) {
		return "'" + s
	}
	return s
}
