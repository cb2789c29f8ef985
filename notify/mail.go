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
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/operate"
)

// mailer sends digests as mail through accounts of the gateway: the first that
// works, since the trouble may be that of an account's own.
type mailer struct {
	accounts []string
	from     string
	to       []string
}

func (m *mailer) send(ctx context.Context, d digest) error {
	var errs []error
	for i, account := range m.accounts {
		err := m.through(ctx, account, len(m.accounts)-i, d)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("mail through %s: %w", account, err))
	}
	return errors.Join(errs...)
}

// through sends a digest through an account, which has its share of the time: the
// upstream that does not answer may be the trouble that is to be told.
func (m *mailer) through(ctx context.Context, account string, left int, d digest) error {
	if end, ok := ctx.Deadline(); ok {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, time.Until(end)/time.Duration(left))
		defer stop()
	}
	return operate.SendMail(ctx, account, m.from, m.to, func(from string, refused []string) []byte {
		return message(from, m.to, refused, d, time.Now())
	})
}

// message is a digest as a message, which names those of its recipients that were
// refused.
func message(from string, to, refused []string, d digest, now time.Time) []byte {
	domain := "localhost"
	if i := strings.LastIndexByte(from, '@'); i >= 0 {
		domain = from[i+1:]
	}
	var b bytes.Buffer
	for _, field := range [][2]string{
		{"From", "Mailgateway <" + from + ">"},
		{"To", strings.Join(to, ",\r\n ")}, // of any length
		{"Subject", mime.QEncoding.Encode("utf-8", "Mailgateway: "+title(d))},
		{"Date", now.Format("Mon, 02 Jan 2006 15:04:05 -0700")},
		{"Message-ID", "<" + strings.ToLower(rand.Text()) + "@" + domain + ">"},
		// No vacation notice answers, and no other gateway's report.
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		b.WriteString(field[0] + ": " + field[1] + "\r\n")
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	_, _ = w.Write([]byte(text(d))) // bytes.Buffer takes all
	if len(refused) > 0 {
		fmt.Fprintf(w, "This could not be told to %s, whom the provider refused: see mail_to.\n", strings.Join(refused, ", "))
	}
	_ = w.Close()
	return b.Bytes()
}
