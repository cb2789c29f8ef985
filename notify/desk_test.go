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

package notify

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type recorder struct {
	digests [][]Trouble
	err     error
}

func (r *recorder) send(_ context.Context, troubles []Trouble) error {
	r.digests = append(r.digests, troubles)
	return r.err
}

func TestOnceATroubleAndOneDigest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(recorder)
		d := newDesk(r, time.Minute, time.Hour, time.Second, func(error, int) {})
		a, b := Trouble{Event: "e", Account: "a"}, Trouble{Event: "e", Account: "b"}
		for _, tr := range []Trouble{a, b, a} {
			d.tell(tr)
		}
		time.Sleep(2 * time.Minute)
		d.tell(a)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(r.digests) != 1 || len(r.digests[0]) != 2 {
			t.Fatalf("digests %v, want one of two troubles", r.digests)
		}
		time.Sleep(time.Hour)
		d.tell(a)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(r.digests) != 2 {
			t.Errorf("%d digests after an hour, want 2", len(r.digests))
		}
		_ = d.Destruct()
	})
}

func TestUndeliveredIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, failures := &recorder{err: errors.New("down")}, 0
		d := newDesk(r, time.Minute, time.Hour, time.Second, func(error, int) { failures++ })
		for range 2 {
			d.tell(Trouble{Event: "e"})
			time.Sleep(2 * time.Minute)
			synctest.Wait()
		}
		if len(r.digests) != 2 || failures != 2 {
			t.Errorf("%d attempts, %d failures, want 2 and 2", len(r.digests), failures)
		}
		_ = d.Destruct()
	})
}

func TestTellNeverWaits(t *testing.T) {
	d := &desk{queue: make(chan Trouble, 1)}
	if !d.tell(Trouble{}) || d.tell(Trouble{}) {
		t.Error("want the first taken and the second refused")
	}
}

func TestWebhookForms(t *testing.T) {
	for format, want := range map[string]string{
		"json":  `{"troubles":[{"event":"e","account":"\u003c!channel\u003e"}]}`,
		"slack": `account \u0026lt;!channel\u0026gt;`,
		"teams": `"contentType":"application/vnd.microsoft.card.adaptive"`,
	} {
		var got string
		s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			got = string(body)
		}))
		w := newWebhook(s.URL, format)
		err := w.send(t.Context(), []Trouble{{Event: "e", Account: "<!channel>"}})
		w.client.CloseIdleConnections()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		s.Close()
		if err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: %v, posted %s, want %s", format, err, got, want)
		}
	}
}

func TestErrorsHideTheAddress(t *testing.T) {
	for _, address := range []string{"http://127.0.0.1:1/SECRET", "http://%zz/SECRET"} {
		err := newWebhook(address, "json").send(t.Context(), nil)
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("error %v", err)
		}
	}
}
