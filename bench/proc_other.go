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

package main

import (
	"os/exec"
	"runtime"
)

// Elsewhere children end with their standard input, and CPU and memory are
// not measured.

func dieWithParent(*exec.Cmd)             {}
func raiseFileLimit() uint64              { return 0 }
func processCPU(int) float64              { return 0 }
func treeCPU(int) float64                 { return 0 }
func ownCPU() float64                     { return 0 }
func processMemory(int) (now, peak int64) { return 0, 0 }
func cpuModel() string                    { return runtime.GOARCH }
func loadAverage() string                 { return "unknown" }
func kernel() string                      { return runtime.GOOS }
