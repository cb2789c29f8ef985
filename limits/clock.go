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

package limits

import "time"

// epoch is the zero of the clock. Its wall time makes readings comparable
// across restarts; its monotonic reading keeps steps of the system clock from
// freeing or blocking slots.
var epoch = time.Now()

// Now returns nanoseconds since 1970 on a scale that never jumps.
func Now() int64 { return epoch.UnixNano() + int64(time.Since(epoch)) }
