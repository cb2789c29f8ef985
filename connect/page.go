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

package connect

import (
	"embed"
	"errors"
	"html/template"
	"net/http"
	"time"

	"github.com/caddymail/mailgateway/internal/generation"
)

//go:embed pages
var files embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"day": func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
}).ParseFS(files, "pages/*.html"))

// page is what a page shows.
type page struct {
	// Kind is the page's: the template of that name.
	Kind string
	// Base is where the pages are, Name and Contact the handler's.
	Base, Name, Contact string
	Token               string
	Invitation          *Invitation
	Outcome             outcome

	Provider string
	Scopes   []string
	// Revoke is where the owner takes the consent back.
	Revoke   string
	AdminURL string
	Next     string
}

// titles are those of the pages, by kind.
var titles = map[string]string{
	"invited": "Connect your mailbox", "leaving": "One moment", "done": "Your mailbox is connected",
	"wrong_account": "That was another account", "needs_admin": "An administrator has to agree first",
	"scope": "A permission is missing", "no_refresh_token": "The consent was not complete", "declined": "Nothing was connected",
	"no_identity": "The provider did not say who you are", "unidentified": "This provider does not say who you are", "failed": "That did not work",
	"expired": "This invitation has expired", "used": "This invitation has been used", "unknown": "There is no such invitation",
	"void": "This invitation is no longer valid", "lost": "Your browser came back without its invitation",
	"admin_done": "Thank you", "admin_refused": "No approval was given", "busy": "Too many requests", "trouble": "Something is wrong here",
}

// Title is the page's heading.
func (p page) Title() string { return titles[p.Kind] }

// Failed reports whether the page is about something that went wrong.
func (p page) Failed() bool {
	return p.Kind != "invited" && p.Kind != "leaving" && p.Kind != "done" && p.Kind != "admin_done"
}

// Owner is who is to consent.
func (p page) Owner() string { return p.Invitation.Owner() }

// revokeAt is where owners see and take back what they have consented to.
var revokeAt = map[string]string{
	"google":    "https://myaccount.google.com/connections",
	"microsoft": "https://myapps.microsoft.com",
	"yahoo":     "https://login.yahoo.com/myaccount/security",
	"fastmail":  "https://app.fastmail.com/settings/security",
}

func providerTitle(kind, name string) string {
	switch kind {
	case "google":
		return "Google"
	case "microsoft":
		return "Microsoft"
	case "yahoo":
		return "Yahoo"
	case "aol":
		return "AOL"
	case "fastmail":
		return "Fastmail"
	}
	return name
}

func (h *Handler) show(w http.ResponseWriter, r *http.Request, status int, p page) error {
	p.Base, p.Name, p.Contact = h.URL, h.Name, h.Contact
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return nil
	}
	return pages.ExecuteTemplate(w, "page", p)
}

// fileTypes are the files beside the pages.
var fileTypes = map[string]string{"connect.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}

// serveFile serves one of them.
func serveFile(w http.ResponseWriter, r *http.Request, name string) error {
	content, err := files.ReadFile("pages/" + name)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", fileTypes[name])
	if r.Method == http.MethodHead {
		return nil
	}
	_, err = w.Write(content) //nolint:gosec // one of our own
	return err
}

// Site is where invitations lead to, for what makes them.
type Site struct {
	// URL is the handler's.
	URL string
	// Expires is how long an invitation is good for by default.
	Expires      time.Duration
	Unidentified bool
	Invitations  Invitations
}

// Link is the address of an invitation.
func (s Site) Link(token string) string { return s.URL + "/i/" + token }

// ErrNoSite says that no site of the configuration has the pages.
var ErrNoSite = errors.New("no site of the configuration has `smtp_connect`, which the links lead to")

// Current returns the site of the running configuration; of several, the one that
// was set up last.
func Current() (Site, error) {
	s, ok := sites.Current()
	if !ok {
		return Site{}, ErrNoSite
	}
	return *s, nil
}

// sites are the handlers that are set up. During a reload there are those of
// two configurations.
var sites generation.Stack[*Site]
