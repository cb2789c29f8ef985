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

// Package registry registers metrics that outlive a configuration: each has a registry
// of its own, and Caddy's is the process's where it does not change. It imports nothing
// of ours.
package registry

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Register registers collectors, which may be there already. A registry that is nil
// takes none.
func Register(reg *prometheus.Registry, collectors ...prometheus.Collector) error {
	if reg == nil {
		return nil
	}
	for _, c := range collectors {
		if err := reg.Register(c); err != nil {
			if _, there := errors.AsType[prometheus.AlreadyRegisteredError](err); !there {
				return err
			}
		}
	}
	return nil
}
