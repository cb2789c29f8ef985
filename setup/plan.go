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

package setup

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// Plan is a change of a configuration's file that can be looked at before it is
// made. All that the file has stays.
type Plan struct {
	// File is the Caddyfile, Added the text that its global options get.
	File, Added string
	// Hash is of the file's text that the plan was made from, and of what is added:
	// it names the plan.
	Hash string

	old, text       []byte
	before, adapted []byte
}

var (
	// ErrChanged is about a file that is no longer what the plan was made from.
	ErrChanged = errors.New("the file was changed in the meantime")
	// ErrReadOnly is about a file that this process cannot write.
	ErrReadOnly = errors.New("this process cannot write the file")
)

// Propose looks at a Caddyfile, and at what would become of it with more global
// options. Its error says why it cannot be done here: then the operator does it.
func Propose(file, added string) (*Plan, error) {
	file, err := filepath.EvalSymlinks(file)
	if err != nil {
		return nil, err
	}
	old, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	p := &Plan{File: file, Added: added, old: old, Hash: hashOf(old, []byte(added))}
	if p.text, err = insert(old, added); err != nil {
		return nil, err
	}
	before, err := Adapt(old, file)
	if errors.Is(err, io.EOF) {
		before, err = []byte("{}"), nil // nothing stands there
	}
	if err != nil {
		return nil, fmt.Errorf("%s as it is: %w", file, err)
	}
	p.before = before
	if p.adapted, err = Adapt(p.text, file); err != nil {
		return nil, fmt.Errorf("with the new lines: %w", err)
	}
	if !within(before, p.adapted) {
		return nil, errors.New("the new lines would change what the file has already")
	}
	if err := writable(file); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	return p, nil
}

// JSON is what the added lines are in a configuration that is no Caddyfile.
func JSON(added string) (string, error) {
	adapted, err := Adapt([]byte("{\n"+added+"}\n"), ConfigName)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = json.Indent(&out, adapted, "", "\t")
	return out.String(), err
}

// Write has the new configuration loaded, then puts it into the file's place; what
// was there lies beside it, with `.before` behind its name. A configuration that
// cannot be loaded leaves file and gateway as they are.
func (p *Plan) Write(load func(adapted []byte) error) error {
	f, err := os.CreateTemp(filepath.Dir(p.File), "."+filepath.Base(p.File)+".*")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	defer os.Remove(f.Name())
	st, err := os.Stat(p.File)
	if err == nil {
		err = f.Chmod(st.Mode().Perm())
	}
	if err == nil {
		_, err = f.Write(p.text)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := p.unchanged(); err != nil {
		return err
	}
	if err := load(p.adapted); err != nil {
		return err
	}
	// The old text is kept under another name first, then looked at there: whoever
	// wrote into it up to now has their lines in that file.
	before := p.File + ".before"
	if err := os.Remove(before); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Link(p.File, before); err != nil {
		if err := os.WriteFile(before, p.old, st.Mode().Perm()); err != nil {
			return err
		}
	}
	if err := p.unchanged(); err != nil {
		return err
	}
	return os.Rename(f.Name(), p.File)
}

// Before is the configuration as the file has it, to go back to.
func (p *Plan) Before() []byte { return p.before }

func (p *Plan) unchanged() error {
	now, err := os.ReadFile(p.File) //nolint:gosec // the operator's own
	if err == nil && !bytes.Equal(now, p.old) {
		err = fmt.Errorf("%s: %w", p.File, ErrChanged)
	}
	return err
}

// Fingerprint tells a file's text from another; empty: it cannot be read.
func Fingerprint(file string) string {
	text, err := os.ReadFile(file) //nolint:gosec // the operator's own
	if err != nil {
		return ""
	}
	return hashOf(text)
}

func hashOf(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:16])
}

// Adapt makes JSON of a Caddyfile's text, which is or would be that of a file.
func Adapt(text []byte, file string) ([]byte, error) {
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": file})
	return adapted, err
}

// writable reports why a file can be neither written nor replaced, as a file
// of root's in a directory of root's.
func writable(file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if f, err = os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*"); err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// within reports whether all of one configuration is in another: every value at
// its place, every element of a list in its order.
func within(old, now []byte) bool {
	var a, b any
	return json.Unmarshal(old, &a) == nil && json.Unmarshal(now, &b) == nil && (a == nil || has(b, a))
}

func has(now, old any) bool {
	switch old := old.(type) {
	case map[string]any:
		m, ok := now.(map[string]any)
		for key, value := range old {
			ok = ok && has(m[key], value)
		}
		return ok
	case []any:
		list, ok := now.([]any)
		for _, value := range old {
			for len(list) > 0 && !has(list[0], value) {
				list = list[1:]
			}
			if !ok || len(list) == 0 {
				return false
			}
			list = list[1:]
		}
		return ok
	}
	return reflect.DeepEqual(now, old)
}

// insert puts lines at the end of a Caddyfile's global options, which it gets if it
// has none.
func insert(text []byte, added string) ([]byte, error) {
	end, err := globalEnd(string(text))
	if err != nil {
		return nil, err
	}
	if end < 0 {
		return []byte("{\n" + added + "}\n\n" + string(text)), nil
	}
	head, tail := string(text[:end]), string(text[end:])
	if at := strings.LastIndexByte(head, '\n'); at >= 0 && strings.TrimSpace(head[at:]) == "" {
		head, tail = head[:at+1], head[at+1:]+tail
	} else {
		head += "\n"
	}
	return []byte(head + added + tail), nil
}

var errUnread = errors.New("the file is written in a way that is not edited here")

// globalEnd is where the brace stands that closes the global options; -1 if there
// are none. It knows words, quotes and comments; whatever else there is, is found
// out by adapting the result.
func globalEnd(text string) (int, error) {
	depth, keys, global := 0, false, false
	for i := 0; i < len(text); {
		switch text[i] {
		case ' ', '\t', '\r', '\n':
			i++
			continue
		case '#':
			n := strings.IndexByte(text[i:], '\n')
			if n < 0 {
				return -1, nil
			}
			i += n
			continue
		}
		begin := i
		var word string
		switch q := text[i]; q {
		case '"', '`':
			for i++; i < len(text) && text[i] != q; i++ {
				if q == '"' && text[i] == '\\' {
					i++
				}
			}
			i++
			word = "quoted"
		default:
			for i < len(text) && !strings.ContainsRune(" \t\r\n", rune(text[i])) {
				i++
			}
			word = text[begin:i]
		}
		switch {
		case i > len(text), strings.HasPrefix(word, "<<"):
			return 0, errUnread
		case word == "{":
			if depth == 0 && !keys {
				global = true
			}
			depth++
		case word == "}":
			if depth--; depth < 0 {
				return 0, errUnread
			}
			if depth == 0 && global {
				return begin, nil
			}
			keys = keys && depth > 0
		case depth == 0:
			keys = true
		}
	}
	if depth != 0 {
		return 0, errUnread
	}
	return -1, nil
}
