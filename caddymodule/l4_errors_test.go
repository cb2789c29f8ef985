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

package caddymodule

import (
	"fmt"
	"testing"
)

func TestL4HandlerErrors(t *testing.T) {
	const route = `{"apps": {%s"layer4": {"servers": {"a": {"listen": ["127.0.0.1:0"], "routes": [{"handle": [{"handler": "smtp"%s}]}]}}}}}`
	for _, tc := range []struct{ apps, handler, want string }{
		{"", ``, "server: the name of a server of the smtp app is missing"},
		{"", `, "server": "x"`, "server 'x': getting the smtp app"},
		{`"smtp": {}, `, `, "server": "x"`, "server 'x': the smtp app has no server of this name"},
		{`"smtp": {}, `, `, "sever": "x"`, `sever: unknown field`},
	} {
		_, err := provision(t, fmt.Sprintf(route, tc.apps, tc.handler))
		wantError(t, err, tc.want)
	}
}
