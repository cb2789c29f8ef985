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

package card

// Vendor is what the menus of a maker's devices call the lines of a card. Names of menus
// differ between models; these are the ones that most have.
type Vendor struct {
	Name, Menu string
	Lines      [][2]string
	Note       string
}

// Vendors are the makers' words for one of our servers.
func Vendors(w Way) []Vendor {
	security := func(starttls, implicit, none string) string {
		switch w.TLS {
		case tlsWords["starttls"]:
			return starttls
		case tlsWords["implicit"]:
			return implicit
		}
		return none
	}
	return []Vendor{
		{
			Name: "HP", Menu: "Embedded Web Server: Scan, Email Setup, Outgoing Email Servers (SMTP)",
			Lines: [][2]string{
				{"Server name", w.Host},
				{"Port number", w.Port},
				{"Enable SMTP SSL Protocol", security("on", "on", "off")},
				{"Server requires authentication", "on: always use these credentials"},
			},
		},
		{
			Name: "Canon", Menu: "Remote UI: Settings/Registration, TX Settings, Network Settings, E-Mail/I-Fax Settings",
			Lines: [][2]string{
				{"SMTP Server", w.Host}, {"SMTP TX port", w.Port}, {"Allow TLS (SMTP TX)", security("on", "on", "off")}, {"Authentication Before Send", "SMTP AUTH, not POP"},
			},
		},
		{
			Name: "Brother", Menu: "Web Based Management: Network, Protocol, SMTP",
			Lines: [][2]string{
				{"SMTP Server Address", w.Host}, {"Port", w.Port}, {"SSL/TLS", security("TLS (STARTTLS)", "SSL", "None")}, {"SMTP Server Authentication Method", "SMTP-AUTH"},
			},
		},
		{
			Name: "Kyocera", Menu: "Command Center RX: Function Settings, E-mail",
			Lines: [][2]string{
				{"SMTP Server Name", w.Host}, {"SMTP Port Number", w.Port}, {"SMTP Security", security("STARTTLS", "SSL/TLS", "Off")}, {"Authentication Protocol", "On"},
			},
		},
		{
			Name: "Ricoh", Menu: "Web Image Monitor: Device Management, Configuration, E-mail",
			Lines: [][2]string{
				{"SMTP Server Name", w.Host}, {"SMTP Port No.", w.Port}, {"Use Secure Connection (SSL)", security("on, with STARTTLS", "on", "off")}, {"SMTP Authentication", "On"},
			},
		},
		{
			Name: "Xerox", Menu: "Web page of the device: Properties, Connectivity, Protocols, SMTP (Email)",
			Lines: [][2]string{
				{"SMTP Server", w.Host}, {"SMTP Port", w.Port}, {"Connection Security", security("STARTTLS", "SSL/TLS", "None")}, {"SMTP Authentication", "System"},
			},
		},
		{
			Name: "Synology", Menu: "DSM: Control Panel, Notification, Email",
			Lines: [][2]string{
				{"Service provider", "Custom SMTP server"}, {"SMTP server", w.Host}, {"SMTP port", w.Port}, {"Secure connection (SSL/TLS) is required", security("on", "on", "off")},
			},
		},
		{
			Name: "Other devices and programs",
			Lines: [][2]string{
				{"SMTP server, outgoing server, mail host", w.Host},
				{"Port", w.Port},
				{"Security, encryption", security("STARTTLS, or \"TLS\"", "SSL, SSL/TLS, or \"implicit\"", "none")},
				{"Authentication", "LOGIN, PLAIN or \"password\"; not OAuth"},
			},
			Note: "The sender's address must be one that the account may use; the account's own is always right.",
		},
	}
}
