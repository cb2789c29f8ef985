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
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrBack is the wish to answer the question before once more.
var ErrBack = errors.New("back")

// Ask puts the question until it is answered. read returns the next line.
func (q *Question) Ask(a *Answers, say func(string, ...any), read func() (string, error)) error {
	if q.Help != "" {
		say("\n%s\n", q.Help)
	}
	for {
		say("%s", q.Text)
		if q.Choices != nil {
			say(" (%s)", numbered(q.Choices))
		}
		if q.Default != "" {
			say(" [%s]", q.Default)
		}
		say(": ")
		line, err := read()
		if err != nil && (!errors.Is(err, io.EOF) || line == "") {
			return errors.New("interrupted: run it again to go on")
		}
		if strings.EqualFold(strings.TrimSpace(line), "back") {
			return ErrBack
		}
		err = q.Set(a, line)
		if err == nil {
			return nil
		}
		say("%v (\"back\" goes to the question before)\n", err)
	}
}

// numbered are choices with the numbers that may be typed for them.
func numbered(choices []string) string {
	list := make([]string, len(choices))
	for i, c := range choices {
		list[i] = fmt.Sprintf("%d %s", i+1, c)
	}
	return strings.Join(list, ", ")
}

// Back takes the last answer back, and returns the questions that are left.
func Back(asked []Question, a *Answers, say func(string, ...any)) []Question {
	if len(asked) == 0 {
		say("This is the first question.\n")
		return asked
	}
	last := len(asked) - 1
	asked[last].Clear(a)
	return asked[:last]
}
