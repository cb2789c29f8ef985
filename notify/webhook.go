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
	"net/http"
	"net/url"
	"strings"
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

func (w *webhook) send(ctx context.Context, d digest) error {
	body, err := json.Marshal(w.body(d))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.address, bytes.NewReader(body))
	if err != nil {
		return errors.New("webhook: the address is no URL")
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := w.client.Do(req)
	if err != nil {
		// The error of package http names the address.
		if outer, ok := errors.AsType[*url.Error](err); ok {
			err = outer.Err
		}
		return fmt.Errorf("webhook: %w", err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("webhook: status %d", resp.StatusCode)
	}
	return nil
}

func (w *webhook) body(d digest) any {
	words := title(d) + "\n\n" + text(d)
	switch w.format {
	case "slack":
		// Slack reads <!channel> and links in text that is not escaped.
		return map[string]string{"text": strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(words)}
	case "teams":
		block := map[string]any{"type": "TextBlock", "wrap": true, "text": words}
		card := map[string]any{"type": "AdaptiveCard", "version": "1.4", "body": []any{block}}
		return map[string]any{"type": "message", "attachments": []any{map[string]any{
			"contentType": "application/vnd.microsoft.card.adaptive", "content": card,
		}}}
	default:
		return struct {
			Title   string   `json:"title"`
			Notices []Notice `json:"notices"`
			More    int      `json:"more,omitempty"`
		}{title(d), d.notices, d.more}
	}
}
