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

package messagelog

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestReloadMovesLogs holds that the log's own lines go where the configuration in
// force has its logs, the one before again when the next one failed.
func TestReloadMovesLogs(t *testing.T) {
	dir := t.TempDir()
	attach := func() (*Log, func(), *observer.ObservedLogs) {
		core, logs := observer.New(zapcore.WarnLevel)
		c := &Config{Directory: dir}
		if err := c.Provision(); err != nil {
			t.Fatal(err)
		}
		l, detach := Attach(c, zap.New(core))
		return l, detach, logs
	}
	l, end, first := attach()
	_, back, second := attach()
	l.logger.Warn("1")
	back()
	l.logger.Warn("2")
	end()
	if first.FilterMessage("1").Len() != 0 || second.FilterMessage("1").Len() != 1 || first.FilterMessage("2").Len() != 1 || second.FilterMessage("2").Len() != 0 {
		t.Errorf("first %v, second %v", first.All(), second.All())
	}
}
