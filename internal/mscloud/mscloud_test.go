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

package mscloud

import (
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	for name, graph := range map[string]string{
		"": "https://graph.microsoft.com", "public": "https://graph.microsoft.com", "global": "https://graph.microsoft.com",
		"usgov": "https://graph.microsoft.us", "us_gov": "https://graph.microsoft.us",
		"usdod": "https://dod-graph.microsoft.us", "us_dod": "https://dod-graph.microsoft.us",
		"china": "https://microsoftgraph.chinacloudapi.cn",
	} {
		if c, err := Find(name); err != nil || c.Graph != graph {
			t.Errorf("%q: %+v, %v", name, c, err)
		}
	}
	for name, hint := range map[string]string{
		"usgv": "usgov", "us-gov": "usgov", "gcc-high": "usgov", "GCC High": "usgov", "gcc": "public", "DoD": "usdod", "21Vianet": "china", "chian": "china", "mars": "",
	} {
		_, err := Find(name)
		if err == nil || strings.Contains(err.Error(), "did you mean") != (hint != "") || !strings.Contains(err.Error(), hint) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each host of a cloud lies in that cloud: a token of one is nothing in another.
func TestClouds(t *testing.T) {
	ends := map[string]string{
		"public": ".com", "usgov": ".us", "usdod": ".us", "china": ".cn",
	}
	for _, c := range clouds {
		for _, u := range []string{c.Login, c.Outlook, c.AppOutlook, c.Graph} {
			if !strings.HasPrefix(u, "https://") || !strings.HasSuffix(u, ends[c.Name]) {
				t.Errorf("%s: %s", c.Name, u)
			}
		}
	}
}
