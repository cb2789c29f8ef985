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

//go:build !windows

package winservice

import (
	"fmt"
	"runtime"
)

// Open is for systems whose services are managed otherwise.
func Open() (System, error) {
	return nil, fmt.Errorf("smtp service is for Windows; on %s a package or docs/install.md has the service's file", runtime.GOOS)
}

// ReportErrors is for Windows: other systems keep what a service writes.
func ReportErrors() {}
