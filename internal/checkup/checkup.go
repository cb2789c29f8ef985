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

// Package checkup is what a part of the gateway says of itself when the whole is
// looked at: by `caddy smtp doctor`, and by the watch that notifies people.
// Whatever has something to say implements Examiner; nothing has to register.
package checkup

import "context"

// State is how a thing stands.
type State string

// The states of what was looked at.
const (
	// OK is as it should be.
	OK State = "ok"
	// Warning works, and will not for ever.
	Warning State = "warning"
	// Wrong does not work.
	Wrong State = "wrong"
	// Unknown could not be looked at; that is nobody's fault yet.
	Unknown State = "unknown"
)

// Finding is what was seen of one thing. It holds no secret.
type Finding struct {
	// Check says what was looked at: `listener`, `certificate`, `upstream`.
	Check string `json:"check"`
	// Subject is which of them; with Check and Account it is the same from
	// one look to the next.
	Subject string `json:"subject,omitempty"`
	// Account is whose trouble it is, if it is only one account's.
	Account string `json:"account,omitempty"`
	State   State  `json:"state"`
	// Said is what was seen.
	Said string `json:"said,omitempty"`
	// Cause and Remedy are there unless all is well.
	Cause  string `json:"cause,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// Trouble reports whether a person should hear of it.
func (f Finding) Trouble() bool { return f.State == Warning || f.State == Wrong }

// Key is the same for what is the same thing at two times.
func (f Finding) Key() string { return f.Check + "\x00" + f.Subject + "\x00" + f.Account }

// Examiner is an optional interface of an upstream's transport and of Caddy's
// storage module.
type Examiner interface {
	// Examine looks at itself. It changes nothing, and asks no server over the
	// network but the one that it lives from.
	Examine(ctx context.Context) []Finding
}
