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

package sandbox

import (
	"encoding/base64"
	"strconv"
)

// profile is a provider's manners: what it announces and the words it uses.
// The words are those of public transcripts.
type profile struct {
	name       string
	hostname   string
	maxSize    int64
	dsn        bool
	mechanisms string

	banner, helo, mail, rcpt, data, quit string
	accepted                             string
	authOK, authRequired                 string
	// challenge says whether a failed XOAUTH2 is explained by a 334 that
	// the client completes, or refused outright.
	challenge    bool
	authFailed   string
	tooLong      string
	sendAs       string
	quota        string
	challengeErr string
}

var profiles = map[string]*profile{
	"generic": {
		name:         "generic",
		hostname:     "sandbox.localhost",
		maxSize:      50 << 20,
		dsn:          true,
		mechanisms:   "PLAIN LOGIN XOAUTH2 OAUTHBEARER",
		banner:       "220 sandbox.localhost ESMTP sandbox ready",
		helo:         "sandbox.localhost greets you",
		mail:         "250 2.1.0 Sender ok",
		rcpt:         "250 2.1.5 Recipient ok",
		data:         "354 End data with <CR><LF>.<CR><LF>",
		quit:         "221 2.0.0 Bye",
		accepted:     "250 2.0.0 Ok: kept as ",
		authOK:       "235 2.7.0 Authentication successful",
		authRequired: "530 5.7.0 Authentication required",
		challenge:    true,
		authFailed:   "535 5.7.8 Authentication credentials invalid",
		tooLong:      "500 5.5.6 Line too long",
		sendAs:       "550 5.7.60 Not allowed to send as this sender",
		quota:        "550 5.4.5 Daily user sending limit exceeded",
		challengeErr: `{"status":"401","schemes":"Bearer","scope":"smtp"}`,
	},
	"google": {
		name:         "google",
		hostname:     "smtp.gmail.com",
		maxSize:      35882577,
		mechanisms:   "LOGIN PLAIN XOAUTH2 PLAIN-CLIENTTOKEN OAUTHBEARER XOAUTH",
		banner:       "220 smtp.gmail.com ESMTP 5b1f17b1804b1-43sandbox - gsmtp",
		helo:         "smtp.gmail.com at your service, [127.0.0.1]",
		mail:         "250 2.1.0 OK 5b1f17b1804b1-43sandbox - gsmtp",
		rcpt:         "250 2.1.5 OK 5b1f17b1804b1-43sandbox - gsmtp",
		data:         "354 Go ahead 5b1f17b1804b1-43sandbox - gsmtp",
		quit:         "221 2.0.0 closing connection 5b1f17b1804b1-43sandbox - gsmtp",
		accepted:     "250 2.0.0 OK  1700000000 5b1f17b1804b1-43sandbox - gsmtp ",
		authOK:       "235 2.7.0 Accepted",
		authRequired: "530-5.7.0 Authentication Required. For more information, go to\r\n530 5.7.0  https://support.google.com/mail/?p=WantAuthError 5b1f17b1804b1-43sandbox - gsmtp",
		challenge:    true,
		authFailed:   "535-5.7.8 Username and Password not accepted. For more information, go to\r\n535 5.7.8  https://support.google.com/mail/?p=BadCredentials 5b1f17b1804b1-43sandbox - gsmtp",
		tooLong:      "500 5.5.1 Line too long. 5b1f17b1804b1-43sandbox - gsmtp",
		sendAs:       "550 5.7.60 Not allowed to send as this sender",
		quota:        "550-5.4.5 Daily user sending limit exceeded. For more information on Gmail\r\n550 5.4.5 sending limits go to https://support.google.com/a/answer/166852 - gsmtp",
		challengeErr: `{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`,
	},
	"microsoft": {
		name:         "microsoft",
		hostname:     "FR0P281CA0101.outlook.office365.com",
		maxSize:      157286400,
		dsn:          true,
		mechanisms:   "LOGIN XOAUTH2",
		banner:       "220 FR0P281CA0101.outlook.office365.com Microsoft ESMTP MAIL Service ready at Mon, 1 Jan 2024 00:00:00 +0000",
		helo:         "FR0P281CA0101.outlook.office365.com Hello [127.0.0.1]",
		mail:         "250 2.1.0 Sender OK",
		rcpt:         "250 2.1.5 Recipient OK",
		data:         "354 Start mail input; end with <CRLF>.<CRLF>",
		quit:         "221 2.0.0 Service closing transmission channel",
		accepted:     "250 2.0.0 OK <sandbox@FR0P281CA0101.outlook.office365.com> [Hostname=FR0P281MB0001.DEUP281.PROD.OUTLOOK.COM] ",
		authOK:       "235 2.7.0 Authentication successful",
		authRequired: "530 5.7.57 Client not authenticated to send mail. [FR0P281CA0101.DEUP281.PROD.OUTLOOK.COM]",
		authFailed:   "535 5.7.3 Authentication unsuccessful [FR0P281CA0101.DEUP281.PROD.OUTLOOK.COM]",
		tooLong:      "500 5.3.3 Line too long",
		sendAs:       "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
		quota:        "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message due to a permanent exception with message The message can't be submitted because the sender's submission quota was exceeded.",
	},
}

// ehlo is the reply to EHLO in one state of TLS.
func (st *settings) ehlo(secure bool) string {
	p := st.profile
	lines := []string{p.helo, "SIZE " + strconv.FormatInt(st.maxSize, 10)}
	if !st.app.NoPipelining {
		lines = append(lines, "PIPELINING")
	}
	if p.dsn {
		lines = append(lines, "DSN")
	}
	lines = append(lines, "ENHANCEDSTATUSCODES")
	if !secure {
		lines = append(lines, "STARTTLS")
	}
	if secure || st.app.PlaintextAuth {
		lines = append(lines, "AUTH "+p.mechanisms)
	}
	if !st.app.No8BITMIME {
		lines = append(lines, "8BITMIME")
	}
	if !st.app.NoChunking {
		lines = append(lines, "CHUNKING")
	}
	if !st.app.NoSMTPUTF8 {
		lines = append(lines, "SMTPUTF8")
	}
	var b []byte
	for i, l := range lines {
		sep := "250-"
		if i == len(lines)-1 {
			sep = "250 "
		}
		b = append(b, sep...)
		b = append(b, l...)
		b = append(b, "\r\n"...)
	}
	return string(b)
}

func (p *profile) challengeReply(bearer bool, httpURL string) string {
	text := p.challengeErr
	if bearer || text == "" {
		text = `{"status":"invalid_token","scope":"smtp","openid-configuration":"` + httpURL + `/.well-known/openid-configuration"}`
	}
	return "334 " + base64.StdEncoding.EncodeToString([]byte(text))
}
