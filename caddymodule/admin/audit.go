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

package admin

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/console/audit"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/internal/site"
)

// UserHeader is how the commands say who runs them. Nothing proves it: whoever
// reaches the admin API may do all that it does.
const UserHeader = "Mailgateway-User"

// changes are the routes that change something, with the words for it on the page of
// changes and in the log. A route that is no GET and is not here changes nothing.
var changes = map[string]string{
	"POST /smtp/accounts/import":        "accounts imported",
	"PUT /smtp/accounts/{name}":         "account written",
	"PATCH /smtp/accounts/{name}":       "account changed",
	"DELETE /smtp/accounts/{name}":      "account removed",
	"POST /smtp/accounts/{name}/pause":  "account paused",
	"POST /smtp/accounts/{name}/resume": "account resumed",
	"POST /smtp/accounts/{name}/login":  "consent begun",
	"POST /smtp/upstreams/{name}/drain": "upstream drained",
	"DELETE /smtp/sessions":             "sessions ended",
	"DELETE /smtp/sessions/{id}":        "session ended",
	"DELETE /smtp/bans":                 "bans lifted",
	"POST /smtp/invitations":            "owner invited",
	"DELETE /smtp/invitations/{id}":     "invitation revoked",
	"POST /smtp/spool/drain":            "drain of the spool begun",
	"DELETE /smtp/spool/drain":          "drain of the spool ended",
	"DELETE /smtp/spool/{id}":           "kept message deleted",
	"POST /smtp/spool/{id}/hold":        "kept message held",
	"POST /smtp/spool/{id}/release":     "kept message released",
	"POST /smtp/spool/{id}/retry":       "kept message sent now",
	"POST /smtp/nodes/drain":            "node drained",
	"DELETE /smtp/nodes/drain":          "node taken back",
	"POST /smtp/nodes/{id}/drain":       "node drained",
	"DELETE /smtp/nodes/{id}/drain":     "node taken back",
}

// maxNoted bounds the body whose fields' names are noted, maxUser a user's name.
const (
	maxNoted = 64 << 10
	maxUser  = 64
)

// noting keeps what a record of a change says: of its body names alone, since values
// may be secrets.
type noting struct {
	what string
	body bytes.Buffer
}

// note begins to take notes of a request.
func note(pattern string, r *http.Request) *noting {
	what := changes[pattern]
	if what == "" {
		return nil
	}
	n := &noting{what: what}
	if r.Body != nil && !strings.HasSuffix(pattern, "/import") {
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(r.Body, &bounded{&n.body}), r.Body}
	}
	return n
}

// bounded takes the beginning of what is written, and no error.
type bounded struct{ *bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if room := maxNoted - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// done records the change, which has been made.
func (n *noting) done(r *http.Request) {
	if n == nil {
		return
	}
	user := "admin API"
	if name := strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return -1
		}
		return c
	}, r.Header.Get(UserHeader)); name != "" {
		user = "command line: " + strings.ToValidUTF8(name[:min(len(name), maxUser)], "")
	}
	var fields []zap.Field
	var body map[string]json.RawMessage
	_ = json.Unmarshal(n.body.Bytes(), &body) //nolint:errcheck // then it has no names
	var account string
	if name := r.PathValue("name"); name != "" && strings.Contains(n.what, "upstream") {
		fields = append(fields, zap.String("upstream", name))
	} else if name != "" {
		fields = append(fields, zap.String("account", name))
	} else if json.Unmarshal(body["account"], &account) == nil {
		fields = append(fields, zap.String("account", account))
	}
	if id := r.PathValue("id"); id != "" {
		fields = append(fields, zap.String("id", id[:min(len(id), 32)]))
	}
	for _, key := range []string{"account", "server", "network", "address"} {
		if v := r.URL.Query().Get(key); v != "" {
			fields = append(fields, zap.String(key, v))
		}
	}
	if len(body) > 0 {
		fields = append(fields, zap.Strings("fields", slices.Sorted(maps.Keys(body))))
	}
	from := site.Client(r)
	printable.Logger(caddy.Log()).Named("admin.api.smtp.audit").Info(n.what, append([]zap.Field{zap.String("user", user), zap.String("from", from)}, fields...)...)
	if storage := storageInUse(); storage != nil {
		audit.Trail{Storage: storage}.Later(audit.New(user, from, n.what, fields...), storageInUse)
	}
}

// storageInUse is that of the running configuration; nil: none runs.
func storageInUse() certmagic.Storage {
	if ctx := caddy.ActiveContext(); ctx.Context != nil {
		return ctx.Storage()
	}
	return nil
}
