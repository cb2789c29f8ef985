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

//go:build !linux

package system

import (
	"os/exec"
	"runtime"
)

// Elsewhere children end with their standard input, and CPU and memory are
// not measured.

func DieWithParent(*exec.Cmd)             {}
func RaiseFileLimit() uint64              { return 0 }
func ProcessCPU(int) float64              { return 0 }
func TreeCPU(int) float64                 { return 0 }
func OwnCPU() float64                     { return 0 }
func ProcessMemory(int) (now, peak int64) { return 0, 0 }
func CPUModel() string                    { return runtime.GOARCH }
func LoadAverage() string                 { return "unknown" }
func Kernel() string                      { return runtime.GOOS }
