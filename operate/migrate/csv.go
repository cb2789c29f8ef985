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

package migrate

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"strings"

	"github.com/caddymail/mailgateway/accounts"
)

// googleClientSuffix ends the client identifiers that Google hands out.
const googleClientSuffix = ".apps.googleusercontent.com"

// CSV reads the predecessor's other format, one account per line:
//
//	email,account_id,refresh_token,client_id[,timestamp,hostname]
//
// Blank lines, lines that begin with # and a heading are skipped.
func CSV(r io.Reader) (*Foreign, error) {
	f := new(Foreign)
	lr := accounts.NewLineReader(r)
	lines := 0
	for {
		line, n, err := lr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, accounts.ErrLineTooLong) {
			return nil, err
		}
		line = bytes.TrimSpace(line)
		if err == nil && (len(line) == 0 || line[0] == '#') {
			continue
		}
		lines++
		im := Imported{Err: err}
		if err == nil {
			var heading bool
			im, heading = f.csvAccount(string(line))
			if heading && lines == 1 {
				continue
			}
		}
		im.Line = n
		f.Accounts = append(f.Accounts, im)
	}
	f.finish()
	f.passwordNote("The file has no passwords.")
	return f, nil
}

func (f *Foreign) csvAccount(line string) (im Imported, heading bool) {
	cr := csv.NewReader(strings.NewReader(line))
	cr.FieldsPerRecord, cr.TrimLeadingSpace = -1, true
	fields, err := cr.Read()
	if err != nil {
		im.Err = errors.New("malformed CSV: quotes do not match")
		return im, false
	}
	for i := range fields {
		fields[i] = strings.TrimSpace(fields[i])
	}
	if strings.EqualFold(fields[0], "email") {
		im.Err = errors.New("a heading among the accounts")
		return im, true
	}
	if len(fields) < 4 || len(fields) > 6 {
		im.Err = errors.New("want email, account_id, refresh_token, client_id, and perhaps timestamp and hostname")
		return im, false
	}
	email, id, refresh, clientID := fields[0], fields[1], fields[2], fields[3]
	local, _, ok := accounts.SplitAddress(email)
	switch {
	case !ok || local == "":
		im.Err = &accounts.FieldError{Field: "email", Err: errors.New("want a mail address")}
	case refresh == "":
		im.Err = &accounts.FieldError{Account: email, Field: "refresh_token", Err: errors.New("must not be empty")}
	case clientID == "":
		im.Err = &accounts.FieldError{Account: email, Field: "client_id", Err: errors.New("must not be empty")}
	}
	if im.Err != nil {
		return im, false
	}
	s := SuggestedProvider{ClientID: clientID}
	s.Kind = kindOf(email, clientID, &im)
	s.Preset = presetOf(s.Kind, email)
	im.Record = accounts.Record{Name: email, RefreshToken: refresh, Upstream: s.Preset}
	if id != "" {
		im.Record.Labels = map[string]string{"account_id": id}
	}
	if _, err := accounts.Compile(im.Record, "import"); err != nil {
		im.Err = err
		return im, false
	}
	// Google's clients have a secret, which this format has no place for.
	im.Record.Upstream = f.use(s, s.Kind == "google")
	return im, false
}

// kindOf guesses the provider. A client identifier tells more than a domain:
// organizations have domains of their own.
func kindOf(email, clientID string, im *Imported) string {
	if strings.HasSuffix(accounts.FoldName(clientID), googleClientSuffix) {
		return "google"
	}
	if isUUID(clientID) {
		return "microsoft"
	}
	_, domain, _ := accounts.SplitAddress(email)
	switch first, _, _ := strings.Cut(accounts.FoldName(domain), "."); {
	case first == "gmail", first == "googlemail":
		return "google"
	case microsoftPreset(email) == "outlook":
		return "microsoft"
	case first == "yahoo", first == "ymail":
		return "yahoo"
	case first == "fastmail":
		return "fastmail"
	}
	im.note("neither the domain nor the client_id tells the provider: taken for google, as the predecessor did")
	return "google"
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	s = accounts.FoldName(s)
	for i := range len(s) {
		c := s[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
