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

package limits

import (
	"errors"
	"strconv"
	"time"
)

// QuotaError says that a limit is used up, and until when.
type QuotaError struct {
	// What is the limit: `Message rate`, `Message quota` or `Recipient quota`.
	What string
	// Wait is how long the next slot takes.
	Wait time.Duration
}

func (e *QuotaError) Error() string {
	return e.What + " used up, next slot in " + strconv.FormatInt(int64(e.Wait/time.Second), 10) + " s"
}

var (
	// ErrBusy says that all of the account's connections stayed in use.
	ErrBusy = errors.New("all connections stayed in use")
	// ErrQueueFull says that too many messages wait already.
	ErrQueueFull = errors.New("too many messages wait")
	// ErrNotStored says that a limit that must outlive the process can't be
	// stored, or that what is stored is not known yet: no slot is lent.
	ErrNotStored = errors.New("limits cannot be stored")
	// ErrClosed says that the ledger's last user is gone.
	ErrClosed = errors.New("the ledger is closed")
)
