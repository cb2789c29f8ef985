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

package usage

import (
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// FindAdmin returns the address of the admin API: the one that is given, or the
// configuration's, which may have none.
func FindAdmin(address, config, adapter string) (string, error) {
	var loaded []byte
	if address == "" && config != "" {
		var err error
		if loaded, _, _, err = caddycmd.LoadConfig(config, adapter); err != nil {
			return "", err
		}
		var file struct {
			Admin caddy.AdminConfig `json:"admin"`
		}
		if json.Unmarshal(loaded, &file) == nil && file.Admin.Disabled {
			return "", fmt.Errorf("%s has `admin off`: this command needs Caddy's admin API; `admin unix//run/mailgateway/admin.sock` is one for this machine's users who may open that file", config)
		}
	}
	address, err := caddycmd.DetermineAdminAPIAddress(address, loaded, config, adapter)
	if err != nil {
		return "", err
	}
	return Admin(address)
}
