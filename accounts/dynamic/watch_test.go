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

package dynamic

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymail/mailgateway/accounts"
)

// bus carries what processes announce.
type bus struct {
	mu   sync.Mutex
	ears map[int]func(key string)
	last int
	deaf bool // nothing is carried
}

// toldStorage is a storage whose processes hear of each other's changes.
type toldStorage struct {
	*countingStorage
	bus *bus
}

func (s *toldStorage) Announce(_ context.Context, key string) error {
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	for _, heard := range s.bus.ears {
		if !s.bus.deaf {
			go heard(key)
		}
	}
	return nil
}

func (s *toldStorage) Watch(ctx context.Context, began func(), changed func(key string)) error {
	s.bus.mu.Lock()
	if s.bus.deaf {
		s.bus.mu.Unlock()
		return errors.New("deaf")
	}
	s.bus.last++
	n := s.bus.last
	s.bus.ears[n] = changed
	s.bus.mu.Unlock()
	began()
	<-ctx.Done()
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	delete(s.bus.ears, n)
	return ctx.Err()
}

// TestDynamicIsTold has a change be everywhere within a second where the storage
// tells of it, and also when it no longer does.
func TestDynamicIsTold(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Minute) // certmagic's locks each leave a goroutine for a while
		b := &bus{ears: make(map[int]func(string))}
		var dirs [2]*accounts.Directory
		for i := range dirs {
			st := &toldStorage{&countingStorage{id: fmt.Sprint("told ", processes.Add(1))}, b}
			st.Path = dir
			dirs[i] = accounts.NewDirectory([]accounts.Source{provisionDynamic(t, st)}, nil)
			if err := dirs[i].Start(); err != nil {
				t.Fatal(err)
			}
			defer dirs[i].Stop()
		}
		time.Sleep(time.Minute)
		for i := range 5 {
			name := fmt.Sprintf("told%d@example.com", i)
			put(t, dirs[0], accounts.Record{Name: name})
			time.Sleep(time.Second)
			if _, ok := dirs[1].Lookup(name); !ok {
				t.Errorf("%s is not seen within a second", name)
			}
		}
		b.mu.Lock()
		b.deaf = true
		b.mu.Unlock()
		for i := range 5 {
			name := fmt.Sprintf("untold%d@example.com", i)
			put(t, dirs[0], accounts.Record{Name: name})
			time.Sleep(time.Second)
			if _, ok := dirs[1].Lookup(name); !ok {
				t.Errorf("%s is not told, and not seen within a second", name)
			}
		}
	})
}
