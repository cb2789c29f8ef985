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

package setup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddymail/mailgateway/internal/form"
)

// stateName is the file of the answers, so that setup can be taken up again.
const stateName = "setup.json"

// Load returns the answers of an earlier run in the directory, none if there was
// none.
func Load(dir string) (a Answers, found bool, err error) {
	name := filepath.Join(dir, stateName)
	text, err := os.ReadFile(name) //nolint:gosec // the operator's own
	if errors.Is(err, fs.ErrNotExist) {
		return a, false, nil
	}
	if err != nil {
		return a, false, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&a); err != nil {
		return Answers{}, false, fmt.Errorf("%s: %w", name, err)
	}
	if a.Provider == Microsoft && a.Transport == "" && a.Tenant != "" {
		a.Transport = SMTP // of a version that knew no other
	}
	return a, true, nil
}

// Save keeps the answers.
func Save(dir string, a *Answers) error {
	text, err := json.MarshalIndent(a, "", "\t")
	if err != nil {
		return err
	}
	return write(filepath.Join(dir, stateName), append(text, '\n'))
}

// HasSecret reports whether the client secret is kept already.
func HasSecret(dir string, a *Answers) bool {
	st, err := os.Stat(SecretFile(dir, a))
	return err == nil && st.Size() > 0
}

// SaveSecret keeps the client secret in a file of its own.
func SaveSecret(dir string, a *Answers, secret string) error {
	secret = strings.TrimSpace(secret)
	if err := CheckSecret(secret); err != nil {
		return err
	}
	if err := os.MkdirAll(credentials(dir), 0o700); err != nil {
		return err
	}
	return write(SecretFile(dir, a), []byte(secret))
}

// CarrySecret takes the secret along where answers that were changed are about the same
// application: it was shown once, and may be lost.
func CarrySecret(dir string, before, now *Answers) error {
	if now.ClientID == "" || now.ClientID != before.ClientID || now.Provider != before.Provider || HasSecret(dir, now) || !HasSecret(dir, before) {
		return nil
	}
	secret, err := Secret(dir, before)
	if err != nil {
		return err
	}
	return SaveSecret(dir, now, secret)
}

// Secret is the client secret that was kept.
func Secret(dir string, a *Answers) (string, error) {
	text, err := os.ReadFile(SecretFile(dir, a))
	return string(text), err
}

// CheckSecret refuses what can be no client secret.
func CheckSecret(secret string) error {
	switch {
	case secret == "":
		return errors.New("the secret is empty")
	case strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("the secret has characters that no secret has")
	case form.IsGUID(secret):
		return errors.New("that is the secret's ID; its value is needed, which is shown once when it is made")
	}
	return nil
}

// SaveKey keeps the key of a service account, and says where in the answers.
func SaveKey(dir string, a *Answers, key string) error {
	var k struct {
		Type        string `json:"type"`
		ClientEmail string `json:"client_email"`
		PrivateKey  string `json:"private_key"`
	}
	if json.Unmarshal([]byte(key), &k) != nil || k.Type != "service_account" || k.ClientEmail == "" || !strings.Contains(k.PrivateKey, "PRIVATE KEY") {
		return errors.New("that is no JSON key of a service account")
	}
	if err := os.MkdirAll(credentials(dir), 0o700); err != nil {
		return err
	}
	if err := write(KeyFile(dir, a), []byte(key)); err != nil {
		return err
	}
	a.KeyFile = KeyFile(dir, a)
	return nil
}

// Config returns the configuration that is in the directory, empty if there is none.
func Config(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, ConfigName)) //nolint:gosec // the operator's own
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

// SaveConfig writes the configuration. It replaces one only if it may.
func SaveConfig(dir, text string, replace bool) error {
	name := filepath.Join(dir, ConfigName)
	if _, err := os.Lstat(name); err == nil && !replace {
		return fmt.Errorf("%s: %w", name, fs.ErrExist)
	}
	return write(name, []byte(text))
}

// write replaces a file as a whole.
func write(name string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
