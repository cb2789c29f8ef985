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

// Package messagelog answers "where is my message": it keeps the last
// transactions on disk, within bounds, and finds them again.
//
// What is kept is what the access log says of a message, with its recipients and
// the replies that they met; never a byte of the message. It is opt-in, since
// addresses are personal data: the option `messages` of the app `smtp`.
//
// # Reading order
//
// entry.go (what is known of a transaction), queueid.go (the provider's own name
// for a message), config.go (the option), log.go (the queue and its writer),
// store.go and segment.go (the directory), record.go (one line of a segment),
// hash.go (recipients by a keyed hash), search.go.
//
// # On disk
//
// A directory belongs to one process at a time. Its files are segments of lines,
// each with a checksum in front, written at the end and removed as a whole, the
// oldest first: the bounds hold to a sixteenth. What a killed process left
// half-written at the end of a segment is cut off; a line that is damaged is
// passed over; a file that is not a segment is named in the log and left alone.
//
// # A message's way
//
// Add takes a lock for some instructions and never waits. One goroutine for each
// directory encodes, writes and removes. When it cannot keep up, or the disk
// refuses, entries are dropped and counted: mail goes on.
//
// # Locks and reloads
//
// Lock order: logsMu, the stack of a Log, Log.mu; store.mu is taken alone. A Log
// outlives configurations: those that name the same directory share it, and the
// last one's bounds are in force. It may import internal/filelock and
// internal/generation, and nothing else of ours.
package messagelog
