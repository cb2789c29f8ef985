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

// Package legacyrsa has an RSA certificate for the gateway's name, beside Caddy's,
// whose keys are ECDSA: devices from before 2010 know RSA only.
//
// legacyrsa.go obtains it, keeps it renewed and chooses between the two;
// storage.go is the place where it lies. Nothing of ours is imported. A
// Certificate belongs to one configuration: the next one finds what is stored.
package legacyrsa
