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

package accounts

import (
	"strings"
	"sync"
)

// profile is what one failed login costs: the hashes of an account by
// algorithm and parameters. The many accounts of a directory have few
// profiles, and share them.
type profile struct {
	id    string
	fakes []*passwordHash
}

var profiles struct {
	sync.Mutex
	byID map[string]*profile
}

// maxProfiles bounds what is kept of parameters that come and go.
const maxProfiles = 4096

// defaultProfile is the cost of an unknown name in a directory without any
// password.
var defaultProfile = internProfile([]*passwordHash{{kind: hashSHA256, digest: make([]byte, 32)}})

func internProfile(hashes []*passwordHash) *profile {
	if len(hashes) == 0 {
		return nil
	}
	ids := make([]string, len(hashes))
	for i, h := range hashes {
		ids[i] = h.costID()
	}
	id := strings.Join(ids, ";")

	profiles.Lock()
	defer profiles.Unlock()
	if p := profiles.byID[id]; p != nil {
		return p
	}
	p := &profile{id: id}
	for _, h := range hashes {
		p.fakes = append(p.fakes, h.fake())
	}
	if profiles.byID == nil {
		profiles.byID = make(map[string]*profile)
	}
	if len(profiles.byID) < maxProfiles {
		profiles.byID[id] = p
	}
	return p
}
