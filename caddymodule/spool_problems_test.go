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

package caddymodule_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/sandbox"
	"github.com/caddymail/mailgateway/spool"
)

// TestSpoolProblemEverywhere holds that what is wrong with a spool is told in one way by
// the API, the doctor, the metrics and the command, and by none of them once the command
// that the remedy names was run.
func TestSpoolProblemEverywhere(t *testing.T) {
	g, send := spooled(t, "")
	if _, err := g.Sandbox.AddFault(sandbox.Fault{Stage: "mail", Action: "reply", Reply: "451 4.3.0 not now"}); err != nil {
		t.Fatal(err)
	}
	if err := send(spoolText); err != nil {
		t.Fatal(err)
	}
	id := spool.Messages("scanner@example.com", "")[0].ID
	look := func(wrong bool) {
		t.Helper()
		said := fmt.Sprint(g.Do(t, "GET", "/smtp/problems", "").Want(200)["problems"])
		doctor, _, _ := g.Run(t, "", "doctor")
		spools := fmt.Sprint(g.Do(t, "GET", "/smtp/spool", "").Want(200)["spools"])
		running := caddy.ActiveContext()
		reg := running.GetMetricsRegistry()
		w := httptest.NewRecorder()
		promhttp.HandlerFor(prometheus.Gatherers{reg}, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		value := "0"
		if wrong {
			value = "1"
		}
		if line := `caddy_smtp_spool_trouble{check="spool_held",spool="kept"} ` + value; !strings.Contains(w.Body.String(), line) {
			t.Errorf("the metrics lack %s", line)
		}
		for where, text := range map[string]string{"/smtp/problems": said, "smtp doctor": doctor, "/smtp/spool": spools} {
			if got := strings.Contains(text, "spool_held") && strings.Contains(text, "caddy smtp spool release ID"); got != wrong {
				t.Errorf("%s says so: %v, want %v: %s", where, got, wrong, text)
			}
		}
	}
	look(false)
	g.MustRun(t, "", "spool", "hold", id)
	look(true)
	g.MustRun(t, "", "spool", "release", id)
	look(false)
}
