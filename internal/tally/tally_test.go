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

package tally

import (
	"testing"
	"testing/synctest"
)

// TestCount holds that a wait ends when there is none, though more began during it.
func TestCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Count
		c.Wait() // there is none yet
		c.Begin()
		ended := false
		go func() {
			c.Wait()
			ended = true
		}()
		synctest.Wait()
		c.Begin()
		c.End()
		synctest.Wait()
		if ended {
			t.Fatal("the wait ended while there is one")
		}
		c.End()
		synctest.Wait()
		if !ended {
			t.Fatal("the wait goes on without one")
		}
	})
}
