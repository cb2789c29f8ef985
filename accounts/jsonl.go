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

package accounts

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"slices"

	"github.com/caddymail/mailgateway/internal/plaintext"
)

// lineHash reports whether a line is as it was, so that the account that it made
// can stay.
type lineHash = [sha256.Size]byte

// parsedFile is what an accounts file holds.
type parsedFile struct {
	accounts []*Account
	problems []Problem
	lines    map[lineHash]*Account
	missing  []*Account // in a file that ends within a line: they may be gone or not
}

// parseLines reads JSON lines. A line that is unchanged since prev keeps its
// *Account. A bad line is a problem, and its account stays in its previous
// version, where there is one: the operator's slip must not lock anyone out.
// The error is that of the reader.
func parseLines(r io.Reader, source, file string, prev *parsedFile, old *Index) (*parsedFile, error) {
	p := &parsedFile{lines: make(map[lineHash]*Account)}
	if prev != nil {
		p.lines = make(map[lineHash]*Account, len(prev.lines))
	}
	seen := make(map[string]int)
	var kept []*Account

	problem := func(line int, err error) {
		pr := Problem{Source: source, File: file, Line: line, Message: err.Error()}
		if fe, ok := errors.AsType[*FieldError](err); ok {
			pr.Account, pr.Field, pr.Message = fe.Account, fe.Field, fe.Err.Error()
		}
		if a, ok := old.Get(pr.Account); ok && pr.Account != "" {
			pr.Kept = true
			kept = append(kept, a)
		}
		p.problems = append(p.problems, pr)
	}

	lr := plaintext.NewLineReader(r)
	bad := 0 // the last bad line
	for {
		line, n, err := lr.Next()
		switch {
		case errors.Is(err, io.EOF):
			for _, a := range kept {
				if seen[a.key] == 0 {
					seen[a.key] = -1
					p.accounts = append(p.accounts, a)
				}
			}
			if prev != nil && lr.Cut() && bad == lr.Line() {
				p.missing = slices.DeleteFunc(slices.Clone(prev.accounts), func(a *Account) bool { return seen[a.key] != 0 })
			}
			return p, nil
		case errors.Is(err, plaintext.ErrLineTooLong):
			problem(n, err)
			continue
		case err != nil:
			return nil, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		sum := sha256.Sum256(line)
		var a *Account
		if prev != nil {
			a = prev.lines[sum]
		}
		if a == nil {
			record, err := DecodeRecord(line)
			if err == nil {
				a, err = Compile(record, source)
			}
			if err != nil {
				bad = n
				problem(n, err)
				continue
			}
		}
		if first := seen[a.key]; first > 0 {
			p.problems = append(p.problems, Problem{
				Source: source, File: file, Line: n, Account: a.Name, Field: "name",
				Message: "duplicate account, the first one counts",
			})
			continue
		}
		seen[a.key] = n
		p.lines[sum] = a
		p.accounts = append(p.accounts, a)
	}
}
