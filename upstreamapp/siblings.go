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

package upstreamapp

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddymail/mailgateway/relay"
)

// join gives each transport the siblings that it named, and finds the order in
// which they are attached: what another needs comes first.
func (a *App) join() error {
	a.order = make([]string, 0, len(a.transports))
	done := make(map[string]bool, len(a.transports))
	for _, name := range slices.Sorted(maps.Keys(a.transports)) {
		if err := a.Visit(name, nil, done); err != nil {
			return err
		}
	}
	return nil
}

// visit joins one upstream after those that it needs. The path is that of the
// upstreams that need it.
func (a *App) Visit(name string, path []string, done map[string]bool) error {
	if done[name] {
		return nil
	}
	if i := slices.Index(path, name); i >= 0 {
		return fmt.Errorf("upstream '%s' sends through itself: %s", name, strings.Join(append(path[i:], name), " -> "))
	}
	path = append(path, name)
	if d, ok := a.transports[name].(relay.Dependent); ok {
		siblings := make(map[string]relay.Transport)
		for _, other := range d.DependsOn() {
			t, ok := a.transports[other]
			if !ok {
				return fmt.Errorf("upstream '%s' sends through '%s': %w", name, other, ErrNoUpstream)
			}
			if err := a.Visit(other, path, done); err != nil {
				return err
			}
			siblings[other] = t
		}
		if err := d.Join(siblings); err != nil {
			return fmt.Errorf("upstream '%s': %w", name, err)
		}
	}
	done[name] = true
	a.order = append(a.order, name)
	return nil
}
