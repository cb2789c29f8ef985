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

package migrate

import "strings"

// iniSection is a section of a file as Python's configparser reads it.
type iniSection struct {
	name   string
	line   int
	values map[string]string // by option in lower case
	order  []string
	bad    int // the first line that is neither option nor continuation
}

// maxINIValue bounds a value that goes on over many lines; the rest is dropped.
const maxINIValue = 8 << 10

// parseINI reads sections, options with = or :, values that go on in indented
// lines, and comments that are lines of their own. What stands before the first
// section is skipped.
func parseINI(text string) []*iniSection {
	var sections []*iniSection
	var current *iniSection
	option := ""
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\r\n")
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';' {
			continue
		}
		indented := line[0] == ' ' || line[0] == '\t'
		if indented && current != nil && option != "" {
			if len(current.values[option]) < maxINIValue {
				current.values[option] += "\n" + trimmed
			}
			continue
		}
		if trimmed[0] == '[' {
			// A name may hold brackets; it ends at the last one.
			if end := strings.LastIndexByte(trimmed, ']'); end > 0 {
				current = &iniSection{name: strings.TrimSpace(trimmed[1:end]), line: n, values: make(map[string]string)}
				sections = append(sections, current)
				option = ""
				continue
			}
		}
		if current == nil {
			continue
		}
		i := strings.IndexAny(trimmed, "=:")
		if i <= 0 {
			if current.bad == 0 {
				current.bad = n
			}
			option = ""
			continue
		}
		option = strings.ToLower(strings.TrimSpace(trimmed[:i]))
		if _, dup := current.values[option]; !dup {
			current.order = append(current.order, option)
		}
		current.values[option] = strings.TrimSpace(trimmed[i+1:])
	}
	return withDefaults(sections)
}

// withDefaults gives each section what the section DEFAULT says of all.
func withDefaults(sections []*iniSection) []*iniSection {
	for _, d := range sections {
		if d.name != "DEFAULT" {
			continue
		}
		for _, s := range sections {
			for _, option := range d.order {
				if _, own := s.values[option]; !own {
					s.values[option] = d.values[option]
					s.order = append(s.order, option)
				}
			}
		}
	}
	return sections
}
