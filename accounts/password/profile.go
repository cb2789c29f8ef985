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

package password

import (
	"strings"
	"sync"
)

// Profile is what one failed login costs: the hashes of an account by
// algorithm and parameters. The many accounts of a directory have few
// profiles, and share them.
type Profile struct {
	id    string
	fakes []*Hash
}

var profiles struct {
	sync.Mutex
	byID map[string]*Profile
}

// maxProfiles bounds what is kept of parameters that come and go.
const maxProfiles = 4096

// DefaultProfile is the cost of an unknown name in a directory without any
// password.
var DefaultProfile = ProfileOf([]*Hash{{kind: SHA256, digest: make([]byte, 32)}})

// ProfileOf returns the profile of an account with these hashes, the same one
// for all accounts of its kind; nil without a hash.
func ProfileOf(hashes []*Hash) *Profile {
	if len(hashes) == 0 {
		return nil
	}
	ids := make([]string, len(hashes))
	for i, h := range hashes {
		ids[i] = h.Cost()
	}
	id := strings.Join(ids, ";")

	profiles.Lock()
	defer profiles.Unlock()
	if p := profiles.byID[id]; p != nil {
		return p
	}
	p := &Profile{id: id}
	for _, h := range hashes {
		p.fakes = append(p.fakes, h.fake())
	}
	if profiles.byID == nil {
		profiles.byID = make(map[string]*Profile)
	}
	if len(profiles.byID) < maxProfiles {
		profiles.byID[id] = p
	}
	return p
}

// ID names the profile: the algorithms and their parameters.
func (p *Profile) ID() string { return p.id }

// Fakes are hashes of the profile's cost that no password has. They are not to
// be changed.
func (p *Profile) Fakes() []*Hash { return p.fakes }
