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

// Package record makes an account's record from the flags of a command.
package record

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/internal/invoked"
)

// Flags are the fields of an account as flags.
type Flags struct {
	upstream, mailbox, sourceIP     string
	hashes, senders, labels         []string
	refreshTokenFile, secretFile    string
	maxConns                        int
	rate, messagesPer, recipientsIn string
	paused                          bool
	spool, reports                  string
}

// Register adds the flags to a command.
func (rf *Flags) Register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&rf.upstream, "upstream", "", "Upstream that carries the account's mail")
	f.StringVar(&rf.mailbox, "mailbox", "", "Identity at the provider (default: the name)")
	f.StringArrayVar(&rf.hashes, "password-hash", nil, invoked.Words("Hash of a password, as 'caddy hash-password' prints it; may be repeated"))
	f.StringVar(&rf.refreshTokenFile, "refresh-token-file", "", "File with the refresh token, - for standard input")
	f.StringVar(&rf.secretFile, "secret-file", "", "File with the password at the provider, - for standard input")
	f.StringArrayVar(&rf.senders, "sender", nil, "Address or *@DOMAIN that MAIL FROM may say; may be repeated")
	f.StringArrayVar(&rf.labels, "label", nil, "Label KEY=VALUE; may be repeated")
	f.StringVar(&rf.sourceIP, "source-ip", "", "Local address of the account's upstream connections")
	f.IntVar(&rf.maxConns, "max-conns", 0, "Upstream connections at a time")
	f.StringVar(&rf.rate, "rate", "", "Messages in a short period, as in 30/1m")
	f.StringVar(&rf.messagesPer, "messages", "", "Messages in a long period, as in 2000/24h")
	f.StringVar(&rf.recipientsIn, "recipients", "", "Recipients in a long period, as in 10000/24h")
	f.StringVar(&rf.spool, "spool", "", "Keep what the provider does not take now: on, always or off (default: the server's)")
	f.StringVar(&rf.reports, "reports", "", "Address that is told of kept messages that could not be delivered")
	f.BoolVar(&rf.paused, "paused", false, "Refuse logins and messages")
}

// Fields are the record's fields that were given.
func (rf *Flags) Fields(cmd *cobra.Command) (map[string]any, error) {
	fields := make(map[string]any)
	limits := make(map[string]any)
	given := cmd.Flags().Changed
	for flag, set := range map[string]func() error{
		"upstream":      func() error { fields["upstream"] = rf.upstream; return nil },
		"mailbox":       func() error { fields["mailbox"] = rf.mailbox; return nil },
		"password-hash": func() error { fields["password_hashes"] = rf.hashes; return nil },
		"sender":        func() error { fields["senders"] = rf.senders; return nil },
		"source-ip":     func() error { fields["source_ip"] = rf.sourceIP; return nil },
		"spool":         func() error { fields["spool"] = rf.spool; return nil },
		"reports":       func() error { fields["reports"] = rf.reports; return nil },
		"paused":        func() error { fields["paused"] = rf.paused; return nil },
		"max-conns":     func() error { limits["max_conns"] = rf.maxConns; return nil },
		"rate":          func() error { limits["rate"] = rf.rate; return nil },
		"messages":      func() error { limits["messages"] = rf.messagesPer; return nil },
		"recipients":    func() error { limits["recipients"] = rf.recipientsIn; return nil },
		"refresh-token-file": func() (err error) {
			fields["refresh_token"], err = readSecret(cmd, rf.refreshTokenFile)
			return err
		},
		"secret-file": func() (err error) {
			fields["secret"], err = readSecret(cmd, rf.secretFile)
			return err
		},
		"label": func() error {
			labels := make(map[string]string)
			for _, label := range rf.labels {
				key, value, ok := strings.Cut(label, "=")
				if !ok {
					return fmt.Errorf("want KEY=VALUE, got %q", label)
				}
				labels[key] = value
			}
			fields["labels"] = labels
			return nil
		},
	} {
		if !given(flag) {
			continue
		}
		if err := set(); err != nil {
			return nil, fmt.Errorf("flag --%s: %w", flag, err)
		}
	}
	if len(limits) > 0 {
		fields["limits"] = limits
	}
	return fields, nil
}

// readSecret reads a secret from a file or from standard input, without the
// line end.
func readSecret(cmd *cobra.Command, path string) (string, error) {
	var content []byte
	var err error
	if path == "-" {
		content, err = io.ReadAll(cmd.InOrStdin())
	} else {
		content, err = os.ReadFile(path)
	}
	if err != nil {
		return "", err
	}
	secret := string(bytes.TrimSpace(content))
	if secret == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return secret, nil
}
