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

package servertls

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Certificate is a certificate of files, read again when they change. A
// pair that does not load leaves the one before it in use.
type Certificate struct {
	cert, key string
	logger    *zap.Logger

	mu      sync.Mutex
	loaded  *tls.Certificate
	changed [2]time.Time
}

// New loads the pair of a certificate chain and its key, both PEM. A later one that
// does not load is told of by the logger.
func New(cert, key string, logger *zap.Logger) (*Certificate, error) {
	f := &Certificate{cert: cert, key: key, logger: logger}
	stamp, err := f.stamp()
	if err != nil {
		return nil, err
	}
	if err := f.load(stamp); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *Certificate) stamp() (stamp [2]time.Time, err error) {
	for i, name := range []string{f.cert, f.key} {
		info, err := os.Stat(name)
		if err != nil {
			return stamp, err
		}
		stamp[i] = info.ModTime()
	}
	return stamp, nil
}

func (f *Certificate) load(stamp [2]time.Time) error {
	f.changed = stamp
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("loading certificate %s: %w", f.cert, err)
	}
	f.loaded = &pair
	return nil
}

// Get implements tls.Config.GetCertificate.
func (f *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if stamp, err := f.stamp(); err == nil && stamp != f.changed {
		if err := f.load(stamp); err != nil {
			f.logger.Error("certificate has changed but cannot be used; keeping the one before", zap.Error(err))
		}
	}
	return f.loaded, nil
}
