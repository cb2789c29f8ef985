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

// Package nodes measures three nodes on one PostgreSQL beside one with files, through
// SMTP: processes of the real binary with limits postgres and storage postgres, a
// server with a synchronous standby, and the load and the sink of bench. It is a test,
// for the server's sake, and reports times; it fails only if a message was lost,
// duplicated or damaged.
//
//	MAILGATEWAY_NODES=30s go test -count=1 -v -timeout 30m -run TestThroughSMTP ./bench/nodes
//
// The variable is the length of a window; MAILGATEWAY_NODES_MAILBOXES and
// MAILGATEWAY_NODES_RATE (messages a second) make it smaller than 10,000 and 833.
// Without the variable the parts are tested alone.
//
// Reading order: nodes_test.go (what is measured), part_test.go (processes),
// config_test.go (of a gateway).
package nodes
