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

package smtpapp

import (
	"sync"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/front"
	"github.com/caddymail/mailgateway/messagelog"
	"github.com/caddymail/mailgateway/relay"
)

// generation is one server of one configuration, at work. It holds nothing
// that the configuration's end takes away, since sessions may be using it
// still.
type generation struct {
	name      string
	policy    *policy
	directory *accounts.Directory
	upstream  relay.Upstream
	single    relay.SingleFlight // nil if the upstream cannot
	warmer    relay.Warmer       // nil if the upstream cannot
	metrics   *metrics
	logger    *zap.Logger
	access    *zap.Logger
	tracing   *tracing // nil if it is off
	refusals  *front.Refusals
	guard     *front.Guard
	messages  *messagelog.Log // nil if none are kept
	front     *front.Generation
	meters    sync.Map // of *meter, by upstream
}
