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

package console

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/operate"
)

// device is one password of an account: each device has one of its own, so that one can
// be taken away without the others noticing. What it is called lies in the account's
// labels, under deviceLabel and its id: every source of accounts keeps labels, and
// nothing depends on them.
type device struct{ ID, Name, Kind string }

const (
	deviceLabel = "device:"
	// maxDeviceName is in characters, as browsers count them.
	maxDeviceName = 60
)

// kindWords say what kind of password a hash is of.
var kindWords = map[string]string{"sha256": "made by the gateway", "bcrypt": "chosen", "argon2id": "chosen"}

// deviceID names a password hash. It is a digest of a hash: nothing follows from it.
func deviceID(hash string) string {
	sum := sha256.Sum256([]byte("device\x00" + hash))
	return hex.EncodeToString(sum[:6])
}

// devicesOf are the passwords of an account, in the order in which they were made.
func devicesOf(a *accounts.Account) []device {
	list := make([]device, 0, len(a.PasswordHashes))
	for _, hash := range a.PasswordHashes {
		id := deviceID(hash)
		list = append(list, device{id, a.Labels[deviceLabel+id], kindWords[password.Algorithm(hash)]})
	}
	return list
}

// ownLabels are the labels that are no names of devices.
func ownLabels(a *accounts.Account) map[string]string {
	labels := maps.Clone(a.Labels)
	maps.DeleteFunc(labels, func(k, _ string) bool { return strings.HasPrefix(k, deviceLabel) })
	return labels
}

// editable reports whether an account's source takes changes: one from a file or from the
// configuration is changed there.
func editable(dir *accounts.Directory, a *accounts.Account) bool {
	for _, s := range dir.Sources() {
		if s.Name == a.Source {
			return s.Editable
		}
	}
	return true // whoever edits is told
}

// changeTries is how often a change is begun anew because another came between.
const changeTries = 5

// patch makes a change that follows from what the account is, whatever comes between.
func (v *visit) patch(change func(*accounts.Account) (map[string]any, error)) (*accounts.Account, error) {
	for try := 1; ; try++ {
		dir, a, err := v.account()
		if err != nil {
			return nil, err
		}
		fields, err := change(a)
		if err != nil {
			return nil, err
		}
		body, err := json.Marshal(fields)
		if err != nil {
			return nil, err
		}
		c, err := dir.Patch(v.r.Context(), a.Name, body, accounts.Condition{Versions: []string{a.Version()}})
		if errors.Is(err, accounts.ErrPrecondition) && try < changeTries {
			continue
		}
		return c.Account, err
	}
}

// deviceName reads the name of a device from the form. It may be empty.
func (v *visit) deviceName() (string, error) {
	name := strings.TrimSpace(v.r.PostForm.Get("device"))
	if utf8.RuneCountInString(name) > maxDeviceName || strings.ContainsFunc(name, unicode.IsControl) {
		return "", refuseField("device", "Want up to %d characters of text in one line, such as 'Printer, 2nd floor'.", maxDeviceName)
	}
	return name, nil
}

// labelPatch names a password's device in a patch, and takes the names of others away.
func labelPatch(fields map[string]any, hash, name string, gone ...string) {
	labels := make(map[string]any)
	for _, g := range gone {
		labels[deviceLabel+deviceID(g)] = nil
	}
	if name != "" {
		labels[deviceLabel+deviceID(hash)] = name
	}
	if len(labels) > 0 {
		fields["labels"] = labels
	}
}

// newPassword gives a device a password of its own, or replaces all, and shows it on
// the card.
func newPassword(v *visit) error {
	name, err := v.deviceName()
	if err != nil {
		return err
	}
	plain, hash := password.Generate()
	replace := v.r.PostForm.Get("replace") != ""
	a, err := v.patch(func(a *accounts.Account) (map[string]any, error) {
		fields := map[string]any{"password_hashes": append(slices.Clone(a.PasswordHashes), hash)}
		if replace {
			fields["password_hashes"] = []string{hash}
			labelPatch(fields, hash, name, a.PasswordHashes...)
		} else {
			labelPatch(fields, hash, name)
		}
		return fields, nil
	})
	if err != nil {
		return err
	}
	v.did("password made", zap.String("account", a.Name), zap.String("device", name), zap.Bool("replaces_others", replace))
	return v.leaveToCard(a, plain, hash)
}

// leaveToCard goes to the card of a device, which shows its password once.
func (v *visit) leaveToCard(a *accounts.Account, plain, hash string) error {
	if err := v.keepSecret(a.Name, "password", plain); err != nil {
		return err
	}
	http.Redirect(v.w, v.r, v.h.URL+"/accounts/"+pathOf(a.Name)+"/card?"+url.Values{"device": {deviceID(hash)}}.Encode(), http.StatusSeeOther)
	return nil
}

// patchDevice changes the password that the path names. The change is told which of the
// account's it is.
func (v *visit) patchDevice(change func(a *accounts.Account, i int) map[string]any) (*accounts.Account, device, error) {
	id, was := v.r.PathValue("id"), device{}
	a, err := v.patch(func(a *accounts.Account) (map[string]any, error) {
		i := slices.IndexFunc(a.PasswordHashes, func(h string) bool { return deviceID(h) == id })
		if i < 0 {
			return nil, refuse(http.StatusNotFound, "This password is gone already.")
		}
		was = devicesOf(a)[i]
		return change(a, i), nil
	})
	return a, was, err
}

// renameDevice calls a device something else. Its password stays.
func renameDevice(v *visit) error {
	name, err := v.deviceName()
	if err != nil {
		return err
	}
	a, was, err := v.patchDevice(func(a *accounts.Account, i int) map[string]any {
		fields := map[string]any{}
		labelPatch(fields, a.PasswordHashes[i], name, a.PasswordHashes[i])
		return fields
	})
	if err != nil {
		return err
	}
	v.did("device renamed", zap.String("account", a.Name), zap.String("device", name), zap.String("before", was.Name))
	return v.leave("accounts", a.Name)
}

// renewDevice gives a device another password in the place of the one it has, which is
// good no longer.
func renewDevice(v *visit) error {
	plain, hash := password.Generate()
	a, was, err := v.patchDevice(func(a *accounts.Account, i int) map[string]any {
		hashes := slices.Clone(a.PasswordHashes)
		hashes[i] = hash
		fields := map[string]any{"password_hashes": hashes}
		labelPatch(fields, hash, a.Labels[deviceLabel+deviceID(a.PasswordHashes[i])], a.PasswordHashes[i])
		return fields
	})
	if err != nil {
		return err
	}
	v.did("password replaced", zap.String("account", a.Name), zap.String("device", was.Name), zap.String("password", was.ID))
	return v.leaveToCard(a, plain, hash)
}

// removeDevice takes a device's password away. What it has open ends before its next
// message.
func removeDevice(v *visit) error {
	a, gone, err := v.patchDevice(func(a *accounts.Account, i int) map[string]any {
		fields := map[string]any{"password_hashes": slices.Delete(slices.Clone(a.PasswordHashes), i, i+1)}
		labelPatch(fields, "", "", a.PasswordHashes[i])
		return fields
	})
	if err != nil {
		return err
	}
	v.did("password removed", zap.String("account", a.Name), zap.String("device", gone.Name), zap.String("password", gone.ID))
	return v.leave("accounts", a.Name)
}

// deviceRow is one password on the page of all devices.
type deviceRow struct {
	Account string
	device
}

// devicePage is what the page of devices shows.
type devicePage struct {
	Query string
	Rows  []deviceRow
	Next  string
}

// showDevices lists the devices of all accounts.
func showDevices(v *visit) error {
	dir, err := operate.Directory()
	if err != nil {
		return err
	}
	query := v.r.URL.Query()
	p := devicePage{Query: strings.TrimSpace(query.Get("q"))}
	word := strings.ToLower(p.Query)
	has := func(a *accounts.Account, d device) bool {
		return word == "" || strings.Contains(strings.ToLower(a.Name), word) || strings.Contains(strings.ToLower(d.Name), word)
	}
	f := accounts.Filter{Match: func(a *accounts.Account) bool {
		return slices.ContainsFunc(devicesOf(a), func(d device) bool { return has(a, d) })
	}}
	list, next := dir.List(f, query.Get("after"), pageSize)
	for _, a := range list {
		for _, d := range devicesOf(a) {
			if has(a, d) {
				p.Rows = append(p.Rows, deviceRow{a.Name, d})
			}
		}
	}
	if next != "" {
		p.Next = "?" + url.Values{"q": {p.Query}, "after": {next}}.Encode()
	}
	return v.show(http.StatusOK, "devices", "devices", "Devices", p)
}
