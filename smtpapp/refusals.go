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

package smtpapp

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddymail/mailgateway/internal/front"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver"
)

// The causes that a session knows, beside those of its connection.
const (
	causeWrongPassword  smtpserver.Cause = "wrong_password"
	causeUnknownAccount smtpserver.Cause = "unknown_account"
	causePaused         smtpserver.Cause = "account_paused"
	causeOverloaded     smtpserver.Cause = "login_overloaded"
	causeLoginGone      smtpserver.Cause = "login_gone"
	causeSender         smtpserver.Cause = "sender_not_allowed"
	causeTrustedAccount smtpserver.Cause = "trusted_account_unknown"
	causeBanned         smtpserver.Cause = "banned"
	causeLimit          smtpserver.Cause = "too_many_connections"
	causeBeforeLogin    smtpserver.Cause = "too_many_before_login"
)

// The messages of the log that others know by heart, such as fail2ban.
const (
	messageRefused = "refused"
	messageAuth    = "authentication failed"
	messageSender  = "sender not allowed"
)

// explanation is what the log says of a cause.
type explanation struct {
	level   zapcore.Level
	message string
	remedy  string
}

// explanations has one for each cause. What is nobody's mistake is for
// information.
var explanations = map[smtpserver.Cause]explanation{
	causeWrongPassword: {
		zapcore.WarnLevel, messageAuth,
		"set the account's password in the client, or give the account one more (smtp account set)",
	},
	causeUnknownAccount: {
		zapcore.WarnLevel, messageAuth,
		"set the whole name of an account as the client's user name (smtp account list)",
	},
	causePaused: {
		zapcore.WarnLevel, messageAuth,
		"the account is paused: resume it, or stop the client",
	},
	causeOverloaded: {
		zapcore.WarnLevel, messageRefused,
		"too many logins at a time for the slow password hashes: sha256 hashes of generated passwords cost nothing",
	},
	causeLoginGone: {
		zapcore.WarnLevel, messageRefused,
		"none if the password was changed or the account paused or removed: the client logs in anew",
	},
	causeSender: {
		zapcore.WarnLevel, messageSender,
		"set the sender in the client to an address of the account's senders, or add this one to them",
	},
	causeTrustedAccount: {
		zapcore.WarnLevel, messageRefused,
		"trust names an account that does not exist: add it, or name another",
	},
	causeBanned: {
		zapcore.WarnLevel, messageRefused,
		"see the failed logins before the ban; smtp ban list shows it, smtp ban lift ends it",
	},
	causeLimit: {
		zapcore.WarnLevel, messageRefused,
		"raise max_conns_per_ip or max_conns of the server if the client needs so many connections",
	},
	causeBeforeLogin: {
		zapcore.WarnLevel, messageRefused,
		"connections that do not log in fill max_conns_before_login: see who opens them; raise it, or the clients' speed, if they are yours",
	},

	smtpserver.CauseSyntax: {
		zapcore.WarnLevel, messageRefused,
		"the client writes a command or an address that is none; see reply, and strict if that is on",
	},
	smtpserver.CauseParameter: {
		zapcore.WarnLevel, messageRefused,
		"the client uses an extension that was not announced; switch it off there",
	},
	smtpserver.CauseUnknownCommand: {
		zapcore.WarnLevel, messageRefused,
		"the client uses a command that was not announced, or is no mail client",
	},
	smtpserver.CauseBadSequence: {
		zapcore.WarnLevel, messageRefused,
		"the client's commands are out of order; often one before was refused",
	},
	smtpserver.CauseTooLong: {
		zapcore.WarnLevel, messageRefused,
		"the client writes lines that are too long for commands, or content where commands should come",
	},
	smtpserver.CauseTooManyErrors: {
		zapcore.WarnLevel, messageRefused,
		"see the refusals before it",
	},
	smtpserver.CauseTooManyCommands: {
		zapcore.WarnLevel, messageRefused,
		"the client keeps its connection with commands that send nothing; close it between messages",
	},
	smtpserver.CauseAuthRequired: {
		zapcore.WarnLevel, messageRefused,
		"set user and password in the client, or name its address in trust",
	},
	smtpserver.CauseTLSRequired: {
		zapcore.WarnLevel, messageRefused,
		"switch TLS on in the client: without it no login is offered; or name its address in plaintext_auth",
	},
	smtpserver.CauseAuthMechanism: {
		zapcore.WarnLevel, messageRefused,
		"set the client's authentication to PLAIN or LOGIN (over TLS)",
	},
	smtpserver.CauseAuthMalformed: {
		zapcore.WarnLevel, messageRefused,
		"the client breaks off its login or encodes it wrongly; set user and password in it anew",
	},
	smtpserver.CauseAuthIdentity: {
		zapcore.WarnLevel, messageRefused,
		"the client logs in for somebody else; leave its authorization identity empty",
	},
	smtpserver.CauseBareLF: {
		zapcore.WarnLevel, messageRefused,
		"the client ends lines with LF alone: name its address in lf_only, or set bare_newline normalize",
	},
	smtpserver.CauseBareNewline: {
		zapcore.WarnLevel, messageRefused,
		"the message has lines that end with CR or LF alone: set bare_newline normalize, or mend the client",
	},
	smtpserver.CauseContent: {
		zapcore.WarnLevel, messageRefused,
		"the message holds a NUL or a line without end: it is no mail",
	},
	smtpserver.CauseTooBig: {
		zapcore.WarnLevel, messageRefused,
		"lower the client's resolution, or raise max_message_size of the server",
	},
	smtpserver.CauseTooManyRecipients: {
		zapcore.InfoLevel, messageRefused,
		"none: clients send the rest in a message of its own; or raise max_recipients of the server",
	},
	smtpserver.CauseHTTP: {
		zapcore.WarnLevel, messageRefused,
		"a web browser or a scanner: not a mail client",
	},
	smtpserver.CauseEarlyTalker: {
		zapcore.WarnLevel, messageRefused,
		"the client spoke before the greeting, as web pages that send mail do; where trust lets in that is refused",
	},
	smtpserver.CauseProxyHeader: {
		zapcore.WarnLevel, messageRefused,
		"the PROXY header is malformed, incomplete or late: look at the proxy's settings; or name only the proxy in proxy_protocol",
	},
	smtpserver.CauseTimeout: {
		zapcore.InfoLevel, messageRefused,
		"none: a client that keeps a connection for later loses it after command_timeout",
	},
	smtpserver.CauseMessageTimeout: {
		zapcore.WarnLevel, messageRefused,
		"the client fell silent within a message: its network; or it ends the message with LF alone: name its address in lf_only",
	},
	smtpserver.CauseLoginTimeout: {
		zapcore.WarnLevel, messageRefused,
		"the client took too long for its login; raise login_timeout if it is that slow",
	},
	smtpserver.CauseStalled: {
		zapcore.WarnLevel, messageRefused,
		"the client began a message and did not go on while others waited for the connection to the provider: its network, or a crash",
	},
	smtpserver.CauseClientGone: {
		zapcore.WarnLevel, messageRefused,
		"the client left before it heard that its message was accepted, and will send it twice: raise its timeout",
	},
	smtpserver.CauseAborted: {
		zapcore.WarnLevel, messageRefused,
		"the client left within a message, of which nothing was sent: its network or its timeout",
	},

	smtpserver.CauseCertificateRefused: {
		zapcore.WarnLevel, messageRefused,
		"install the root of the certificate's authority in the client, use the host name that the certificate is for, or set the client's clock",
	},
	smtpserver.CauseTLSVersion: {
		zapcore.WarnLevel, messageRefused,
		"the client's TLS is too old: update it, or give it a server with legacy_tls, which takes TLS 1.0 and 1.1 but no SSL",
	},
	smtpserver.CauseTLSCipher: {
		zapcore.WarnLevel, messageRefused,
		"the client has no cipher suite that is safe: update it, or give it a server with legacy_tls, which takes CBC and 3DES but no RC4",
	},
	smtpserver.CauseClientCertificate: {
		zapcore.WarnLevel, messageRefused,
		"give the client a certificate that an authority in the connection policy has signed",
	},
	smtpserver.CauseTLSOnPlainPort: {
		zapcore.WarnLevel, messageRefused,
		"the client is set to SSL/TLS on a port for STARTTLS: set STARTTLS, or the port of a server with tls implicit",
	},
	smtpserver.CausePlaintextOnTLSPort: {
		zapcore.WarnLevel, messageRefused,
		"the client is set to STARTTLS or no encryption on a port for SSL/TLS: set SSL/TLS, or another port",
	},
	smtpserver.CauseTLSFailed: {
		zapcore.WarnLevel, messageRefused,
		"see detail; no certificate yet (tls.obtain in the log) is the most frequent one",
	},
}

// maxDetail bounds what a client can make us remember of it.
const maxDetail = 512

// processRefusals outlive configurations, as what is refused does.
var processRefusals = front.NewRefusals()

// Causes are the causes that a refusal can have, in the order of the alphabet.
func Causes() []string {
	var causes []string
	for cause := range explanations {
		causes = append(causes, string(cause))
	}
	slices.Sort(causes)
	return causes
}

// Refusal is what a client was refused for one cause, however often.
type Refusal = front.Refusal

// Refusals are what the process's servers have refused, the latest first.
func Refusals() []Refusal { return processRefusals.List() }

// refusal is something that a client is refused.
type refusal struct {
	smtpserver.Refusal
	client  netip.Addr
	session string
	account string
	urgent  bool
}

// refused remembers a refusal, and says it in the log unless it was said a
// moment ago. It is said by what is in force then.
func (g *generation) refused(current func() *generation, r refusal) {
	x, known := explanations[r.Cause]
	if !known {
		x = explanation{level: zapcore.WarnLevel, message: messageRefused}
	}
	f := front.Refusal{
		Server: g.name, Session: r.session, Cause: string(r.Cause), Remedy: x.remedy,
		Account: clip(printable.Text(r.account), maxLoggedName), Detail: clip(printable.Text(r.Detail), maxDetail),
	}
	if r.client.IsValid() {
		f.ClientIP = r.client.String()
	}
	if r.Reply != nil {
		f.Reply = r.Reply.Error()
	}
	g.refusals.Add(f, r.client, x.message == messageAuth, r.urgent, func(f front.Refusal, n, unsaid int) {
		now := g
		if c := current(); c != nil {
			now = c
		}
		now.logRefusal(x, f, n, unsaid)
	})
}

// logRefusal writes the line of a refusal.
func (g *generation) logRefusal(x explanation, f front.Refusal, n, unsaid int) {
	c := g.logger.Check(x.level, x.message)
	if c == nil {
		return
	}
	fields := []zap.Field{
		zap.String("id", f.Session), zap.String("server", f.Server), zap.String("client_ip", f.ClientIP),
		zap.String("account", f.Account),
	}
	if x.message == messageAuth {
		result := "failed"
		if f.Cause == string(causePaused) {
			result = "paused"
		}
		fields = append(fields, zap.String("result", result))
	}
	fields = append(fields, zap.String("cause", f.Cause))
	if f.Detail != "" {
		fields = append(fields, zap.String("detail", f.Detail))
	}
	if f.Reply != "" {
		fields = append(fields, zap.String("reply", f.Reply))
	}
	fields = append(fields, zap.Int("count", n), zap.String("remedy", f.Remedy))
	if unsaid > 0 {
		fields = append(fields, zap.Int("others_unsaid", unsaid))
	}
	c.Write(fields...)
}

// refused is refused for a session.
func (s *session) refused(g *generation, r refusal) {
	r.client, r.session = s.remote, s.id
	if r.account == "" {
		r.account = s.bound.name
	}
	// What is remembered keeps no session alive.
	point := s.point
	g.refused(point.current, r)
}

// Refused implements smtpserver.Session.
func (s *session) Refused(r smtpserver.Refusal) {
	if g := s.point.current(); g != nil {
		s.refused(g, refusal{Refusal: r})
	}
}

// loginFailed tells of a login that was refused. Whether the account exists is
// for the log alone: the client hears the same words after the same time.
func (s *session) loginFailed(g *generation, name string, known, urgent bool) {
	r := refusal{Refusal: smtpserver.Refusal{Cause: causeWrongPassword, Reply: relay.ReplyAuthFailed}, account: name, urgent: urgent}
	if !known {
		r.Cause = causeUnknownAccount
		if !strings.Contains(name, "@") {
			r.Detail = "the name has no domain"
		}
	}
	s.refused(g, r)
}

// mailRefused tells of a MAIL that was refused.
func (s *session) mailRefused(g *generation, from string, opts *smtp.MailOptions, err error) {
	r := refusal{Refusal: smtpserver.Refusal{Reply: smtpserver.AsReply(err), Detail: "MAIL"}}
	switch r.Reply {
	case relay.ReplyAuthRequired:
		by, _, _ := s.candidate(g, opts)
		switch {
		case by == byNetwork:
			r.Cause = causeTrustedAccount
			t, _ := g.policy.trusts(s.remote)
			r.account = clip(t.accountFor(opts), maxLoggedName)
		case !s.MayLogin():
			r.Cause, r.Detail = smtpserver.CauseTLSRequired, "MAIL without TLS and without a login"
		default:
			r.Cause = smtpserver.CauseAuthRequired
		}
	case relay.ReplyPaused:
		r.Cause, r.account = causePaused, s.candidateName(g, opts)
	case relay.ReplyAuthOverloaded:
		r.Cause = causeOverloaded
	case relay.ReplyLoginGone:
		r.Cause = causeLoginGone
	case relay.ReplySenderRefused:
		r.Cause, r.Detail, r.account = causeSender, from, s.candidateName(g, opts)
	default:
		return
	}
	s.refused(g, r)
}

// candidateName is the account of a client that has bound none: one that its
// address lets in never says a name.
func (s *session) candidateName(g *generation, opts *smtp.MailOptions) string {
	if _, a, _ := s.candidate(g, opts); a != nil {
		return a.Name
	}
	return ""
}

func clip(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "")
	}
	return s
}
