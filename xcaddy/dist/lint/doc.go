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

// Package lint checks what is shipped around the gateway: the image, the
// compose file, the Helm chart, the Ansible role, the systemd unit and the
// Debian package, with the parsers and linters of those who read them, and with the
// gateway itself. It is a module of its own: its dependencies are not the
// gateway's.
package lint
