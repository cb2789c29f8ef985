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
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/internal/printable"
)

// webhook posts digests. Its address is a secret: whoever knows a Slack
// address may write to the channel.
type webhook struct {
	address string
	format  string // json, slack or teams
	client  *http.Client
}

func newWebhook(address, format string) *webhook {
	return &webhook{address: address, format: format, client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// later is an error of a server that has said when to ask again.
type later struct {
	error
	after time.Duration
}

// Unwrap returns the error.
func (l *later) Unwrap() error { return l.error }

// unwanted reports whether a server says with a status that it will not take what was
// posted, however often: it has another idea of what a message may be.
func unwanted(status int) bool {
	return status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge || status == http.StatusUnprocessableEntity
}

// send posts a digest, and one that the server does not take once more as its title: the
// trouble is told all the same, and what waits behind it is not held up.
func (w *webhook) send(ctx context.Context, d digest) error {
	head := printable.Cut(title(d), maxWords)
	status, err := w.post(ctx, w.body(head, d))
	if unwanted(status) && w.format != "json" {
		short := digest{more: len(d.notices) + d.more}
		if _, again := w.post(ctx, w.body(head, short)); again == nil {
			return nil
		}
	}
	return err
}

// post returns the status that the server has answered, 0 without one.
func (w *webhook) post(ctx context.Context, content any) (status int, err error) {
	body, err := json.Marshal(content)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.address, bytes.NewReader(body))
	if err != nil {
		return 0, errors.New("webhook: the address is no URL")
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := w.client.Do(req)
	if err != nil {
		// The error of package http names the address.
		if outer, ok := errors.AsType[*url.Error](err); ok {
			err = outer.Err
		}
		return 0, fmt.Errorf("webhook: %w", err)
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // the connection is used again
	_ = resp.Body.Close()
	return resp.StatusCode, refused(resp)
}

// refused is the error of an answer that is not one of success. What the server says may
// repeat its address or the message, so that only its status is told.
func refused(resp *http.Response) error {
	var why string
	switch status := resp.StatusCode; {
	case status/100 == 2:
		return nil
	case status/100 == 3:
		why = ", a redirect, which is not followed: set the address that it leads to"
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		why = ": the address is not, or no longer, allowed to post"
	case status == http.StatusNotFound, status == http.StatusGone:
		why = ": the webhook is not there, or no longer: make another one"
	case unwanted(status):
		why = ": it does not take this form: see format"
	case status == http.StatusTooManyRequests:
		why = ": too many posts"
	}
	err := fmt.Errorf("webhook: status %d%s", resp.StatusCode, why)
	if after, ok := retryAfter(resp.Header.Get("Retry-After"), time.Now()); ok {
		return &later{err, after}
	}
	return err
}

// retryAfter reads a header Retry-After (RFC 9110 section 10.2.3): seconds or a date.
func retryAfter(s string, now time.Time) (time.Duration, bool) {
	if n, err := strconv.ParseFloat(strings.TrimSpace(s), 64); err == nil && n >= 0 {
		return time.Duration(min(n, retryMax.Seconds()) * float64(time.Second)), true
	}
	if at, err := http.ParseTime(s); err == nil {
		return min(max(at.Sub(now), 0), retryMax), true
	}
	return 0, false
}

const (
	// slackRoom is about what Slack shows as one message, of 4,000 letters at most.
	slackRoom = 3500
	// teamsRoom leaves room for what a card is made of: Teams takes 28 KB in all, some
	// say 21 KB, and JSON makes six octets of some.
	teamsRoom = 12 << 10
)

// body is a digest in the form of the webhook.
func (w *webhook) body(title string, d digest) any {
	switch w.format {
	case "slack":
		// Slack reads <!channel> and links in text that is not escaped, and without
		// mrkdwn no letter of a name means anything.
		words := title + "\n\n" + strings.Join(paragraphs(d, slackRoom), "\n\n")
		return map[string]any{"text": strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(words), "mrkdwn": false}
	case "teams":
		// An Adaptive Card, which the workflows of Teams take as the connectors before
		// them did. A RichTextBlock knows no Markdown, in which names mean something
		// else, and a line end is nothing.
		blocks := []any{block(title, "Bolder", "Default")}
		for _, p := range paragraphs(d, teamsRoom) {
			head, rest, _ := strings.Cut(p, "\n")
			blocks = append(blocks, block(head, "Default", "Medium"))
			for line := range strings.SplitSeq(rest, "\n") {
				if line = strings.TrimSpace(line); line != "" {
					blocks = append(blocks, block(line, "Lighter", "None"))
				}
			}
		}
		card := map[string]any{
			"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
			"body": blocks, "fallbackText": title,
		}
		return map[string]any{"type": "message", "attachments": []any{map[string]any{
			"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": nil, "content": card,
		}}}
	default:
		return struct {
			Title   string   `json:"title"`
			Notices []Notice `json:"notices"`
			More    int      `json:"more,omitempty"`
		}{title, d.notices, d.more}
	}
}

func block(words, weight, spacing string) map[string]any {
	run := map[string]any{"type": "TextRun", "text": words, "weight": weight}
	return map[string]any{"type": "RichTextBlock", "spacing": spacing, "inlines": []any{run}}
}
