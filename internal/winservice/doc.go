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

// Package winservice makes the gateway a service of Windows: it registers it,
// gives it folders that only it and administrators get into, and has its errors
// appear in the event log. Caddy itself answers the service manager while it
// runs.
//
// Install, Uninstall and Look are the logic, the same on every system, over the
// interface System, which only Windows has (system_windows.go). Follow carries
// errors from the log file to the event log. The package stdio has standard
// error be that file. It may be imported by the commands and by the program;
// nothing of it is part of a configuration, so a reload does not concern it.
package winservice
