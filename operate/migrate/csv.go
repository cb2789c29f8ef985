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
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/plaintext"
)

// googleClientSuffix ends the client identifiers that Google hands out.
const googleClientSuffix = ".apps.googleusercontent.com"

// CSV reads the predecessor's other format, one account per line:
//
//	email,account_id,refresh_token,client_id[,timestamp,hostname]
//
// Blank lines and lines that begin with # are skipped. A heading says in which order
// the columns stand. What Excel writes where a comma is in numbers is taken, too:
// semicolons, tabs or bars, and a first line `sep=;`.
func CSV(r io.Reader) (*Foreign, error) {
	f := new(Foreign)
	c := csvColumns{into: f, comma: ',', at: []int{0, 1, 2, 3}, most: len(csvNames)}
	lr := plaintext.NewLineReader(r)
	lines := 0
	for {
		line, n, err := lr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, plaintext.ErrLineTooLong) {
			return nil, err
		}
		sep, given := separator(line)
		line = bytes.Trim(line, " ") // a tab may stand for an empty field
		if blank := bytes.TrimSpace(line); err == nil && (len(blank) == 0 || blank[0] == '#') {
			continue
		}
		if given && lines == 0 && !c.given {
			c.comma, c.given = sep, true
			continue
		}
		lines++
		im := Imported{Err: err}
		if err == nil {
			if lines == 1 {
				heading, err := c.heading(string(line))
				if err != nil {
					return nil, err
				}
				if heading {
					continue
				}
			}
			im = c.account(string(line))
		}
		im.Line = n
		f.Accounts = append(f.Accounts, im)
	}
	if len(f.Accounts) == 0 {
		return nil, errors.New("the file holds no account, only a heading")
	}
	f.finish()
	f.passwordNote("The file has no passwords.")
	return f, nil
}

// separator reads Excel's `sep=;`, with which a file says what separates its columns.
func separator(line []byte) (rune, bool) {
	word := strings.TrimRight(strings.Trim(string(line), `"`), "\r\n")
	if word = strings.Trim(word, `"`); len(word) != len("sep=;") || !strings.EqualFold(word[:4], "sep=") {
		return 0, false
	}
	sep := rune(word[4])
	return sep, sep == '\t' || sep > ' ' && sep < 127 && sep != '"'
}

// csvNames are the columns, of which those behind the fourth are of no use.
var csvNames = []string{"email", "account_id", "refresh_token", "client_id", "timestamp", "hostname"}

// csvColumns is how the lines of a file are read.
type csvColumns struct {
	into  *Foreign
	comma rune
	given bool  // by the file itself
	at    []int // where the first four of csvNames stand
	most  int   // columns of a line
}

// heading looks at the first line: what separates its columns, and whether it names
// them.
func (c *csvColumns) heading(line string) (bool, error) {
	for _, other := range []rune{';', '\t', '|'} {
		if n := strings.Count(line, string(other)); !c.given && n >= 3 && n > strings.Count(line, ",") {
			c.comma = other
		}
	}
	fields, err := c.fields(line)
	if err != nil || !slices.ContainsFunc(fields, func(s string) bool { return strings.EqualFold(s, "email") }) {
		return false, nil //nolint:nilerr // the line itself is told
	}
	for i, name := range csvNames[:4] {
		c.at[i] = slices.IndexFunc(fields, func(s string) bool { return strings.EqualFold(s, name) })
		if c.at[i] < 0 && name != "account_id" {
			return true, fmt.Errorf("the heading lacks the column %s: want %s", name, strings.Join(csvNames[:4], ", "))
		}
	}
	c.most = max(len(fields), c.most)
	return true, nil
}

func (c *csvColumns) fields(line string) ([]string, error) {
	cr := csv.NewReader(strings.NewReader(line))
	cr.Comma, cr.FieldsPerRecord, cr.TrimLeadingSpace = c.comma, -1, c.comma != '\t'
	fields, err := cr.Read()
	for i := range fields {
		fields[i] = strings.TrimSpace(fields[i])
	}
	return fields, err
}

func (c *csvColumns) account(line string) (im Imported) {
	f := c.into
	if !utf8.ValidString(line) {
		im.Err = errors.New("not UTF-8 text (Excel: Save as, CSV UTF-8)")
		return im
	}
	fields, err := c.fields(line)
	if err != nil {
		im.Err = errors.New("malformed CSV: quotes do not match")
		return im
	}
	if strings.EqualFold(fields[0], "email") {
		im.Err = errors.New("a heading among the accounts")
		return im
	}
	if len(fields) <= slices.Max(c.at) || len(fields) > c.most {
		im.Err = errors.New("want email, account_id, refresh_token, client_id, and perhaps timestamp and hostname")
		return im
	}
	var values [4]string
	for i, at := range c.at {
		if at >= 0 {
			values[i] = fields[at]
		}
	}
	email, id, refresh, clientID := values[0], values[1], values[2], values[3]
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
		return im
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
		return im
	}
	// Google's clients have a secret, which this format has no place for.
	im.Record.Upstream = f.use(s, s.Kind == "google")
	return im
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
