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

package operate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
	"github.com/dustin/go-humanize/english"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/internal/invoked"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/spool"
	"github.com/caddymail/mailgateway/upstreamapp"
)

// Examine looks at the gateway from within: it opens no connection to a
// provider, and may be called every few seconds.
func Examine(ctx context.Context) []checkup.Finding {
	var out []checkup.Finding
	out = append(out, examineStorage(ctx)...)
	if tokens, err := App[*oauthtoken.App]("oauth_tokens"); err == nil {
		out = append(out, examineTokens(tokens)...)
	}
	smtp, err := App[*smtpapp.App]("smtp")
	if err == nil {
		out = append(out, examineRecords(smtp.Directory().Problems(), smtp.Directory().Len())...)
		out = append(out, examineCertificates(smtp, time.Now())...)
	}
	if upstreams, uerr := App[*upstreamapp.App]("smtp_upstreams"); uerr == nil {
		out = append(out, examineUpstreams(ctx, upstreams)...)
		if err == nil {
			out = append(out, examineLogins(upstreams, smtp.Directory())...)
		}
	}
	return append(out, spool.Findings()...)
}

// lowRoom and noRoom are shares of a file system that are free.
const (
	lowRoom = 0.05
	noRoom  = 0.01
)

// examineStorage writes to the storage, and takes it back.
func examineStorage(ctx context.Context) []checkup.Finding {
	running := caddy.ActiveContext()
	if running.Context == nil {
		return nil // no configuration runs
	}
	store := running.Storage()
	f := checkup.Finding{Check: "storage", Subject: fmt.Sprint(store), State: checkup.OK, Said: "written and read"}
	if err := tryStorage(ctx, store); err != nil {
		f.State, f.Said = checkup.Wrong, err.Error()
		f.Cause = "Caddy's storage cannot be written: rotated tokens and certificates would be lost with the process."
		f.Remedy = "Check the disk's space and that the gateway's user may write there, or the database that the storage is in."
	}
	out := []checkup.Finding{f}
	if files, ok := store.(*certmagic.FileStorage); ok {
		out = append(out, examineDisk(files.Path)...)
	}
	if e, ok := store.(checkup.Examiner); ok {
		out = append(out, e.Examine(ctx)...)
	}
	return out
}

// tryStorage stores a key that only this look knows.
func tryStorage(ctx context.Context, store certmagic.Storage) error {
	key, value := path.Join("smtp", "doctor", rand.Text()), []byte("written by the doctor, and not needed")
	if err := store.Store(ctx, key, value); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	got, err := store.Load(ctx, key)
	if derr := store.Delete(ctx, key); err == nil && derr != nil {
		err = fmt.Errorf("deleting: %w", derr)
	}
	if err == nil && !bytes.Equal(got, value) {
		err = fmt.Errorf("reading: %d octets were written and %d read", len(value), len(got))
	}
	return err
}

func examineDisk(dir string) []checkup.Finding {
	free, size, err := diskRoom(dir)
	if err != nil || size == 0 {
		return nil
	}
	share := float64(free) / float64(size)
	f := checkup.Finding{
		Check: "disk", Subject: dir, State: checkup.OK, Said: fmt.Sprintf("%d MiB (%.0f %%) are free", free>>20, 100*share),
	}
	if share < lowRoom {
		f.State = checkup.Warning
		f.Cause = "The disk of Caddy's storage is nearly full; when it is, tokens that the provider rotates cannot be refreshed."
		f.Remedy = "Make room: old logs first."
	}
	if share < noRoom {
		f.State = checkup.Wrong
	}
	return []checkup.Finding{f}
}

// examineTokens looks for consents and secrets that have ended or will.
func examineTokens(app *oauthtoken.App) (out []checkup.Finding) {
	for _, p := range app.ProviderStatus() {
		f := checkup.Finding{Check: "provider", Subject: p.Provider, State: checkup.OK, Said: "its last answer was as it should be"}
		switch {
		case p.LastError != nil:
			f.State, f.Said, f.Cause, f.Remedy = checkup.Wrong, p.LastError.Code, p.LastError.Cause, p.LastError.Remedy
		case p.EndpointDown:
			f.State, f.Said = checkup.Wrong, "requests to the token endpoint fail and are held back"
			f.Cause = "The provider's token endpoint does not answer, or answers with errors."
			f.Remedy = "Check network, DNS and proxy of the gateway, and the provider's own status page. It is tried again by itself."
		case !p.Asked:
			f = notUsed(f)
		}
		out = append(out, f)
		for _, w := range p.Warnings {
			what, _, _ := strings.Cut(w, " ")
			s := checkup.Finding{Check: "secret", Subject: p.Provider + " " + what, State: checkup.Warning, Said: w}
			s.Cause = "The gateway's own credential at provider " + p.Provider + " ends: after that no account of the provider can send."
			s.Remedy = "Make a new one at the provider, configure it beside its end (`secret_expires`), and reload."
			if strings.Contains(w, "has expired") {
				s.State = checkup.Wrong
			}
			out = append(out, s)
		}
	}
	for name, server := range app.Servers() {
		if secretIsID(server.Kind, server.ClientSecret) {
			out = append(out, checkup.Finding{
				Check: "secret", Subject: name + " client_secret", State: checkup.Warning, Said: "it has the form of an ID",
				Cause:  "The client secret looks like its ID: Entra shows 'Secret ID' beside 'Value', and refuses the ID with AADSTS7000215.",
				Remedy: "The value is shown only once, when a secret is made: make a new one under Certificates & secrets, copy its Value, and reload.",
			})
		}
	}
	for _, st := range app.Status(oauthtoken.StatusFilter{}) {
		f := checkup.Finding{Subject: st.Provider, Account: st.Account, State: checkup.Wrong}
		if st.LastError != nil {
			f.Said, f.Cause, f.Remedy = st.LastError.Code, st.LastError.Cause, st.LastError.Remedy
		}
		switch {
		case st.Standing == authserver.StandingClientRefused:
			continue // the provider's finding, for all of its accounts
		case st.State == "reauth_required":
			f.Check = "consent"
		case st.State == "refused", st.State == "error" && st.LastError != nil && !st.LastError.Retry:
			f.Check = "token"
		}
		if f.Check != "" {
			out = append(out, f)
		}
		for _, w := range st.Warnings {
			out = append(out, checkup.Finding{
				Check: "consent_ends", Subject: st.Provider, Account: st.Account, State: checkup.Warning, Said: w,
				Cause: "The consent for the mailbox ends by itself.", Remedy: invoked.Words("Have its owner consent again before then: `caddy smtp login ") + st.Account + "`.",
			})
		}
	}
	return out
}

// secretIsID reports whether a secret is what Entra shows beside it, the mistake
// that is made most. The values that it makes have another form.
func secretIsID(kind, secret string) bool { return kind == "microsoft" && form.IsGUID(secret) }

// examineRecords looks for sources of accounts that cannot be read, and for records
// that are not in use as they stand.
func examineRecords(problems []accounts.Problem, n int) (out []checkup.Finding) {
	var records []accounts.Problem
	for _, p := range problems {
		if !p.Unread() {
			records = append(records, p)
			continue
		}
		f := checkup.Finding{
			Check: "accounts", Subject: p.Source, State: checkup.Wrong, Said: p.Message,
			Cause:  "The database or the directory with these accounts does not answer, or refuses the gateway's own user: nobody of it can log in.",
			Remedy: "Look at the server that is named, and at the user and the password that the configuration has for it. Logins go on by themselves once it answers.",
		}
		if p.Kept {
			f.State = checkup.Warning
			f.Cause = "The database or the directory with these accounts does not answer, or refuses the gateway's own user: accounts that are held go on for a time, others cannot log in."
		}
		out = append(out, f)
	}
	f := checkup.Finding{Check: "accounts", State: checkup.OK, Said: english.Plural(n, "account", "")}
	if n := len(records); n > 0 {
		f.State, f.Said = checkup.Warning, problemText(records[0])
		if n > 1 {
			f.Said = fmt.Sprintf("%d problems, the first: %s", n, f.Said)
		}
		f.Cause = "Records of accounts are malformed and not in use, or an accounts file is not what it was."
		f.Remedy = "`GET /smtp/problems` of the admin API and the log name file, line and field of each."
	}
	return append(out, f)
}

// problemText names a problem without what the record holds.
func problemText(p accounts.Problem) string {
	where := cmp.Or(p.File, p.Source)
	if p.Line != 0 {
		where += fmt.Sprintf(", line %d", p.Line)
	}
	if p.Field != "" {
		where += ", field '" + p.Field + "'"
	}
	return where + ": " + p.Message
}

// examineCertificates looks at what the servers show their clients.
func examineCertificates(app *smtpapp.App, now time.Time) (out []checkup.Finding) {
	managed := false
	files := map[string]bool{}
	for _, s := range app.Servers {
		switch {
		case s.TLS == nil || s.TLS.Mode == "off":
		case s.TLS.Certificate == "":
			managed = true
		case !files[s.TLS.Certificate]:
			files[s.TLS.Certificate] = true
			pair, err := tls.LoadX509KeyPair(s.TLS.Certificate, s.TLS.Key)
			f := checkup.Finding{Check: "certificate", Subject: s.TLS.Certificate}
			if err != nil {
				f.State, f.Said = checkup.Wrong, err.Error()
				f.Cause = "The certificate's files cannot be read; clients get the one that was read last, if there was one."
				f.Remedy = "Put certificate and key in their places, readable for the gateway's user."
			} else {
				f = certificateEnd(f, pair.Leaf, now, "Renew it: whatever made the file has not done so in time.")
			}
			out = append(out, f)
		}
	}
	if !managed {
		return out
	}
	f := checkup.Finding{Check: "certificate", Subject: app.Hostname}
	var leaves []*x509.Certificate
	for _, c := range caddytls.AllMatchingCertificates(app.Hostname) {
		if c.Leaf != nil {
			leaves = append(leaves, c.Leaf)
		}
	}
	if len(leaves) == 0 {
		f.State, f.Said = checkup.Wrong, "there is none"
		f.Cause = "Caddy has no certificate for `hostname` yet, so that every TLS connection of a client fails."
		f.Remedy = "See the log for 'obtain': ports 80 and 443 must be reachable from the internet for a public name, or its DNS provider be configured."
		return append(out, f)
	}
	last := slices.MaxFunc(leaves, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
	return append(out, certificateEnd(f, last, now, "Caddy should have renewed it: see the log for 'renew', and the way from the internet to ports 80 and 443."))
}

// certificateEnd judges by the certificate's own length: Caddy's internal ones
// live for 12 hours and are renewed when a third is left.
func certificateEnd(f checkup.Finding, leaf *x509.Certificate, now time.Time, remedy string) checkup.Finding {
	left, life := leaf.NotAfter.Sub(now), leaf.NotAfter.Sub(leaf.NotBefore)
	f.State, f.Said = checkup.OK, fmt.Sprintf("for %s, until %s", strings.Join(names(leaf), ", "), leaf.NotAfter.UTC().Format(time.RFC3339))
	switch {
	case left <= 0:
		f.State, f.Cause, f.Remedy = checkup.Wrong, "The certificate has expired: clients that check it refuse the gateway.", remedy
	case now.Before(leaf.NotBefore):
		f.State, f.Cause, f.Remedy = checkup.Wrong, "The certificate is not valid yet: the gateway's clock may be behind.", "Set the clock."
	case left < life/6:
		f.State, f.Cause, f.Remedy = checkup.Warning, "The certificate ends soon and has not been renewed.", remedy
	}
	return f
}

func names(leaf *x509.Certificate) []string {
	out := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		out = append(out, ip.String())
	}
	if len(out) == 0 {
		out = append(out, leaf.Subject.CommonName)
	}
	return out
}

// notUsed is said of what may be right or wrong: nothing has asked it yet.
func notUsed(f checkup.Finding) checkup.Finding {
	f.State, f.Said = checkup.Unknown, "not used yet since the gateway started"
	f.Cause = "No message and no test has needed it yet, so that nothing is known of it."
	f.Remedy = invoked.Words("Run `caddy smtp test ACCOUNT` for an account that needs it, or send a test mail from the console.")
	return f
}

// examineUpstreams looks at what messages have found out about the upstreams.
func examineUpstreams(ctx context.Context, app *upstreamapp.App) (out []checkup.Finding) {
	for _, u := range app.Status() {
		f := checkup.Finding{Check: "upstream", Subject: u.Name, State: checkup.OK, Said: "it answered last"}
		switch u.Contact {
		case relay.ContactNone:
			f = notUsed(f)
		case relay.ContactFailed:
			f.State, f.Said = checkup.Unknown, "the last attempt to reach "+u.Dial+" failed"
			f.Cause = "The upstream was away once, which may have passed."
			f.Remedy = invoked.Words("Run `caddy smtp test ACCOUNT` for one of its accounts: it is tried again with the next message too.")
		case "":
			f.Said = "nothing speaks against it"
		}
		if e, ok := explain.Of(u.Refused); ok && u.Refused != "" {
			f.State, f.Said = checkup.Wrong, "connections to "+u.Dial+" are refused: "+u.Refused
			f.Cause, f.Remedy = e.Cause, e.Remedy
		} else if u.Breaker == "open" || u.Breaker == "half_open" {
			f.State, f.Said = checkup.Wrong, "connections to "+u.Dial+" fail"
			f.Cause = "The upstream cannot be reached, or greets with an error; messages for it hear 451."
			f.Remedy = "Check network, DNS and firewall (the provider's port must be open outwards), and the provider's own status page. It is tried again by itself."
		}
		out = append(out, f)
	}
	return append(out, app.Examine(ctx)...)
}

// elsewhere are the replies that stand for troubles with findings of their own.
var elsewhere = []string{
	"", relay.ReplyTokenUnavailable.Error(), relay.ReplyReauthRequired.Error(),
}

// maxScanned bounds the accounts that are asked for their last login.
const maxScanned = 20_000

// examineLogins looks for accounts that their provider does not let in.
func examineLogins(app *upstreamapp.App, dir *accounts.Directory) (out []checkup.Finding) {
	after := ""
	for seen := 0; seen < maxScanned; {
		page, next := dir.List(accounts.Filter{}, after, 1000)
		for _, a := range page {
			if a.Paused {
				continue
			}
			st, err := app.AccountStatus(a)
			if err != nil || st.Connections.Busy+st.Connections.Idle > 0 {
				continue
			}
			if _, refused := verified.of(a, acceptedOf(a)); refused != "" {
				st.LastError = refused // by a test, if no message has been
			}
			if slices.Contains(elsewhere, st.LastError) || passing(st.LastError) {
				continue
			}
			f := checkup.Finding{Check: "login", Subject: a.Upstream, Account: a.Name, State: checkup.Wrong}
			f.Cause = "The provider does not let the account in."
			f.Remedy = invoked.Words("`caddy smtp test ") + a.Name + "` says where it fails, and in whose words."
			about := explain.About{Account: a.Name, Mailbox: cmp.Or(a.Mailbox, a.Name)}
			if x, ok := about.Of(st.LastError); ok {
				f.Cause, f.Remedy = x.Cause, x.Remedy
			}
			out = append(out, f)
		}
		seen += len(page)
		if next == "" || len(page) == 0 {
			break
		}
		after = next
	}
	return out
}
