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
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/relay"
)

// Reach implements relay.Reacher: requests without a token and without a message,
// on the way that messages take. Any answer will do.
func (u *Upstream) Reach(ctx context.Context) (said string, err error) {
	var all []string
	for _, at := range append([]string{u.Endpoint}, u.Also...) {
		ans, err := u.do(ctx, request{method: http.MethodGet, url: at})
		if err != nil {
			return "", err
		}
		text := fmt.Sprintf("%s: HTTP %d", at, ans.Status)
		if ans.by != "" {
			text += ", certificate by '" + ans.by + "'"
		}
		all = append(all, text)
	}
	return strings.Join(all, "; "), nil
}

// connected says what a proxy refused: net/http tells the words of its status alone.
func connected(_ context.Context, _ *url.URL, _ *http.Request, ans *http.Response) error {
	if ans.StatusCode == http.StatusOK {
		return nil
	}
	return fmt.Errorf("the proxy answers HTTP %d to CONNECT", ans.StatusCode)
}

// trouble says why a request has no answer: whom it was for, and whose certificate it
// was that was not trusted. The request's URL is left out.
func trouble(req *http.Request, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	e, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok || len(e.UnverifiedCertificates) == 0 {
		return fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	return fmt.Errorf("%s: %w (the certificate is by '%s')", req.URL.Host, err, issuer(e.UnverifiedCertificates[0]))
}

// issuer is whose certificate it is, for people.
func issuer(c *x509.Certificate) string {
	return printable.Text(cmp.Or(c.Issuer.CommonName, c.Issuer.String()))
}

// complaintEvery is how often the same trouble is told.
const complaintEvery = time.Minute

// complaints are what was said in the log of late, so that each message of an outage
// is not a line.
type complaints struct {
	mu   sync.Mutex
	said map[string]time.Time
}

// due reports whether a text shall be told: not if it was of late, with other ports.
func (c *complaints) due(text string) bool {
	text = strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.said[text]; ok && now.Sub(at) < complaintEvery {
		return false
	}
	if c.said == nil || len(c.said) >= 64 {
		c.said = make(map[string]time.Time)
	}
	c.said[text] = now
	return true
}

// unreached says in the log why nothing of a message left.
func (u *Upstream) unreached(account string, err error) {
	if u.complaints.due(err.Error()) {
		u.Logger.Warn("the provider's API is not reached: nothing of the message has left",
			zap.String("upstream", u.name), zap.String("account", account), zap.Error(err))
	}
}

// verdict is what an answer means.
func (u *Upstream) verdict(account string, ans *Answer) Verdict {
	v := u.Read(ans)
	if !v.Elsewhere {
		return v
	}
	v.Reply = relay.ReplyAPIElsewhere(ans.Status)
	if u.complaints.due(v.Reply.Error()) {
		to := ""
		if at, err := url.Parse(ans.Header.Get("Location")); err == nil {
			to = at.Host
		}
		u.Logger.Warn("what answered is not the provider's API, but something on the way or another endpoint",
			zap.String("upstream", u.name), zap.String("account", account), zap.Int("status", ans.Status), zap.String("location", to),
			zap.String("content_type", ans.Header.Get("Content-Type")), zap.String("server", ans.Header.Get("Server")), zap.String("certificate_by", ans.by))
	}
	return v
}
