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

package operate

import (
	"errors"
	"fmt"

	"github.com/caddymail/mailgateway/spool"
)

// Leftovers is what is left in spools that are being drained.
type Leftovers struct {
	messages, held int
	unready        error
}

// LeftInSpools returns what is left in the spools of one upstream, or of all.
func LeftInSpools(spools []spool.Status, upstream string) (l Leftovers) {
	for i := range spools {
		s := &spools[i]
		if upstream != "" && s.Upstream != upstream {
			continue
		}
		l.messages += s.Messages + s.Keeping
		l.held += s.Held
		switch {
		case s.Error != "":
			l.unready = fmt.Errorf("spool '%s': %s", s.Upstream, s.Error)
		case !s.Ready:
			l.unready = fmt.Errorf("spool '%s': another process has the directory", s.Upstream)
		}
	}
	return l
}

// Done reports whether waiting changes nothing any more; the error is why the
// spools are not empty.
func (l Leftovers) Done() (done bool, err error) {
	switch {
	case l.unready != nil:
		return true, l.unready
	case l.messages > l.held:
		return false, nil
	case l.held > 0:
		return true, errors.New(l.String() + ": `smtp spool list --state held` shows why, `release` and `delete` end it")
	}
	return true, nil
}

// String says what is left.
func (l Leftovers) String() string {
	count := func(n int, what string) string {
		if n == 1 {
			return "1 " + what + " is left"
		}
		return fmt.Sprintf("%d %ss are left", n, what)
	}
	switch {
	case l.messages == 0:
		return "nothing is left"
	case l.messages == l.held:
		return count(l.held, "held message")
	case l.held > 0:
		return fmt.Sprintf("%s, %d of them held", count(l.messages, "message"), l.held)
	}
	return count(l.messages, "message")
}
