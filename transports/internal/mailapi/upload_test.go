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

package mailapi

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
)

// TestUpload holds that what a mailbox uploads is counted ahead: what is over the
// limit waits if that is not for long, is refused with the time else, and is no
// request then.
func TestUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		u := scripted(t, &Upstream{MaxWait: 10 * time.Second, Upload: 10, UploadPer: time.Minute}, func(*http.Request) int { requests++; return http.StatusOK })
		l := newLedger()
		send := func() (took time.Duration, err error) {
			begin := time.Now()
			err = sendOne(t, l, u, mailbox())
			return time.Since(begin), err
		}
		for range 2 { // of 5 octets each
			if took, err := send(); err != nil || took != 0 {
				t.Fatal(took, err)
			}
			time.Sleep(20 * time.Second)
		}
		_, err := send()
		if r, ok := errors.AsType[*relay.Reply](err); !ok || r.After != 20*time.Second || !strings.HasPrefix(err.Error(), "451 4.7.1 ") || requests != 2 {
			t.Errorf("%v after %d requests", err, requests)
		}
		time.Sleep(15 * time.Second)
		if took, err := send(); err != nil || took != 5*time.Second {
			t.Errorf("it waited %v: %v", took, err)
		}
		time.Sleep(time.Hour)
		u.Upload = 4 // less than a message
		l.enforce(u)
		if took, err := send(); err != nil || took != 0 {
			t.Errorf("a message over the limit waited %v: %v", took, err)
		}
	})
}

// TestUploadsRestart lets the upstream's process end, or stay while another one
// begins: what was uploaded counts there, and what the first one has stored ahead.
func TestUploadsRestart(t *testing.T) {
	for _, end := range []string{"ended", "stays"} {
		t.Run(end, func(t *testing.T) {
			const limit = 1000
			storage := &certmagic.FileStorage{Path: t.TempDir()}
			sent := 0
			for _, n := range []int{40, limit} {
				u := scripted(t, &Upstream{MaxWait: 5 * time.Second, Upload: limit, UploadPer: time.Hour}, func(*http.Request) int { sent++; return http.StatusOK })
				u.Storage = storage
				l := newLedger()
				l.attach(u)
				for range n {
					if err := sendOne(t, l, u, mailbox()); err != nil {
						if !strings.Contains(err.Error(), "upload in 1h0m0s is used up") {
							t.Fatal(err)
						}
						break
					}
				}
				if end == "ended" {
					l.detach(u)
				} else {
					t.Cleanup(func() { l.detach(u) })
				}
			}
			if octets := 5 * sent; octets > limit || end == "ended" && octets != limit {
				t.Errorf("%d octets of %d", octets, limit)
			}
			if sent <= 40 {
				t.Error("nothing went through the second one")
			}
		})
	}
}

// TestRecipientsOfAMessage: one recipient too many is refused by itself, so that the
// client sends it apart.
func TestRecipientsOfAMessage(t *testing.T) {
	u := scripted(t, &Upstream{MaxRecipients: 3}, func(*http.Request) int { return http.StatusOK })
	p, _, err := newLedger().enter(t.Context(), u, mailbox())
	if err != nil {
		t.Fatal(err)
	}
	tx := &transaction{u: u, acct: mailbox(), place: p}
	defer tx.Abort()
	for i := range 5 {
		err := tx.Rcpt(t.Context(), fmt.Sprintf("a%d@example.org", i), nil)
		if want := i >= 3; errors.Is(err, relay.ReplyTooManyRcpts) != want {
			t.Errorf("recipient %d: %v", i, err)
		}
	}
	if _, err := tx.Data(t.Context(), strings.NewReader("hello")); err != nil {
		t.Error(err)
	}
}

// TestDSN is what of RFC 3461 passes: what asks for nothing beyond what happens
// anyway. All else asks for a report that will not come, or not in that form.
func TestDSN(t *testing.T) {
	u := scripted(t, new(Upstream), func(*http.Request) int { return http.StatusOK })
	for _, tc := range []struct {
		mail smtp.MailOptions
		rcpt smtp.RcptOptions
		pass bool
	}{
		{pass: true},
		{mail: smtp.MailOptions{Return: smtp.DSNReturnHeaders}},
		{mail: smtp.MailOptions{Return: smtp.DSNReturnFull}},
		{mail: smtp.MailOptions{EnvelopeID: "QQ314159"}},
		{rcpt: smtp.RcptOptions{OriginalRecipientType: smtp.DSNAddressTypeRFC822, OriginalRecipient: "a@example.org"}, pass: true},
		{rcpt: smtp.RcptOptions{OriginalRecipientType: smtp.DSNAddressTypeUTF8, OriginalRecipient: "b@example.org"}, pass: true},
		{rcpt: smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyFailure}}, pass: true},
		{rcpt: smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed}}, pass: true},
		{rcpt: smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyDelayed}}},
		{rcpt: smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyNever}}},
		{rcpt: smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifySuccess}}},
		{rcpt: smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyFailure}}},
		{rcpt: smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyNever}, OriginalRecipientType: smtp.DSNAddressTypeRFC822, OriginalRecipient: "a@example.org"}},
	} {
		u.MaxSize = 1000
		tx, err := u.Begin(t.Context(), mailbox(), "box@example.com", &tc.mail)
		if err == nil {
			err = tx.Rcpt(t.Context(), "a@example.org", &tc.rcpt)
			tx.Abort()
		}
		if tc.pass && err != nil || !tc.pass && !errors.Is(err, relay.ReplyAPIDSN) {
			t.Errorf("%+v, %+v: %v", tc.mail, tc.rcpt, err)
		}
	}
}
