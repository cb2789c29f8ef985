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

package lint

import (
	"encoding/xml"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// element is a part of a property list.
type element struct {
	XMLName  xml.Name
	Text     string    `xml:",chardata"`
	Children []element `xml:",any"`
}

// keys are the entries of a dict, by name.
func (e element) keys(t *testing.T) map[string]element {
	t.Helper()
	if e.XMLName.Local != "dict" || len(e.Children)%2 != 0 {
		t.Fatalf("<%s> with %d elements is no dict", e.XMLName.Local, len(e.Children))
	}
	entries := make(map[string]element)
	for pair := range slices.Chunk(e.Children, 2) {
		if pair[0].XMLName.Local != "key" {
			t.Fatalf("<%s> in place of a key", pair[0].XMLName.Local)
		}
		if _, twice := entries[pair[0].Text]; twice {
			t.Errorf("key %q twice", pair[0].Text)
		}
		entries[pair[0].Text] = pair[1]
	}
	return entries
}

// TestLaunchd holds that the file is a property list of the types that
// launchd.plist(5) gives its keys, that a stop leaves time to drain, and that
// docs/install.md makes each path and user that it names.
func TestLaunchd(t *testing.T) {
	var plist element
	if err := xml.Unmarshal([]byte(read(t, dist+"/launchd.plist")), &plist); err != nil {
		t.Fatal(err)
	}
	if plist.XMLName.Local != "plist" || len(plist.Children) != 1 {
		t.Fatalf("<%s> with %d elements is no property list", plist.XMLName.Local, len(plist.Children))
	}
	job := plist.Children[0].keys(t)
	types := map[string]string{
		"Label": "string", "ProgramArguments": "array", "EnvironmentVariables": "dict", "UserName": "string", "GroupName": "string",
		"Umask": "integer", "WorkingDirectory": "string", "StandardErrorPath": "string", "RunAtLoad": "true", "KeepAlive": "true",
		"ThrottleInterval": "integer", "ExitTimeOut": "integer", "SoftResourceLimits": "dict", "HardResourceLimits": "dict",
	}
	for key, value := range job {
		if types[key] != value.XMLName.Local {
			t.Errorf("%s is <%s>, want <%s>", key, value.XMLName.Local, types[key])
		}
	}
	if len(job) != len(types) {
		t.Errorf("%d keys, want %d", len(job), len(types))
	}
	if seconds, err := strconv.Atoi(job["ExitTimeOut"].Text); err != nil || time.Duration(seconds)*time.Second <= drainTimeout(t) {
		t.Errorf("ExitTimeOut %s, and drain_timeout is %s", job["ExitTimeOut"].Text, drainTimeout(t))
	}
	// launchd takes the umask in decimal.
	if mask, err := strconv.Atoi(job["Umask"].Text); err != nil || mask != 0o077 {
		t.Errorf("Umask %s", job["Umask"].Text)
	}

	page := read(t, root+"/docs/install.md")
	named := []string{job["UserName"].Text, job["GroupName"].Text, job["Label"].Text, job["WorkingDirectory"].Text, job["StandardErrorPath"].Text}
	for _, argument := range job["ProgramArguments"].Children {
		named = append(named, argument.Text)
	}
	for _, variable := range job["EnvironmentVariables"].keys(t) {
		named = append(named, variable.Text)
	}
	for _, name := range named {
		if !strings.Contains(page, name) {
			t.Errorf("docs/install.md does not say where %s comes from", name)
		}
	}
}
