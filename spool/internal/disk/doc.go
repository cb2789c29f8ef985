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

// Package disk is the seam between the spool and the operating system's files:
// all that the spool writes goes through it, so that tests can put file systems
// in its place that forget what was not synced, are full, or kill the process.
//
// It knows nothing of messages. Nothing of it outlives a call but the lock of a
// directory, which the caller closes. It imports internal/filelock alone.
package disk
