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

package explain

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the manual's tables")

const (
	manual      = "../docs/replies.md"
	manualStart = "<!-- The tables below are written by `go test ./explain -run TestManual -update`. -->\n"
)

// TestManual holds that replies.md has each row of the table, in its words.
func TestManual(t *testing.T) {
	b, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	head, tables, ok := strings.Cut(string(b), manualStart)
	if !ok {
		t.Fatalf("%s has no line %q", manual, manualStart)
	}
	want := manualTables()
	if tables == want {
		return
	}
	if !*update {
		t.Fatalf("%s differs from the table; go test ./explain -run TestManual -update", manual)
	}
	if err := os.WriteFile(manual, []byte(head+manualStart+want), 0o600); err != nil {
		t.Fatal(err)
	}
}

func manualTables() string {
	var b strings.Builder
	for _, s := range []struct {
		title, intro string
		rows         []row
	}{
		{"Microsoft by SMTP", "", microsoftRows},
		{"Google by SMTP", "", googleRows},
		{"Any provider by SMTP", "", otherRows},
		{"The gateway's own", "", slices.Concat(ownRows, unwelcomeRows)},
		{"Microsoft Graph and the Gmail API", "", apiRows},
		{"Network and TLS", "In the doctor's step `token`, `refused`, `timeout` and `dns_no_host` are of the provider's endpoints: check `token_url` or `issuer`,\na firewall, or `network_proxy`. `token_endpoint` is an answer that no token endpoint gives (HTTP 301 to 309, 404, 405, 410).", networkRows},
		{"Consent", "", consentRows},
		{"Entra", "Where it says `consent`, only the mailbox's owner can help, by logging in again; all others are tried again by themselves, and work\nonce the cause is gone. Rows of one meaning stand together.", entraRows()},
		{"Token endpoints", "", oauthRows},
	} {
		b.WriteString("\n### " + s.title + "\n\n")
		if s.intro != "" {
			b.WriteString(s.intro + "\n\n")
		}
		b.WriteString("| id | known by | cause | what to do | again |\n|---|---|---|---|---|\n")
		for i := 0; i < len(s.rows); i++ {
			r := &s.rows[i]
			ids := "`" + r.ID + "`"
			known := codeList(r.codes)
			for i+1 < len(s.rows) && s.rows[i+1].Cause == r.Cause && s.rows[i+1].Remedy == r.Remedy && len(r.words)+len(s.rows[i+1].words) == 0 {
				i++
				ids += ", `" + s.rows[i].ID + "`"
				known += ", " + codeList(s.rows[i].codes)
			}
			if len(r.words) > 0 {
				var words []string
				for _, w := range r.words {
					words = append(words, "`"+strings.ReplaceAll(w, "|", "` or `")+"`")
				}
				if known != "" {
					known += " with "
				}
				known += strings.Join(words, " and ")
			}
			again := "no"
			switch {
			case r.Consent:
				again = "consent"
			case r.RetryHelps:
				again = "yes"
			}
			b.WriteString("| " + ids + " | " + known + " | " + r.Cause + " | " + r.Remedy + " | " + again + " |\n")
			if p := r.personal; p != nil {
				b.WriteString("| | the same, personal mailbox | " + p.cause + " | " + p.remedy + " | " + again + " |\n")
			}
		}
	}
	return b.String()
}

func codeList(codes []string) string {
	if len(codes) == 0 {
		return ""
	}
	if len(codes) > 12 {
		return "`" + codes[0] + "` to `" + codes[len(codes)-1] + "`"
	}
	return "`" + strings.ReplaceAll(strings.Join(codes, "`, `"), "aadsts", "AADSTS") + "`"
}
