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
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"

	"github.com/caddymail/mailgateway/internal/plaintext"
)

// importBatch are the lines that are written under one lock of the storage.
const importBatch = 128

// ImportResult is what came of one line of an import.
type ImportResult struct {
	// Line counts from 1.
	Line int `json:"line"`
	// Name is the account's, as far as it is known.
	Name string `json:"name,omitempty"`
	// Result is `created`, `updated`, `unchanged` or `error`.
	Result string `json:"result"`
	// Field is the JSON name of the field at fault, if one is.
	Field string `json:"field,omitempty"`
	// Error says what is wrong, without the value of any secret.
	Error string `json:"error,omitempty"`

	// Err is the error itself.
	Err error `json:"-"`
}

// Import puts records, one JSON object per line, any number of lines. Each line
// is a Put: what it does not name of the write-only fields stays. It yields a
// result for every line that is not blank, in their order, and reads on as the
// results are taken, in batches. Importing the same lines again changes
// nothing.
func (d *Directory) Import(ctx context.Context, r io.Reader) iter.Seq[ImportResult] {
	return d.imports(ctx, r, false)
}

// CheckImport yields what Import would, and changes nothing. Each line is
// compared with what is stored, not with the lines before it: the second line
// of a name that is new is `created`, too.
func (d *Directory) CheckImport(ctx context.Context, r io.Reader) iter.Seq[ImportResult] {
	return d.imports(ctx, r, true)
}

func (d *Directory) imports(ctx context.Context, r io.Reader, dry bool) iter.Seq[ImportResult] {
	return func(yield func(ImportResult) bool) {
		im := importer{d: d, ctx: ctx, dry: dry, names: make(map[string]bool)}
		lr := plaintext.NewLineReader(r)
		for {
			line, n, err := lr.Next()
			if errors.Is(err, io.EOF) {
				im.flush(yield)
				return
			}
			if err != nil && !errors.Is(err, plaintext.ErrLineTooLong) {
				if im.flush(yield) {
					yield(importFailure(n+1, "", err))
				}
				return
			}
			if err == nil && len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			if !im.add(line, n, err, yield) {
				return
			}
			if ctx.Err() != nil {
				im.flush(yield)
				return
			}
		}
	}
}

// DryRun reads records as Import does and puts none: it yields each with what
// is wrong with it, if anything is. What only a directory knows, such as the
// upstreams and which source keeps an account, is not looked at: CheckImport
// does.
func DryRun(r io.Reader) iter.Seq2[Record, ImportResult] {
	return func(yield func(Record, ImportResult) bool) {
		lr := plaintext.NewLineReader(r)
		for {
			line, n, err := lr.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			broken := err != nil && !errors.Is(err, plaintext.ErrLineTooLong)
			if broken {
				n++
			}
			if err == nil && len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			var rec Record
			if err == nil {
				rec, err = dryRecord(line)
			}
			res := ImportResult{Line: n, Name: rec.Name, Result: "valid"}
			if err != nil {
				name := rec.Name
				if name == "" && !broken {
					name = guessName(line)
				}
				res = importFailure(n, name, err)
			}
			if !yield(rec, res) || broken {
				return
			}
		}
	}
}

func dryRecord(line []byte) (Record, error) {
	rec, err := DecodeRecord(line)
	if err == nil && rec.Name == "" {
		err = &FieldError{Field: "name", Err: errors.New("must not be empty")}
	}
	if err == nil {
		_, err = Compile(rec, "import")
	}
	if err == nil {
		if bad := CheckNewName(rec.Name); bad != nil {
			err = &FieldError{Account: rec.Name, Field: "name", Err: bad}
		}
	}
	return rec, err
}

// importer collects a batch. Two lines of one name are never in the same.
type importer struct {
	d       *Directory
	ctx     context.Context
	dry     bool
	names   map[string]bool
	results []ImportResult // of all lines, those of edits to be filled in
	edits   []Edit
	at      []int // where the edits' results are
	editor  Editor
}

func (im *importer) add(line []byte, n int, err error, yield func(ImportResult) bool) bool {
	e := Edit{Dry: im.dry}
	var ed Editor
	if err == nil {
		// The line's buffer is reused; what is decoded is not in it.
		e.Update, err = putUpdate("", line)
		e.Name = guessName(line)
	}
	if err == nil && e.Name == "" {
		err = &FieldError{Field: "name", Err: errors.New("must not be empty")}
	}
	if err == nil {
		ed, err = im.d.editor(im.ctx, e.Name)
	}
	if err != nil {
		im.results = append(im.results, importFailure(n, e.Name, err))
	} else {
		key := FoldName(e.Name)
		if im.names[key] {
			if !im.flush(yield) {
				return false
			}
		}
		im.names[key] = true
		im.editor = ed
		im.results = append(im.results, ImportResult{Line: n, Name: e.Name})
		im.at = append(im.at, len(im.results)-1)
		im.edits = append(im.edits, im.d.checked(e))
	}
	if len(im.results) >= importBatch {
		return im.flush(yield)
	}
	return true
}

// flush makes the changes of the batch and yields its results.
func (im *importer) flush(yield func(ImportResult) bool) bool {
	if len(im.edits) > 0 {
		for i, c := range im.editor.Edit(im.ctx, im.edits) {
			r := &im.results[im.at[i]]
			switch {
			case c.Err != nil:
				*r = importFailure(r.Line, r.Name, c.Err)
			case c.Created:
				r.Result = "created"
			case c.Changed:
				r.Result = "updated"
			default:
				r.Result = "unchanged"
			}
		}
	}
	results := im.results
	im.results, im.edits, im.at = nil, nil, nil
	clear(im.names)
	for _, r := range results {
		if !yield(r) {
			return false
		}
	}
	return true
}

func importFailure(line int, name string, err error) ImportResult {
	r := ImportResult{Line: line, Name: name, Result: "error", Error: err.Error(), Err: err}
	if fe, ok := errors.AsType[*FieldError](err); ok {
		r.Field, r.Error = fe.Field, fe.Err.Error()
		if r.Name == "" {
			r.Name = fe.Account
		}
	}
	return r
}

// ImportResults reads results that were written as JSON, until they end or
// reading fails.
func ImportResults(r io.Reader) iter.Seq2[ImportResult, error] {
	return func(yield func(ImportResult, error) bool) {
		dec := json.NewDecoder(r)
		for {
			var res ImportResult
			err := dec.Decode(&res)
			if errors.Is(err, io.EOF) {
				return
			}
			if res.Result == "error" {
				res.Err = errors.New(res.Error)
			}
			if !yield(res, err) || err != nil {
				return
			}
		}
	}
}
