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

// Package mscloud says where Microsoft's national clouds are, for the login, SMTP
// and Graph alike.
package mscloud

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddymail/mailgateway/internal/nearest"
)

// Cloud is where the endpoints of one cloud are.
type Cloud struct {
	Name string
	// Login is the base URL of Entra.
	Login string
	// Outlook and AppOutlook are the resources of SMTP, of a user and of an
	// application.
	Outlook, AppOutlook string
	// Graph is the base URL of Graph, and its resource.
	Graph string
}

// Public is the cloud of those who have not chosen one, GCC among them.
const Public = "public"

// https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
// and https://learn.microsoft.com/graph/deployments
var clouds = []Cloud{
	{Public, "https://login.microsoftonline.com", "https://outlook.office.com", "https://outlook.office365.com", "https://graph.microsoft.com"},
	{"usgov", "https://login.microsoftonline.us", "https://outlook.office365.us", "https://outlook.office365.us", "https://graph.microsoft.us"},
	{"usdod", "https://login.microsoftonline.us", "https://outlook.office365.us", "https://outlook.office365.us", "https://dod-graph.microsoft.us"},
	{"china", "https://login.partner.microsoftonline.cn", "https://partner.outlook.cn", "https://partner.outlook.cn", "https://microsoftgraph.chinacloudapi.cn"},
}

// earlier are names that the transport graph had for them.
var earlier = map[string]string{"global": Public, "us_gov": "usgov", "us_dod": "usdod"}

// others are words for them that are no names here: a hint is enough, lest one
// cloud stands in configurations under five names.
var others = map[string]string{
	"gcc": Public, "worldwide": Public, "commercial": Public, "gcc_high": "usgov", "gcchigh": "usgov", "l4": "usgov",
	"dod": "usdod", "l5": "usdod", "21vianet": "china", "vianet": "china", "gallatin": "china", "cn": "china", "us": "usgov", "government": "usgov",
}

// Find returns the cloud of a name; the public one without a name.
func Find(name string) (Cloud, error) {
	if name == "" {
		name = Public
	}
	if now, ok := earlier[name]; ok {
		name = now
	}
	names := make([]string, len(clouds))
	for i, c := range clouds {
		if c.Name == name {
			return c, nil
		}
		names[i] = c.Name
	}
	hint := nearest.Hint(name, slices.Concat(names, []string{"global", "us_gov", "us_dod"}))
	if other, ok := others[strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToLower(name))]; ok {
		hint = "; did you mean '" + other + "'?"
	}
	return Cloud{}, fmt.Errorf("unrecognized cloud '%s', want public (GCC too), usgov (GCC High), usdod or china (21Vianet)%s", name, hint)
}
