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
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/generation"
	"github.com/caddymail/mailgateway/internal/invoked"
)

// filePoll is how often a file is looked at. It is read when it has changed
// and then been left alone for one turn, so that a file that is being written
// is not read half.
const filePoll = 500 * time.Millisecond

// mtimeGrain is more than the granularity of modification times.
const mtimeGrain = 100 * time.Millisecond

// fileState is an accounts file with its accounts, shared by all
// configurations that name it.
type fileState struct {
	path  string
	index Index

	mu     sync.Mutex // of loading
	stamp  fileStamp  // of what is loaded
	parsed *parsedFile
	bad    error // what is wrong with the content of stamp as a whole
	failed error // how the last load ended
	told   error // the bad that an operator was told of

	users generation.Stack[*FileSource] // those that watch; guards the two
	quit  chan struct{}
	done  chan struct{}

	logger *zap.Logger // under mu
}

// fileStamp tells one content of a file from another without reading it.
type fileStamp struct {
	info fs.FileInfo
}

func (s fileStamp) same(t fileStamp) bool {
	if s.info == nil || t.info == nil {
		return s.info == nil && t.info == nil
	}
	return s.info.Size() == t.info.Size() &&
		s.info.ModTime().Equal(t.info.ModTime()) &&
		os.SameFile(s.info, t.info)
}

func newFileState(path string, logger *zap.Logger) *fileState {
	return &fileState{path: path, logger: logger}
}

// load reads the file if it has changed. On failure everything stays.
func (f *fileState) load() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = f.loadLocked(false)
	return f.failed
}

// confirm is load at an operator's word: accounts that the file has lost are
// let go, if the operator was told of them before.
func (f *fileState) confirm() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = f.loadLocked(true)
	if f.failed != nil {
		f.told = f.failed
	}
	return f.failed
}

// lossError is a file that holds too few of the accounts that are known. A
// full disk makes such a file, and so does an editor that was killed.
type lossError struct {
	path      string
	was, left int
}

func (e *lossError) Error() string {
	what := fmt.Sprintf("holds %d of %d accounts", e.left, e.was)
	if e.left == 0 {
		what = fmt.Sprintf("holds none of %d accounts", e.was)
	}
	return e.path + ": " + what + invoked.Words("; the accounts stay as they were until that is confirmed: if it is meant, run `caddy reload --force`")
}

func (f *fileState) loadLocked(confirmed bool) error {
	// A named pipe would keep whoever opens it until another writes to it.
	if info, err := os.Stat(f.path); err != nil {
		return err
	} else if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file", f.path)
	}
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	stamp := fileStamp{info}
	_, lost := errors.AsType[*lossError](f.bad)
	confirmed = confirmed && lost && f.told == f.bad && stamp.same(f.stamp) //nolint:errorlint // the very one
	if f.parsed != nil && stamp.same(f.stamp) && !confirmed {
		return f.bad
	}
	p, err := parseLines(file, "file "+f.path, f.path, f.parsed, &f.index)
	if err != nil {
		return fmt.Errorf("reading %s: %w", f.path, err)
	}
	if f.parsed != nil && f.index.Len() > 0 && len(p.lines) == 0 && len(p.problems) > 0 {
		// Whatever this is, it is no accounts file.
		f.stamp, f.bad = stamp, fmt.Errorf("no usable line: %w", ProblemError{p.problems[0]})
		return f.bad
	}
	if was, left := f.index.Len(), len(p.accounts); f.parsed != nil && left < was && (left == 0 || left*2 < was) && !confirmed {
		f.stamp, f.bad = stamp, &lossError{f.path, was, left}
		return f.bad
	}
	if len(p.missing) > 0 && !confirmed {
		p.problems[len(p.problems)-1].Kept = true
		p.accounts = append(p.accounts, p.missing...)
	}
	f.stamp = stamp
	switch {
	case f.parsed == nil || !slices.Equal(f.parsed.accounts, p.accounts):
		f.index.Replace(p.accounts)
		f.report(p)
	case !slices.Equal(f.parsed.problems, p.problems):
		f.report(p)
	}
	f.parsed, f.bad = p, nil
	if time.Since(info.ModTime()) < mtimeGrain {
		// Another change may still get the same time: look once more.
		f.stamp = fileStamp{}
	}
	return nil
}

// report logs what is bad, but not for each of ten thousand lines.
func (f *fileState) report(p *parsedFile) {
	const most = 10
	for i, pr := range p.problems {
		if i == most {
			f.logger.Error("more bad accounts", zap.String("file", f.path), zap.Int("count", len(p.problems)-most))
			break
		}
		f.logger.Error("bad account", zap.String("file", pr.File), zap.Int("line", pr.Line),
			zap.String("account", pr.Account), zap.String("field", pr.Field),
			zap.String("problem", pr.Message), zap.Bool("kept", pr.Kept))
	}
	if mode := f.stamp.info; mode != nil && mode.Mode().Perm()&0o004 != 0 && runtime.GOOS != "windows" &&
		slices.ContainsFunc(p.accounts, func(a *Account) bool { return a.RefreshToken != "" || a.Secret != "" }) {
		f.logger.Warn("everybody on this host can read the secrets in the accounts file, take away its permission", zap.String("file", f.path))
	}
	f.logger.Info("accounts loaded", zap.String("file", f.path),
		zap.Int("accounts", len(p.accounts)), zap.Int("problems", len(p.problems)))
}

func (f *fileState) problems() []Problem {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []Problem
	if f.failed != nil {
		list = append(list, fileProblem(f.path, f.failed))
	}
	if f.parsed != nil {
		list = append(list, f.parsed.problems...)
		if len(f.parsed.accounts) == 0 && len(list) == 0 {
			list = append(list, fileProblem(f.path, errors.New("the file holds no account")))
		}
	}
	return list
}

func fileProblem(path string, err error) Problem {
	if pe, ok := errors.AsType[ProblemError](err); ok {
		p := pe.Problem
		p.Message = "no usable line, the accounts stay as they were: " + p.Message
		return p
	}
	return Problem{Source: "file " + path, File: path, Message: err.Error()}
}

func (f *fileState) start(u *FileSource) {
	f.users.Attach(u, func(first bool) {
		f.setLogger(u.logger)
		if first {
			f.quit, f.done = make(chan struct{}), make(chan struct{})
			go f.watch(f.quit, f.done)
		}
	})
}

// stop gives a failed configuration's place back to the one before it.
func (f *fileState) stop(u *FileSource) {
	f.users.Detach(u, func(now *FileSource, last bool) {
		if !last {
			f.setLogger(now.logger)
			return
		}
		close(f.quit)
		<-f.done
	})
}

func (f *fileState) setLogger(l *zap.Logger) {
	f.mu.Lock()
	f.logger = l
	f.mu.Unlock()
}

func (f *fileState) watch(quit <-chan struct{}, done chan<- struct{}) {
	defer close(done)
	ticker := time.NewTicker(filePoll)
	defer ticker.Stop()
	var seen fileStamp
	var seenErr, told string
	for {
		select {
		case <-quit:
			return
		case <-ticker.C:
		}
		info, err := os.Stat(f.path)
		now, nowErr := fileStamp{info}, ""
		if err != nil {
			now, nowErr = fileStamp{}, err.Error()
		}
		settled := now.same(seen) && nowErr == seenErr
		seen, seenErr = now, nowErr
		if !settled || f.current(now) {
			continue
		}
		msg := ""
		if err := f.load(); err != nil {
			msg = err.Error()
		}
		if msg != "" && msg != told {
			f.log().Error("accounts file not loaded, the accounts stay as they were",
				zap.String("file", f.path), zap.String("error", msg))
			f.mu.Lock()
			f.told = f.failed
			f.mu.Unlock()
		}
		told = msg // each thing once
	}
}

// current reports whether there is nothing to load.
func (f *fileState) current(now fileStamp) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.parsed != nil && now.info != nil && now.same(f.stamp) && f.failed == f.bad
}

func (f *fileState) log() *zap.Logger {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.logger
}

// Destruct implements caddy.Destructor.
func (*fileState) Destruct() error { return nil }
