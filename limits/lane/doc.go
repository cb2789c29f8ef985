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

// Package lane keeps apart the processes that store into one directory.
//
// Each process has a lane, a number, and writes the files of that number only;
// what it must not overlook, the files of the others, it reads under a lock that
// all of them take. Who finds that a lane's process has ended takes over what it
// left.
//
// # Reading order
//
// lane.go (what a lane is), flock_unix.go (files: the system knows who lives),
// beat.go (storages that don't notice the end of a process: each shows signs of
// life, and the others wait for the next one by their own clocks).
//
// # Locks
//
// beatLanes.mu is a leaf, held while a sign of life is stored. A lock of a shard
// is the caller's to give back.
//
// # What outlives a reload
//
// A lane belongs to a limiter, which outlives reloads. The names of the files and
// the format of a sign of life are read by all versions.
//
// # Imports
//
// internal/filelock.
package lane
