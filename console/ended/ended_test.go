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

package ended

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// memory is a storage that nodes share.
type memory struct {
	certmagic.Storage
	lock sync.Mutex // of the list
	mu   sync.Mutex
	text []byte
	err  error
}

func (m *memory) Load(context.Context, string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.text == nil && m.err == nil {
		return nil, fs.ErrNotExist
	}
	return m.text, m.err
}

func (m *memory) Store(_ context.Context, _ string, text []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.text = text
	return m.err
}

func (m *memory) Lock(context.Context, string) error { m.lock.Lock(); return nil }

func (m *memory) Unlock(context.Context, string) error { m.lock.Unlock(); return nil }

func TestNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(memory)
		here, there := &List{Storage: m, Logger: zap.NewNop()}, &List{Storage: m, Logger: zap.NewNop()}
		if here.Has(t.Context(), "a") || there.Has(t.Context(), "a") {
			t.Error("ended before its end")
		}
		if err := here.Add(t.Context(), "a", time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if !here.Has(t.Context(), "a") {
			t.Error("it goes on where it was signed out of")
		}
		time.Sleep(fresh)
		if !there.Has(t.Context(), "a") || there.Has(t.Context(), "b") {
			t.Error("it goes on on the other node, or another one has ended")
		}
		// Two at a time, on two nodes.
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if err := []*List{here, there}[i%2].Add(t.Context(), fmt.Sprint(i), time.Now().Add(2*time.Hour)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		time.Sleep(fresh)
		for i := range 20 {
			if !here.Has(t.Context(), fmt.Sprint(i)) || !there.Has(t.Context(), fmt.Sprint(i)) {
				t.Errorf("the end of %d is lost", i)
			}
		}
		// A storage that is away, and one that is damaged: what is known stays.
		for _, bad := range []*memory{{err: errors.New("away")}, {text: []byte("null")}, {text: []byte("{")}} {
			m.mu.Lock()
			text := m.text
			m.text, m.err = bad.text, bad.err
			m.mu.Unlock()
			time.Sleep(fresh)
			if !here.Has(t.Context(), "a") {
				t.Error("it goes on when the storage cannot be read")
			}
			if err := here.Add(t.Context(), "c", time.Now().Add(time.Hour)); err == nil || !here.Has(t.Context(), "c") {
				t.Errorf("signed out without a storage: %v", err)
			}
			m.mu.Lock()
			m.text, m.err = text, nil
			m.mu.Unlock()
		}
		// What would have ended by itself is forgotten, and no more than so many are kept.
		time.Sleep(90 * time.Minute)
		if here.Has(t.Context(), "a") || !here.Has(t.Context(), "3") {
			t.Error("the list keeps the wrong ones")
		}
	})
}

func TestBound(t *testing.T) {
	m := new(memory)
	l := &List{Storage: m, Logger: zap.NewNop()}
	all := `{"first":"2999-01-01T00:00:00Z"`
	for i := range most - 1 {
		all += fmt.Sprintf(`,"%d":"2999-01-02T00:00:00Z"`, i)
	}
	m.text = []byte(all + "}")
	if err := l.Add(t.Context(), "new", time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	if len(l.until) != most || l.Has(t.Context(), "first") || !l.Has(t.Context(), "new") {
		t.Errorf("%d are kept", len(l.until))
	}
}
