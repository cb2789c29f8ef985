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

// Package loggers has loggers for what outlives a configuration: a spool, a node, the
// accounts of a database. The logger that Caddy gives a module writes where that
// module's configuration says, also when another is in force; one from here writes
// where the configuration says that is in force when the line is written.
//
// Process is for what all configurations share, Current for what has generations. It
// imports printable.
package loggers
