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

package loggers

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestCurrent holds that a line goes to the logger that is in use when it is written,
// with that one's name and level, also by a logger that was made before.
func TestCurrent(t *testing.T) {
	var c Current
	l := c.Logger().With(zap.String("dir", "d")).Named("spool")
	l.Error("before any")
	first, firstLogs := observer.New(zapcore.InfoLevel)
	c.Use(zap.New(first).Named("one"))
	l.Info("1", zap.Int("n", 1))
	second, secondLogs := observer.New(zapcore.WarnLevel)
	c.Use(zap.New(second).Named("two"))
	l.Info("too low")
	if ce := l.Check(zapcore.InfoLevel, "too low"); ce != nil {
		t.Error("the level is another generation's")
	}
	l.Warn("2", zap.Int("n", 2))
	for name, logs := range map[string]*observer.ObservedLogs{"one": firstLogs, "two": secondLogs} {
		all := logs.All()
		if len(all) != 1 || all[0].LoggerName != name+".spool" || all[0].ContextMap()["dir"] != "d" || all[0].ContextMap()["n"] == nil {
			t.Errorf("%s: %+v", name, all)
		}
	}
}
