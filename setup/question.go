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
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/internal/form"
)

// Question asks for one answer.
type Question struct {
	// Name is that of the flag and of the field: `client-id`.
	Name string
	// Text is the question, Help a sentence beneath it.
	Text, Help string
	// Choices are the only answers, if there are any.
	Choices []string
	// Default is taken where nothing is answered; empty: an answer is needed.
	Default string

	field func(*Answers) *string
	check func(string) error
	// clean takes what is meant out of what was pasted.
	clean func(string) string
	// among looks at the answer beside the others.
	among func(a *Answers, answer string) error
}

// Get returns the answer that is there.
func (q *Question) Get(a *Answers) string { return *q.field(a) }

// Clear takes the answer back.
func (q *Question) Clear(a *Answers) { *q.field(a) = "" }

// Set checks an answer and takes it. The error says what is wrong with it.
func (q *Question) Set(a *Answers, text string) error {
	text = pasted(text)
	if text == "" {
		text = q.Default
	}
	if q.Choices != nil {
		text = q.choice(text)
	}
	if q.clean != nil {
		text = q.clean(text)
	}
	switch {
	case text == "":
		return errors.New("an answer is needed")
	case q.Choices != nil && !slices.Contains(q.Choices, text):
		return fmt.Errorf("'%s' is none of %s", text, strings.Join(q.Choices, ", "))
	case q.check != nil:
		if err := q.check(text); err != nil {
			return err
		}
	}
	if q.among != nil {
		if err := q.among(a, text); err != nil {
			return err
		}
	}
	*q.field(a) = text
	return nil
}

// pasted is a text without what comes along with it: blanks of any kind, quotes,
// and characters that are not seen.
func pasted(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, s)
	return strings.TrimFunc(s, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune("\"'`“”„‘’", r) })
}

// otherNames are what providers and ways are called elsewhere.
var otherNames = map[string]string{
	"office365": string(Microsoft), "microsoft365": string(Microsoft), "m365": string(Microsoft), "o365": string(Microsoft), "outlook": string(Microsoft),
	"outlook.com": string(Microsoft), "hotmail": string(Microsoft), "live": string(Microsoft),
	"exchange": string(Microsoft), "exchangeonline": string(Microsoft), "entra": string(Microsoft), "azure": string(Microsoft),
	"gmail": string(Google), "workspace": string(Google), "googleworkspace": string(Google), "gsuite": string(Google),
	"apponly": string(App), "application": string(App), "administrator": string(App), "admin": string(App), "owner": string(User), "delegated": string(User),
	"private": string(Personal), "consumer": string(Personal), "consumers": string(Personal), "msgraph": string(Graph), "microsoftgraph": string(Graph),
	"smtpauth": string(SMTP), "ssl": "implicit", "ssl/tls": "implicit", "465": "implicit", "587": "starttls",
}

// choice is which of the choices is meant: by its number, whatever its capitals, by
// its beginning, or by another name.
func (q *Question) choice(text string) string {
	text = strings.ToLower(strings.NewReplacer(" ", "", "-", "", "_", "").Replace(text))
	if n, err := strconv.Atoi(text); err == nil && n >= 1 && n <= len(q.Choices) {
		return q.Choices[n-1]
	}
	if name := otherNames[text]; slices.Contains(q.Choices, name) {
		return name
	}
	var begun []string
	for _, c := range q.Choices {
		if text != "" && strings.HasPrefix(c, text) {
			begun = append(begun, c)
		}
	}
	if len(begun) == 1 {
		return begun[0]
	}
	return text
}

// checkWord reports what may not stand in a Caddyfile as it is: a blank, a quote or
// a brace of any kind, what no screen shows, octets that are no UTF-8, and what
// begins as an option or a comment does.
func checkWord(s string) error {
	strange := func(r rune) bool {
		return r == utf8.RuneError || !unicode.IsPrint(r) || strings.ContainsRune(" \"'`{}\\#<>;$“”„‟«»‘’‚", r)
	}
	if s == "" || len(s) > 500 || s[0] == '-' || s[0] == '/' || strings.ContainsFunc(s, strange) {
		return fmt.Errorf("'%s' has blanks, quotes or braces in it", s)
	}
	return nil
}

func checkAddress(s string) error {
	addr, err := mail.ParseAddress(s)
	if err != nil || addr.Address != s || checkWord(s) != nil {
		return fmt.Errorf("'%s' is no mail address such as scanner@example.com", s)
	}
	// Its account is made by this name, and sends as it.
	if err := cmp.Or(accounts.CheckNewName(s), accounts.CheckSender(s)); err != nil {
		return fmt.Errorf("'%s' %w", s, err)
	}
	return nil
}

func checkDial(s string) error {
	if checkWord(s) != nil || form.Dial.Check(s) != nil {
		return fmt.Errorf("'%s' is no host and port such as smtp.example.com:587", s)
	}
	return nil
}

func checkURL(s string) error {
	if checkWord(s) != nil || form.URL.Check(s) != nil {
		return fmt.Errorf("'%s' is no address such as https://login.example.com/token", s)
	}
	return nil
}

func checkFile(s string) error {
	if strings.ContainsAny(s, "`{}\"\n\r") {
		return fmt.Errorf("'%s' has quotes or braces in it", s)
	}
	f, err := os.Open(s) //nolint:gosec // the operator's own
	if err != nil {
		return err
	}
	return f.Close()
}

// bareAddress is the address of "Name <address>".
func bareAddress(s string) string {
	if a, err := mail.ParseAddress(s); err == nil {
		return a.Address
	}
	return strings.TrimPrefix(strings.Trim(s, "<>"), "mailto:")
}

// bareHost is the name within what a browser's address line has.
func bareHost(s string) string {
	if _, rest, ok := strings.Cut(s, "://"); ok {
		s, _, _ = strings.Cut(rest, "/")
	}
	return strings.TrimSuffix(s, ".")
}

func checkHost(s string) error {
	if _, port, err := net.SplitHostPort(s); err == nil {
		return fmt.Errorf("'%s' has a port: the name alone is wanted, devices are told port %s elsewhere", s, port)
	}
	if strings.ContainsAny(s, "*_@") || checkWord(s) != nil || form.Hostname.Check(s) != nil {
		return fmt.Errorf("'%s' is no name such as mail.example.com", s)
	}
	return nil
}

func checkTenant(s string) error {
	if _, domain, ok := strings.Cut(s, "@"); ok {
		return fmt.Errorf("'%s' is a mail address: the domain alone is wanted, as in %s", s, domain)
	}
	if !form.IsGUID(s) && !strings.Contains(s, ".") || checkWord(s) != nil || form.Tenant.Check(s) != nil {
		return fmt.Errorf("'%s' is neither a domain such as contoso.onmicrosoft.com nor a directory ID", s)
	}
	return nil
}

func checkGUID(s string) error {
	if strings.Contains(s, "~") && len(s) > 30 {
		return errors.New("that looks like a client secret's value, which is asked for later and not shown; here the ID is wanted")
	}
	if !form.IsGUID(s) {
		return fmt.Errorf("'%s' is no id such as 00000000-0000-0000-0000-000000000000", s)
	}
	return nil
}

// Questions are those that the answers so far lead to, in their order. Some
// appear only when others are answered.
func Questions(a *Answers) []Question {
	qs := []Question{
		{
			Name: "provider", Text: "Whose mailboxes send?", Choices: []string{string(Microsoft), string(Google), string(Other)},
			field: func(a *Answers) *string { return (*string)(&a.Provider) },
		},
	}
	ways := Question{
		Name: "way", Text: "Who lets the gateway send?", Help: "app: an administrator, once. user: each mailbox's owner, in a browser.",
		Choices: []string{string(App), string(User)}, Default: string(App), field: func(a *Answers) *string { return (*string)(&a.Way) },
	}
	client := Question{
		Name: "client-id", Text: "The application's client ID", check: checkWord, field: func(a *Answers) *string { return &a.ClientID },
	}
	switch a.Provider {
	case Microsoft:
		client.Text, client.Help, client.check = "Application (client) ID", "On the application's overview page in the Entra admin center.", checkGUID
		client.among = func(a *Answers, answer string) error {
			if strings.EqualFold(answer, a.Tenant) {
				return errors.New("that is the directory (tenant) ID; the application (client) ID stands beside it")
			}
			return nil
		}
		ways.Help += " personal: the owner of an Outlook.com or Hotmail mailbox."
		ways.Choices = []string{string(App), string(User), string(Personal)}
		if qs = append(qs, ways); a.Way == Personal {
			qs = append(qs, client)
			break
		}
		qs = append(qs,
			Question{
				Name: "transport", Text: "How does mail leave?",
				Help:    "smtp: SMTP AUTH, which keeps all of a message. graph: Microsoft Graph, where SMTP AUTH is off and stays off.",
				Choices: []string{string(SMTP), string(Graph)}, Default: string(SMTP), field: func(a *Answers) *string { return (*string)(&a.Transport) },
			},
			Question{Name: "tenant", Text: "The tenant", Help: "Its domain (contoso.onmicrosoft.com) or its directory ID.", check: checkTenant, field: func(a *Answers) *string { return &a.Tenant }},
			client)
		if a.Way == App {
			qs = append(qs, Question{
				Name: "object-id", Text: "Object ID of the enterprise application",
				Help: "Enterprise applications, the application, Object ID: not the one on the registration's page.", check: checkGUID,
				among: func(a *Answers, answer string) error {
					if strings.EqualFold(answer, a.ClientID) || strings.EqualFold(answer, a.Tenant) {
						return errors.New("that is the application's client ID or the tenant's; the object ID is another, on the page of the enterprise application")
					}
					return nil
				},
				field: func(a *Answers) *string { return &a.ObjectID },
			})
		}
	case Google:
		qs = append(qs, ways)
		switch a.Way {
		case App:
			qs = append(qs, Question{Name: "key-file", Text: "The service account's key, a JSON file", check: checkFile, field: func(a *Answers) *string { return &a.KeyFile }})
		case User:
			client.Help = "Of an OAuth client of the type Desktop app."
			qs = append(qs, client)
		}
	case Other:
		ways.Default, ways.Choices = string(User), []string{string(User)}
		qs = append(qs, ways,
			Question{Name: "dial", Text: "The provider's submission server", Help: "Host and port: smtp.example.com:587.", check: checkDial, field: func(a *Answers) *string { return &a.Dial }},
			Question{Name: "tls", Text: "How it does TLS", Help: "starttls is usual on 587, implicit on 465.", Choices: []string{"starttls", "implicit"}, Default: "starttls", field: func(a *Answers) *string { return &a.TLS }},
			Question{Name: "token-url", Text: "The token endpoint", check: checkURL, field: func(a *Answers) *string { return &a.TokenURL }},
			Question{Name: "auth-url", Text: "The authorization endpoint", check: checkURL, field: func(a *Answers) *string { return &a.AuthURL }},
			client)
	default:
		return qs
	}
	host, _ := os.Hostname()
	if checkWord(host) != nil {
		host = ""
	}
	return append(qs,
		Question{Name: "mailbox", Text: "The first mailbox that sends", check: checkAddress, among: ofTenant, clean: bareAddress, field: func(a *Answers) *string { return &a.Mailbox }},
		Question{Name: "to", Text: "Where the test mail goes", Default: a.Mailbox, check: checkAddress, clean: bareAddress, field: func(a *Answers) *string { return &a.To }},
		Question{
			Name: "hostname", Text: "The name by which devices reach this machine", Help: "A public name gets a certificate that devices trust by itself; localhost: only programs of this machine.",
			Default: host, check: checkHost, clean: bareHost, field: func(a *Answers) *string { return &a.Hostname },
		})
}

// ofTenant refuses a mailbox that no tenant has.
func ofTenant(a *Answers, mailbox string) error {
	if a.Provider == Microsoft && a.Way != Personal && (explain.About{Mailbox: mailbox}).Personal() {
		return fmt.Errorf("'%s' is a personal mailbox, which no tenant has: go back, and answer personal to who lets the gateway send", mailbox)
	}
	return nil
}

// Options are answers that nobody is asked for, and that some need.
func Options() []Question {
	return []Question{
		{Name: "scopes", Text: "Scopes to ask for, of another provider", field: func(a *Answers) *string { return &a.Scopes }, check: func(s string) error {
			for scope := range strings.FieldsSeq(s) {
				if err := checkWord(scope); err != nil {
					return err
				}
			}
			return nil
		}},
		{Name: "dial", Text: "The provider's submission server, if it is another", check: checkDial, field: func(a *Answers) *string { return &a.Dial }},
		{Name: "token-url", Text: "The token endpoint, if it is another", check: checkURL, field: func(a *Answers) *string { return &a.TokenURL }},
		{Name: "auth-url", Text: "The authorization endpoint, if it is another", check: checkURL, field: func(a *Answers) *string { return &a.AuthURL }},
		{Name: "graph-url", Text: "Microsoft Graph, if it is at another address", check: checkURL, field: func(a *Answers) *string { return &a.GraphURL }},
		{Name: "ca-file", Text: "Certificates to trust the provider by, in PEM", check: checkFile, field: func(a *Answers) *string { return &a.CAFile }},
	}
}

// All are the questions of every way, for flags.
func All() []Question {
	var all []Question
	seen := make(map[string]bool)
	for _, a := range []Answers{{Provider: Microsoft, Way: App}, {Provider: Google, Way: App}, {Provider: Google, Way: User}, {Provider: Other}} {
		for _, q := range append(Questions(&a), Options()...) {
			if !seen[q.Name] {
				seen[q.Name] = true
				all = append(all, q)
			}
		}
	}
	return all
}

// Missing returns the first question that has no valid answer yet.
func Missing(a *Answers) (Question, bool) {
	for _, q := range Questions(a) {
		trial := *a
		if q.Get(a) == "" || q.Set(&trial, q.Get(a)) != nil {
			return q, true
		}
	}
	return Question{}, false
}
