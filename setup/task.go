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
	"fmt"
	"strings"
)

// Task is a step that the operator does at the provider.
type Task struct {
	// Title names it in a few words.
	Title string
	// Steps say where to click, one after the other.
	Steps []string
	// Commands are to be pasted into Shell, with the answers filled in.
	Shell    string
	Commands []string
	// Note says what is often missed; may be empty.
	Note string
	// Page is the provider's own page.
	Page string
}

// filled is an answer, or what stands for it until it is given.
func filled(answer, stand string) string {
	if answer == "" {
		return stand
	}
	return answer
}

// redirects says what to register.
func redirects(a *Answers) string {
	list := a.Redirects()
	if len(list) == 1 {
		return ": " + list[0]
	}
	return "s: " + strings.Join(list, " and ")
}

// quoted makes a value one word of PowerShell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// Tasks are the steps at the provider. It is asked again as answers come: what is
// not answered yet stands in capitals. docs/microsoft365.md and docs/google.md have
// the same with the reasons.
func Tasks(a *Answers) []Task {
	switch {
	case a.Graph():
		return graphTasks(a)
	case a.Provider == Microsoft && a.Way == App:
		return microsoftApp(a)
	case a.Provider == Microsoft:
		return microsoftUser(a)
	case a.Provider == Google && a.Way == App:
		return googleApp(a)
	case a.Provider == Google:
		return googleUser(a)
	}
	return []Task{{
		Title: "Register the gateway with the provider",
		Steps: []string{
			"Register an application (\"OAuth client\") with the provider; its redirect URI" + redirects(a) + ".",
			"Note its client ID and its secret, the token and the authorization endpoint, and the scope for sending by SMTP: if it wants one, begin anew with `smtp setup --scopes SCOPE`.",
		},
	}}
}

// https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth
const microsoftPage = "https://entra.microsoft.com"

func enableAuth(a *Answers) Task {
	return Task{
		Title: "Let the mailbox use authenticated SMTP", Shell: "PowerShell",
		Commands: []string{
			"Connect-ExchangeOnline",
			fmt.Sprintf("Set-CASMailbox -Identity %s -SmtpClientAuthenticationDisabled $false", quoted(filled(a.Mailbox, "MAILBOX"))),
		},
		Note: "The switch stops OAuth too (535 5.7.139). It takes some minutes to arrive. Where it has to stay off, go back and choose Microsoft Graph (`--transport graph`).",
		Page: "https://admin.exchange.microsoft.com",
	}
}

func microsoftApp(a *Answers) []Task {
	object, mailbox := quoted(filled(a.ObjectID, "OBJECT_ID")), quoted(filled(a.Mailbox, "MAILBOX"))
	return []Task{
		{
			Title: "Register the application", Page: microsoftPage,
			Steps: []string{
				"App registrations, New registration: a name such as mailgateway, single tenant, no redirect URI.",
				"Note the Application (client) ID and the Directory (tenant) ID.",
				"Certificates & secrets, New client secret: copy its Value, not its ID. It is shown once.",
				"API permissions, Add, APIs my organization uses, Office 365 Exchange Online, Application permissions, SMTP.SendAsApp; then Grant admin consent.",
				"Enterprise applications, the application: note its Object ID.",
			},
			Note: "The object ID is the enterprise application's, not the registration's: the usual mistake.",
		},
		{
			Title: "Let it into the mailbox", Shell: "PowerShell",
			Commands: []string{
				"Connect-ExchangeOnline",
				fmt.Sprintf("New-ServicePrincipal -AppId %s -ObjectId %s -DisplayName mailgateway", quoted(filled(a.ClientID, "CLIENT_ID")), object),
				fmt.Sprintf("Add-MailboxPermission -Identity %s -User %s -AccessRights FullAccess", mailbox, object),
			},
			Note: "It takes from minutes to two hours to arrive.",
			Page: "https://admin.exchange.microsoft.com",
		},
		enableAuth(a),
	}
}

func microsoftUser(a *Answers) []Task {
	return []Task{
		{
			Title: "Register the application", Page: microsoftPage,
			Steps: []string{
				"App registrations, New registration: a name such as mailgateway, single tenant; of the type Web the redirect URI" + redirects(a) + ".",
				"Note the Application (client) ID and the Directory (tenant) ID.",
				"Certificates & secrets, New client secret: copy its Value, not its ID. It is shown once.",
				"API permissions, Add, Microsoft Graph, Delegated permissions: SMTP.Send, offline_access, openid, email.",
			},
		},
		enableAuth(a),
	}
}

// graphTasks are the steps for Microsoft Graph. docs/transports.md has the script with
// the reasons.
func graphTasks(a *Answers) []Task {
	register := Task{
		Title: "Register the application", Page: microsoftPage,
		Steps: []string{
			"App registrations, New registration: a name such as mailgateway, single tenant, no redirect URI.",
			"Note the Application (client) ID and the Directory (tenant) ID.",
			"Certificates & secrets, New client secret: copy its Value, not its ID. It is shown once.",
			"API permissions: none. What it may do comes from Exchange, in the next step; Mail.Send granted here would open every mailbox of the tenant.",
			"Enterprise applications, the application: note its Object ID.",
		},
		Note: "The object ID is the enterprise application's, not the registration's: the usual mistake.",
	}
	if a.Way == App {
		return []Task{register, applicationScript(a)}
	}
	kind, ids, profile := "single tenant", "the Application (client) ID and the Directory (tenant) ID", ""
	register.Note = "Owners may agree to Mail.Send themselves unless the tenant forbids it; then an administrator presses Grant admin consent there."
	if a.Way == Personal {
		kind, ids, profile = "Personal Microsoft accounts only", "the Application (client) ID", ", User.Read"
		register.Note = "Registering takes a directory, which any Microsoft account gets with a free Azure account; the mailbox may be another account's."
	}
	register.Steps = []string{
		"App registrations, New registration: a name such as mailgateway, " + kind + "; of the type Web the redirect URI" + redirects(a) + ".",
		"Note " + ids + ".",
		"Certificates & secrets, New client secret: copy its Value, not its ID. It is shown once.",
		"API permissions, Add, Microsoft Graph, Delegated permissions: Mail.Send" + profile + ", offline_access, openid, email, profile. It can send mail, and cannot read any.",
	}
	return []Task{register}
}

// applicationScript lets the application send from the mailboxes that carry its mark, and
// from no others
// (https://learn.microsoft.com/exchange/permissions-exo/application-rbac).
func applicationScript(a *Answers) Task {
	app, object, mailbox := quoted(filled(a.ClientID, "CLIENT_ID")), quoted(filled(a.ObjectID, "OBJECT_ID")), quoted(filled(a.Mailbox, "MAILBOX"))
	return Task{
		Title: "Let it send from the mailbox, and from no other", Shell: "PowerShell",
		Commands: []string{
			"Connect-ExchangeOnline",
			fmt.Sprintf("New-ServicePrincipal -AppId %s -ObjectId %s -DisplayName mailgateway", app, object),
			`New-ManagementScope -Name mailgateway -RecipientRestrictionFilter "CustomAttribute1 -eq 'mailgateway'"`,
			fmt.Sprintf(`New-ManagementRoleAssignment -App %s -Role "Application Mail.Send" -CustomResourceScope mailgateway`, app),
			"# Only if it is to send by SMTP as well:",
			fmt.Sprintf(`# New-ManagementRoleAssignment -App %s -Role "Application SMTP.SendAsApp" -CustomResourceScope mailgateway`, app),
			"# Each mailbox that it may send from:",
			fmt.Sprintf("Set-Mailbox -Identity %s -CustomAttribute1 mailgateway", mailbox),
			"# Application Mail.Send, InScope True:",
			fmt.Sprintf("Test-ServicePrincipalAuthorization -Identity %s -Resource %s", app, mailbox),
		},
		Note: "It takes from 30 minutes to two hours to arrive. Where CustomAttribute1 has another use, take another of the fifteen in both lines. Mail.Send or SMTP.SendAsApp among the application's API permissions in Entra makes the scope void: remove it there.",
		Page: "https://admin.exchange.microsoft.com",
	}
}

// https://developers.google.com/identity/protocols/oauth2/service-account
func googleApp(a *Answers) []Task {
	return []Task{
		{
			Title: "Make a service account", Page: "https://console.cloud.google.com",
			Steps: []string{
				"A project; APIs & services, enable the Gmail API.",
				"IAM & Admin, Service accounts, Create: it needs no role. Note its unique ID, a number.",
				"Keys, Add key, JSON: keep the file where the gateway can read it, and nothing else can.",
			},
		},
		{
			Title: "Let it act for the domain", Page: "https://admin.google.com",
			Steps: []string{
				"Security, Access and data control, API controls, Domain-wide delegation, Add new.",
				"Client ID: the unique ID. Scope: https://mail.google.com/",
			},
			Note: "It takes minutes to a day to arrive. It may then use every mailbox of " + filled(domainOf(a.Mailbox), "the domain") +
				"; the line `senders` in the configuration is what narrows it.",
		},
	}
}

func domainOf(address string) string {
	_, domain, _ := strings.Cut(address, "@")
	return domain
}

func googleUser(a *Answers) []Task {
	kind := "type Desktop app"
	if a.Redirect != "" {
		kind = "type Web application, Authorized redirect URI: " + a.Redirect
	}
	return []Task{{
		Title: "Make an OAuth client", Page: "https://console.cloud.google.com",
		Steps: []string{
			"A project; APIs & services, enable the Gmail API.",
			"OAuth consent screen: Internal if you have Workspace. External while in Testing ends each consent after 7 days.",
			"Credentials, Create credentials, OAuth client ID, " + kind + ". Note its client ID and secret.",
		},
	}}
}
