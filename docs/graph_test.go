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

package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestApplicationScript holds that the script that lets an application send from some
// mailboxes can be run as it stands: each of its steps is there, in the order that they
// need, and no variable is used before it has a value.
func TestApplicationScript(t *testing.T) {
	page, err := os.ReadFile("transports.md")
	if err != nil {
		t.Fatal(err)
	}
	_, script, _ := strings.Cut(string(page), "```powershell\n")
	script, _, _ = strings.Cut(script, "```")
	rest := script
	for _, step := range []string{
		"Connect-ExchangeOnline", "New-ServicePrincipal -AppId $AppId -ObjectId $EnterpriseAppObjectId", "New-ManagementScope -Name Mailgateway -RecipientRestrictionFilter",
		`New-ManagementRoleAssignment -App $AppId -Role "Application Mail.Send" -CustomResourceScope Mailgateway`,
		`New-ManagementRoleAssignment -App $AppId -Role "Application SMTP.SendAsApp" -CustomResourceScope Mailgateway`,
		"Set-Mailbox -Identity alerts@example.com -CustomAttribute1 mailgateway", "Test-ServicePrincipalAuthorization -Identity $AppId -Resource alerts@example.com",
	} {
		_, after, ok := strings.Cut(rest, step)
		if !ok {
			t.Fatalf("no step `%s` behind the ones before it, in\n%s", step, script)
		}
		rest = after
	}
	set := make(map[string]bool)
	for line := range strings.Lines(script) {
		name, _, assigns := strings.Cut(line, " = ")
		for _, v := range regexp.MustCompile(`\$\w+`).FindAllString(line, -1) {
			if assigns && v == name {
				set[v] = true
			} else if !set[v] {
				t.Errorf("%s has no value yet: %s", v, line)
			}
		}
	}
}
