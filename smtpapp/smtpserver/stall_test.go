// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//	http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.
package smtpserver

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// wantedAfter is held by a message, and others want it after so many questions.
type wantedAfter struct{ n int }

func (h *wantedAfter) Wanted() bool { h.n--; return h.n < 0 }

// TestStalledInOneFlight has clients that are slow with a message of which the
// session holds nothing before it is read, and then tells the body what it holds.
func TestStalledInOneFlight(t *testing.T) {
	const begun = login + "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
	for name, tc := range map[string]struct {
		script, every string
		wanted        int
		want          time.Duration
		cause         Cause
	}{
		"silent":          {begun + "DATA\r\nx", "", 0, 30 * time.Second, CauseStalled},
		"by octets":       {begun + "DATA\r\nx", "y", 0, 30 * time.Second, CauseStalled},
		"wanted later":    {begun + "DATA\r\nx", "y", 2, 90 * time.Second, CauseStalled},
		"nobody waits":    {begun + "DATA\r\nx", "y", 1 << 20, 10 * time.Minute, CauseMessageTimeout},
		"with its chunk":  {login + "MAIL FROM:<a@b>\r\n" + "RCPT TO:<c@d>\r\nBDAT 99 LAST\r\nx", "y", 0, 30 * time.Second, CauseStalled},
		"chunks":          {begun + "BDAT 1\r\nx", "BDAT 1\r\ny", 0, 30 * time.Second, CauseStalled},
		"fast enough":     {begun + "DATA\r\nx", strings.Repeat(strings.Repeat("y", 78)+"\r\n", 60), 0, 10 * time.Minute, CauseMessageTimeout},
		"silent for them": {begun + "DATA\r\nx", "", 1 << 20, 3 * time.Minute, CauseMessageTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &recorder{cfg: tolerantConfig(), holds: &wantedAfter{tc.wanted}}
				s.cfg.OneFlight = true
				testStall(t, s, tc.script, tc.every, tc.want, tc.cause)
			})
		})
	}
}

// TestStalled has clients that begin a message and do not go on with it. While
// others wait for what it holds that ends after the patience, whatever they say
// meanwhile; else after the timeouts for silence.
func TestStalled(t *testing.T) {
	const begun = login + "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
	never := func() bool { return false }
	always := func() bool { return true }
	var asked int
	for name, tc := range map[string]struct {
		script  string // said at once
		every   string // said every ten seconds after it
		stalled func() bool
		want    time.Duration
		cause   Cause
	}{
		"silent":                   {begun, "", always, 30 * time.Second, CauseStalled},
		"half a command":           {begun + "DA", "", always, 30 * time.Second, CauseStalled},
		"NOOP":                     {begun, "NOOP\r\n", always, 30 * time.Second, CauseStalled},
		"nobody waits":             {begun, "", never, 5 * time.Minute, CauseTimeout},
		"somebody waits later":     {begun, "", func() bool { asked++; return asked == 3 }, 90 * time.Second, CauseStalled},
		"no transaction":           {login, "", always, 5 * time.Minute, CauseTimeout},
		"after it":                 {begun + "RSET\r\n", "", always, 5 * time.Minute, CauseTimeout},
		"MAIL alone":               {login + "MAIL FROM:<a@b>\r\n", "", always, 5 * time.Minute, CauseTimeout},
		"silent in a body":         {begun + "DATA\r\nx", "", always, 30 * time.Second, CauseStalled},
		"silent in a chunk":        {begun + "BDAT 10\r\nx", "", always, 30 * time.Second, CauseStalled},
		"between chunks":           {begun + "BDAT 1\r\nx", "", always, 30 * time.Second, CauseStalled},
		"silent in a body for all": {begun + "DATA\r\nx", "", never, 3 * time.Minute, CauseMessageTimeout},
		"body by octets":           {begun + "DATA\r\nx", "y", always, 30 * time.Second, CauseStalled},
		"chunk by octets":          {begun + "BDAT 10000 LAST\r\nx", "y", always, 30 * time.Second, CauseStalled},
		"chunks of an octet":       {begun + "BDAT 1\r\nx", "BDAT 1\r\ny", always, 30 * time.Second, CauseStalled},
		"NOOP between chunks":      {begun + "BDAT 1\r\nx", "NOOP\r\n", always, 30 * time.Second, CauseStalled},
		"body by octets for all":   {begun + "DATA\r\nx", "y", never, 10 * time.Minute, CauseMessageTimeout},
		"slow body":                {begun + "DATA\r\nx", strings.Repeat(strings.Repeat("y", 78)+"\r\n", 60), always, 10 * time.Minute, CauseMessageTimeout},
		"recipients":               {begun, "RCPT TO:<e@f>\r\n", always, 39 * time.Second, CauseStalled},
		"refused recipients":       {begun, "RCPT TO:<no@f>\r\n", always, 39 * time.Second, CauseStalled},
		"recipients for all":       {begun, "RCPT TO:<no@f>\r\n", never, 99*10*time.Second + 5*time.Minute, CauseTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked = 0
				testStall(t, &recorder{cfg: tolerantConfig(), stalled: tc.stalled}, tc.script, tc.every, tc.want, tc.cause)
			})
		})
	}
}

// testStall has a client say the script, and then every ten seconds the rest.
func testStall(t *testing.T, s *recorder, script, every string, want time.Duration, cause Cause) {
	t.Helper()
	near, far := net.Pipe()
	s.cfg.Patience, s.cfg.CommandTimeout, s.cfg.BodyIdle, s.cfg.BodyTimeout = 30*time.Second, 5*time.Minute, 3*time.Minute, 10*time.Minute
	start := time.Now()
	var talking sync.WaitGroup
	defer talking.Wait()
	talking.Go(func() {
		_, _ = io.WriteString(far, script)
		for i := 0; every != "" && i < 99; i++ {
			time.Sleep(10 * time.Second)
			if _, err := io.WriteString(far, every); err != nil {
				return
			}
		}
	})
	last := make(chan string)
	go func() {
		var line string
		for r := bufio.NewReader(far); ; {
			next, err := r.ReadString('\n')
			if err != nil {
				last <- line
				return
			}
			line = next
		}
	}()
	end := New(near, s, s.cfg, nil).Serve()
	took := time.Since(start)
	if line := <-last; end != EndTimeout || !strings.HasPrefix(line, "421 4.4.2 ") || took != want {
		t.Errorf("ended as %s after %v with %q, want timeout after %v", end, took, line, want)
	}
	if got := s.causes(); !slices.Equal(got, []Cause{cause}) || len(s.bodies) > 0 {
		t.Error(fmt.Sprint(got), s.bodies)
	}
}
