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

package mailing

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/connect"
	"github.com/caddymail/mailgateway/internal/printable"
)

// message is the mail with an invitation's link. Its addresses hold no line end.
func message(from, to, gateway string, i *connect.Invited, now time.Time) []byte {
	by := "You are asked"
	if i.InvitedBy != "" {
		by = printable.Line(i.InvitedBy) + " asks you"
	}
	_, domain, _ := strings.Cut(from, "@")
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%s@%s>\r\nAuto-Submitted: auto-generated\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
		from, to, mime.QEncoding.Encode("utf-8", "Please connect your mailbox to "+printable.Line(gateway)), now.Format(time.RFC1123Z), rand.Text(), domain)
	w := quotedprintable.NewWriter(&b)
	_, _ = fmt.Fprintf(w, "%s to let %s send mail as %s, for printers and programs.\r\n\r\n"+ // a buffer takes it all
		"Open this link, sign in as %s, and agree:\r\n\r\n%s\r\n\r\n"+
		"It is for you alone, for one use, until %s. If you did not expect this mail, ask whoever runs your mail system before you open it.\r\n",
		by, printable.Line(gateway), printable.Line(i.Mailbox), printable.Line(i.Owner()), i.Link, i.Expires.UTC().Format("2006-01-02 15:04 UTC"))
	_ = w.Close()
	return b.Bytes()
}
