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

package tokenstore

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/oauthtoken/authserver"
)

const recordVersion = 1

// Record is what the store holds of one account. The access token is there
// so that restarts stay warm and two processes share one request; it adds no
// secret to a record that holds the refresh token, which is the stronger one.
type Record struct {
	Version int `json:"version"`
	// Seq counts the writes: of two records the one with more is newer.
	Seq uint64 `json:"seq"`
	// Follows is the number of the durable record that one beside it is newer
	// than; it is not in that itself.
	Follows uint64 `json:"follows,omitempty"`
	// Subject is the account, for the keep-alive, which starts from the
	// store alone; the storage key is only its digest.
	Subject string `json:"subject"`
	// Provider and Mailbox say whose record it is. One without a mailbox is
	// of a version that kept records by account: Subject is then its name.
	Provider string `json:"provider,omitempty"`
	Mailbox  string `json:"mailbox,omitempty"`
	// Owner is who consented, as far as an ID token said.
	Owner *authserver.Identity `json:"owner,omitempty"`
	// ClientID is the client that the refresh token was issued to.
	ClientID string `json:"client_id,omitempty"`

	RefreshToken string `json:"refresh_token,omitempty"`
	// Seeds are fingerprints of configured seed tokens, the last is the one
	// that this token descends from. The others came before: they are no
	// new consent when a session of an older configuration shows them.
	Seeds []string `json:"seeds,omitempty"`
	// Login is when the consent came from `caddy smtp login` and no
	// configured seed has been seen since.
	Login bool `json:"login,omitempty"`

	AccessToken string    `json:"access_token,omitempty"`
	Expiry      time.Time `json:"expiry,omitzero"`
	Obtained    time.Time `json:"obtained,omitzero"`
	// Access are the access tokens for other scopes than the provider's own.
	Access map[string]StoredAccess `json:"access,omitempty"`
	// Rotates says that the server has issued a new refresh token before.
	Rotates bool `json:"rotates,omitempty"`
	// Spares are consents of other accounts of the mailbox, kept until the
	// one above has proved good.
	Spares []Spare `json:"spares,omitempty"`
	// Taken are fingerprints of the refresh tokens of the accounts whose own
	// records became part of this one, until those are deleted: what is left
	// of them is no consent of its own.
	Taken map[string]string `json:"taken,omitempty"`

	Consent        time.Time `json:"consent,omitzero"`
	LastRefresh    time.Time `json:"last_refresh,omitzero"`
	LastUsed       time.Time `json:"last_used,omitzero"`
	RefreshExpires time.Time `json:"refresh_expires,omitzero"`

	// Failed is why a human is needed; nil otherwise.
	Failed *RecordError `json:"failed,omitempty"`
	// Refused is a configured seed that the server refused. The token above
	// is of another consent, and is left alone.
	Refused *RefusedSeed `json:"refused,omitempty"`
}

// StoredAccess is an access token at rest.
type StoredAccess struct {
	AccessToken string    `json:"access_token"`
	Obtained    time.Time `json:"obtained,omitzero"`
	Expiry      time.Time `json:"expiry,omitzero"`
}

// Spare is a consent that is not in use.
type Spare struct {
	Account      string   `json:"account"`
	ClientID     string   `json:"client_id,omitempty"`
	RefreshToken string   `json:"refresh_token"`
	Seeds        []string `json:"seeds,omitempty"`
}

// RefusedSeed is a seed that is not asked for again.
type RefusedSeed struct {
	Seed string `json:"seed"` // fingerprint
	RecordError
}

// RecordError is an Error at rest.
type RecordError struct {
	// ClientID is who was refused: another client may fare better.
	ClientID    string    `json:"client_id,omitempty"`
	Code        string    `json:"code,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	Subtype     string    `json:"subtype,omitempty"`
	Description string    `json:"description,omitempty"`
	At          time.Time `json:"at,omitzero"`
}

// MaxSeeds bounds the history of fingerprints.
const MaxSeeds = 16

// Fingerprint is a salted digest of a seed token.
func Fingerprint(seed string) string {
	var salt [8]byte
	_, _ = rand.Read(salt[:])
	return fingerprintWith(salt[:], seed)
}

func fingerprintWith(salt []byte, seed string) string {
	h := sha256.New()
	h.Write(salt)
	h.Write([]byte(seed))
	return hex.EncodeToString(salt) + "$" + hex.EncodeToString(h.Sum(nil)[:16])
}

func fingerprintMatches(fp, seed string) bool {
	s, _, ok := strings.Cut(fp, "$")
	salt, err := hex.DecodeString(s)
	if !ok || err != nil {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(fingerprintWith(salt, seed)), []byte(fp)) == 1
}

// SeedIs says how a configured seed stands to the record.
type SeedIs uint8

const (
	SeedCurrent SeedIs = iota // the record descends from it, or there is none
	SeedOld                   // the record descends from a later one
	SeedNew                   // never seen: a new consent
)

// ObjectID is Microsoft's object ID of the mailbox's own user, who consented; empty
// if that is not known.
func ObjectID(owner *authserver.Identity) string {
	if owner == nil || !owner.Own || owner.Tenant == "" {
		return ""
	}
	return owner.Subject
}

// Consented is who consented; nil if that is not known.
func (r *Record) Consented() *authserver.Identity {
	if r == nil {
		return nil
	}
	return r.Owner
}

// SeedIs reports what a configured seed is to the record.
func (r *Record) SeedIs(seed string) SeedIs {
	if seed == "" || len(r.Seeds) == 0 && r.Login {
		// A configured seed that was there before the login is no newer
		// than the login.
		return SeedCurrent
	}
	for i, fp := range slices.Backward(r.Seeds) {
		if fingerprintMatches(fp, seed) {
			if i == len(r.Seeds)-1 {
				return SeedCurrent
			}
			return SeedOld
		}
	}
	return SeedNew
}

// Refuses returns why the server does not want this seed from this client.
func (r *Record) Refuses(seed, clientID string) *authserver.Error {
	if r.Refused == nil || r.Refused.ClientID != clientID || !fingerprintMatches(r.Refused.Seed, seed) {
		return nil
	}
	return r.Refused.Err()
}

// LoggedIn makes a refresh token that a human has just consented to the
// record's. Configured seeds seen so far are older than it.
func (r *Record) LoggedIn(refresh, clientID string, now time.Time) {
	if r.Refused != nil {
		r.Seeds = append(r.Seeds, r.Refused.Seed)
	}
	r.RefreshToken, r.ClientID, r.Login = refresh, clientID, true
	r.AccessToken, r.Expiry, r.RefreshExpires, r.Access = "", time.Time{}, time.Time{}, nil
	r.Spares, r.Rotates = nil, false
	r.Consent, r.LastRefresh = now, now
	r.Failed, r.Refused = nil, nil
}

// AddSeed makes seed the one that the record descends from.
func (r *Record) AddSeed(seed string) {
	r.Seeds = slices.DeleteFunc(r.Seeds, func(fp string) bool { return fingerprintMatches(fp, seed) })
	if len(r.Seeds) >= MaxSeeds {
		r.Seeds = r.Seeds[len(r.Seeds)-MaxSeeds+1:]
	}
	r.Seeds = append(r.Seeds, Fingerprint(seed))
}

// Clone returns a copy that can be changed.
func (r *Record) Clone() *Record {
	c := *r
	c.Seeds, c.Spares, c.Access, c.Taken = slices.Clone(r.Seeds), slices.Clone(r.Spares), maps.Clone(r.Access), maps.Clone(r.Taken)
	return &c
}

// Take notes that the record of an account has become part of this one.
func (r *Record) Take(account string, old *Record) {
	if r.Taken == nil {
		r.Taken = map[string]string{}
	}
	r.Taken[account] = Fingerprint(old.RefreshToken)
}

// Took reports whether an account's record is part of this one already.
func (r *Record) Took(account string, old *Record) bool {
	fp, ok := r.Taken[account]
	return ok && fingerprintMatches(fp, old.RefreshToken)
}

// Whose is whose record it is: the mailbox, or in records of an earlier
// version the account.
func (r *Record) Whose() string {
	if r.Mailbox != "" {
		return r.Mailbox
	}
	return r.Subject
}

// errDamaged is a record that cannot be read and never will be: a new consent
// may replace it.
var errDamaged = errors.New("the token record is damaged")

// placed reports what is wrong with a record that lies at another's place: a
// grant must never serve another mailbox, sealed or not.
func (r *Record) placed(key string) error {
	at := StorageKey(r.Provider, r.Whose())
	if path.Base(at) != path.Base(key) || r.Provider != "" && path.Dir(at) != path.Dir(key) {
		return fmt.Errorf("%w: it belongs to another mailbox or provider (%s)", errDamaged, authserver.Sanitize(r.Provider+" "+r.Whose()))
	}
	return nil
}

// DecodeRecord reads a record, sealed or not.
func DecodeRecord(s *Sealer, storageKey string, b []byte) (*Record, error) {
	if isSealed(b) {
		var err error
		if b, err = s.open(storageKey, b); err != nil {
			return nil, err
		}
	}
	r := new(Record)
	if err := json.Unmarshal(b, r); err != nil {
		// The decoder's message may quote the content.
		return nil, fmt.Errorf("%w: it is not valid JSON", errDamaged)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("token record has version %d, this program knows %d", r.Version, recordVersion)
	}
	return r, nil
}

func isSealed(b []byte) bool {
	var probe struct {
		Alg string `json:"alg"`
	}
	return json.Unmarshal(b, &probe) == nil && probe.Alg != ""
}

// EncodeRecord returns what is stored, sealed where there is a sealer.
func EncodeRecord(s *Sealer, storageKey string, r *Record) ([]byte, error) {
	r.Version = recordVersion
	b, err := json.Marshal(r)
	if err != nil || s == nil {
		return b, err
	}
	return s.seal(storageKey, b)
}

// AccessFor returns the stored access token of a set of scopes.
func (r *Record) AccessFor(key string) (token string, obtained, expiry time.Time) {
	if key == "" {
		if r.Obtained.IsZero() { // of an earlier version
			return r.AccessToken, r.LastRefresh, r.Expiry
		}
		return r.AccessToken, r.Obtained, r.Expiry
	}
	a := r.Access[key]
	return a.AccessToken, a.Obtained, a.Expiry
}

// SetAccess keeps an access token, and drops those that have expired.
func (r *Record) SetAccess(key, token string, obtained, expiry time.Time) {
	for k, a := range r.Access {
		if a.Expiry.Before(obtained) {
			delete(r.Access, k)
		}
	}
	if key == "" {
		r.AccessToken, r.Expiry, r.Obtained = token, expiry, obtained
		return
	}
	if r.Access == nil {
		r.Access = map[string]StoredAccess{}
	}
	r.Access[key] = StoredAccess{AccessToken: token, Obtained: obtained, Expiry: expiry}
}

// Err is why a human is needed, as it was told first.
func (r *RecordError) Err() *authserver.Error {
	return &authserver.Error{Code: r.Code, Reason: r.Reason, Subtype: r.Subtype, Description: r.Description, Class: authserver.ClassReauth}
}
