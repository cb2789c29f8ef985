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

package apitest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/sandbox"
)

// RandomEnvelopes sends 10,000 messages, each fourth by the upstream that
// rewrites, and holds that none reaches an address outside of its envelope, and
// that an acknowledged one reaches all of it. The sandbox reads the header with
// a parser of its own, generously; in one half it delivers to Resent-To and the like
// too, which a provider may do or not.
func RandomEnvelopes(t *testing.T, start func(t *testing.T, app *sandbox.App) (sb *sandbox.Sandbox, strict, rewriting relay.Upstream)) {
	for seed, resent := range []bool{false, true} {
		t.Run(fmt.Sprintf("resent=%t", resent), func(t *testing.T) {
			sb, strict, rewriting := start(t, &sandbox.App{APIResent: resent, GmailUnitsPerMinute: -1})
			randomEnvelopes(t, NewGenerator(uint64(seed)), sb, strict, rewriting) //nolint:gosec // 0 or 1
		})
	}
}

func randomEnvelopes(t *testing.T, g *Generator, sb *sandbox.Sandbox, strict, rewriting relay.Upstream) {
	const messages = 5_000
	seen, acked := uint64(0), 0
	for i := range messages {
		rcpts, msg := g.Message()
		use := strict
		if i%4 == 3 {
			use = rewriting
		}
		_, err := Send(t, use, rcpts, msg)
		if err == nil {
			acked++
		} else if r, ok := errors.AsType[*relay.Reply](err); !ok || r.Temporary() && r.Code != 452 { // one recipient too many
			t.Fatalf("message %d: %v, want a refusal for good\n%s", i, err, msg)
		}
		got := sb.MessagesAfter(seen, 10)
		if want := map[bool]int{true: 1, false: 0}[err == nil]; len(got) != want {
			t.Fatalf("message %d: %v, and %d were delivered\n%s", i, err, len(got), msg)
		}
		if err != nil {
			continue
		}
		seen = got[0].ID
		if want, to := Addresses(rcpts), Addresses(got[0].Rcpts); !slices.Equal(want, to) {
			t.Fatalf("message %d for %v went to %v\n%s", i, want, to, msg)
		}
	}
	// A generator that makes nothing but refusals shows nothing.
	if acked < messages/10 || acked > messages*9/10 {
		t.Errorf("%d of %d acknowledged", acked, messages)
	}
	t.Logf("%d of %d acknowledged", acked, messages)
}

// Addresses are addresses as a set: each once, in order, without the case of ASCII
// and without quotes that say nothing.
func Addresses(addrs []string) []string {
	var s []string
	for _, a := range addrs {
		if local, domain, ok := strings.Cut(strings.TrimPrefix(a, `"`), `"@`); ok && !strings.ContainsAny(local, " \t\"\\,;:<>()@") {
			a = local + "@" + domain
		}
		s = append(s, lower(a))
	}
	slices.Sort(s)
	return slices.Compact(s)
}

// lower knows ASCII alone: beyond it some letters have ASCII's for their lower case.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

// Generator makes messages as clients do, and some as no client should.
type Generator struct{ *rand.Rand }

// NewGenerator returns one that makes the same messages for the same seed.
func NewGenerator(seed uint64) *Generator {
	return &Generator{rand.New(rand.NewPCG(seed, 15))} //nolint:gosec // see above
}

func (g *Generator) pick(s ...string) string { return s[g.IntN(len(s))] }

func (g *Generator) one(in int) bool { return g.IntN(in) == 0 }

// outside is what no message may reach.
const outside = "outside@evil.example"

// Message is an envelope and a message.
func (g *Generator) Message() (rcpts []string, msg string) {
	n := 1 + g.IntN(4)
	if g.one(400) {
		n = 400 + g.IntN(200)
	}
	for i := range n {
		rcpt := fmt.Sprintf("kin%d@example.org", g.IntN(6))
		if n > 4 {
			rcpt = fmt.Sprintf("kin%d@example.org", i)
		}
		if g.one(60) {
			rcpt = g.pick("KIN1@Example.ORG", `"kin2"@example.org`, `"kin 7"@example.org`, "kin8@[192.0.2.1]", "kin8@[IPv6:2001:db8::1]", "kin1@xn--bcher-kva.example", "KIN1@XN--BCHER-KVA.example", "kin3+tag@example.org", "o'kin@example.org", "kin=9@sub.example.org")
		}
		rcpts = append(rcpts, rcpt)
	}
	if g.one(100) { // what no API takes
		rcpts = append(rcpts, g.pick("k\u00edn@example.org", "kin1@ex\u00e4mple.org", "kin1@example.org.", "kin1", "@example.org", "kin1@", "kin1@example.org,"+outside, "kin1@example.org\r\nTo: "+outside,
			// Readers that decode before they parse see another address (PortSwigger, Splitting the email atom, 2024).
			"=?utf-8?q?outside=40evil.example=3e=20?=kin1@example.org", "\"=?utf-8?b?b3V0c2lkZUBldmlsLmV4YW1wbGU+IA==?=\"@example.org", "kin1@=?utf-8?q?evil.example?="))
	}
	var b strings.Builder
	b.WriteString(g.pick("From: box@example.com\r\n", "From: Box <box@example.com>\r\n"))
	for range g.IntN(5) {
		g.field(&b, rcpts)
	}
	if g.one(60) { // some cut a line that is longer than 998 octets
		name := g.pick("X-Long: ", "Subject: ", "To: a@example.org, ")
		cut := g.pick("To: "+outside, "bcc: "+outside, "Cc : "+outside, outside, "", "\r\n To: "+outside, "X-To: "+outside)
		b.WriteString(name + strings.Repeat("x", 990+g.IntN(12)-len(name)) + cut + "\r\n")
	}
	if g.one(30) { // all of a list in one line
		b.WriteString(g.pick("To: ", "Cc: ", "Bcc: ", "Resent-To: "))
		for i := range 40 + g.IntN(40) {
			b.WriteString(strings.Repeat(", ", min(i, 1)) + g.pick("Name ", "\"A, B\" ", "") + "<" + rcpts[g.IntN(len(rcpts))] + ">")
		}
		b.WriteString("\r\n")
	}
	if g.one(40) {
		b.WriteString(g.pick("Bcc:\r\n", "Bcc: \r\n", "bcc:\r\nBcc:\r\n", "Bcc: ,\r\n", "To : "+outside+"\r\n", "Cc\t: "+outside+"\r\n", "To\u00a0: "+outside+"\r\n", "\ufeffTo: "+outside+"\r\n"))
	}
	if g.one(1000) {
		b.WriteString(strings.Repeat("X-Padding: "+strings.Repeat("x", 60)+"\r\n", 2+g.IntN(15_000)))
	}
	b.WriteString("Subject: x" + g.pick("", "", "", " "+strings.Repeat("y", 2000)) + "\r\n\r\nTo: " + outside + "\r\n")
	msg = b.String()
	if g.one(50) { // how a header ends
		head, body, _ := strings.Cut(msg, "\r\n\r\n")
		msg = head + g.pick("\r\n", "", "\n", "\n\n", "\n\r\n", "\r\n\n", "\r\n \r\n", "\r\n\x00\r\n", "\r\r\n") + g.pick("", body)
	}
	if g.one(5) { // foreign octets
		at := g.IntN(min(len(msg)-30, 2000))
		msg = msg[:at] + g.pick("\"", "(", ")", "<", ">", ",", ";", ":", "\\", "\r\n ", " ", "@", "\r\n", "\n", "\r", "\x00", "\v", "\f", "\r\n\r\n", "\u00e9", "\u00a0", "\uff20",
			"\nTo: "+outside+"\n", "\rTo: "+outside+"\r", "\fTo: "+outside+"\v", "\r\n\t\r\n") + msg[at+g.IntN(2):]
	}
	return rcpts, msg
}

// field writes a field, mostly one with recipients.
func (g *Generator) field(b *strings.Builder, rcpts []string) {
	b.WriteString(g.pick("To", "Cc", "Bcc", "TO", "cC", "To", "Cc", "bCC", "Resent-To", "Resent-Cc", "resent-BCC", "Reply-To", "X-To", "Sender"))
	b.WriteString(g.pick(":", ":", ":", ": ", ":\r\n ", ":\t"))
	n := 1 + g.IntN(3)
	if len(rcpts) > 10 {
		n = len(rcpts)
	}
	if g.one(12) {
		n = 0 // an empty field
	}
	// Some put all of a list into one line.
	long := g.one(3)
	for i := range n {
		switch {
		case i == 0:
		case long:
			b.WriteString(g.pick(",", ", "))
		default:
			b.WriteString(g.pick(",", ", ", ",\r\n ", ",\r\n\t", " , ", ",,", ",\r\n ,"))
		}
		b.WriteString(g.entry(rcpts))
	}
	b.WriteString("\r\n")
}

// entry is a mailbox or a group, or something like it.
func (g *Generator) entry(rcpts []string) string {
	addr := rcpts[g.IntN(len(rcpts))]
	if g.one(20) {
		addr = g.pick(outside, "kin9@example.org", "\u212ain1@example.org", "k\u0130n1@example.org")
	}
	local, domain, _ := strings.Cut(addr, "@")
	switch g.IntN(20) {
	case 0:
		return "Name <" + addr + ">"
	case 1:
		return `"` + outside + `" <` + addr + ">"
	case 2:
		return `"a, <` + outside + `>, b" <` + addr + ">"
	case 3:
		return g.pick("(outside) ", "((out) (si(de)))", "(;)", "(,)", "(:)") + addr
	case 4:
		return addr + g.pick(" (a (b) c)", "(\r\n d)", " (\"q\")", " (=?utf-8?q?x=40?=)")
	case 5:
		return "=?utf-8?q?outside=40evil=2Eexample?= <" + addr + ">"
	case 6:
		return "=?utf-8?b?b3V0c2lkZUBldmlsLmV4YW1wbGU=?= <" + addr + ">"
	case 7:
		return "friends: " + addr + ", N <" + addr + ">;"
	case 8:
		return g.pick("undisclosed-recipients:;", "undisclosed recipients: ;", `"a: b":;`, "none:(of them);", "g:,;")
	case 9:
		return strings.ToUpper(addr)
	case 10:
		if strings.HasPrefix(addr, `"`) {
			return addr
		}
		return `"` + local + `"@` + domain
	case 11:
		return "A. B.\r\n <" + addr + ">"
	case 12:
		return `"A \"B\" C" <` + addr + ">"
	case 13:
		return "J\u00f6rg \u00dc <" + addr + ">"
	case 14, 15:
		if g.one(3) {
			return g.odd(addr)
		}
	}
	return addr
}

// odd is what readers differ about.
func (g *Generator) odd(addr string) string {
	return g.pick(
		outside+" <"+addr+">", "<@evil.example:"+addr+">", "<@evil.example,@example.net:"+addr+">", addr+" "+outside, addr+"; "+outside, `"\"" <`+addr+">",
		"("+outside+") "+addr, addr+" (a ("+outside+") b)", addr+" (<"+outside+">)", `(\) `+outside+` (\) `+addr, `(\() `+addr, `(") `+addr+` (")`,
		`"A\", `+outside+`, \"" <`+addr+">", `"A\\" <`+addr+">", `"A\\", `+outside+`, "B" <`+addr+">", "x\uff20evil.example <"+addr+">", addr+".", addr+" <"+outside+">",
		"<"+addr+"> <"+outside+">", "<"+addr+","+outside+">", "g: h: "+addr+";;", "g: "+addr, outside+": "+addr+";", addr+"\t@\tevil.example", addr+"@evil.example",
		"<"+addr, addr+">", `"`+addr, "("+addr, addr+")", "<>", "@", ":", ";", "outside@", "@evil.example", "mailto:"+addr, "[SMTP:"+outside+"] <"+addr+">", "SMTP:"+outside,
		// What RFC 5322 section 4.4 calls obsolete.
		"<,@evil.example,,@example.net:"+addr+">", "A . B (c) . C <"+addr+">", strings.Replace(addr, "@", " @ ", 1), strings.Replace(addr, ".", " . ", 1), strings.Replace(addr, "@", "(c)@(d)", 1),
		"<(c) "+addr+">", "<"+addr+" (c)>", "<\r\n "+addr+">", ",,"+addr+",,", "g:,,"+addr+",;", "A\r\n B\r\n\t<"+addr+">",
		// Beyond ASCII, in some charset.
		"J\xf6rg <"+addr+">", "\"\x83\x5c\", "+outside+", \"b\" <"+addr+">", "\x83\x40evil.example <"+addr+">", "\x1b$B!w\x1b(B <"+addr+">", "+AEA-evil.example <"+addr+">", "\uff0c"+outside+" <"+addr+">",
		"kin1@b\u00fccher.example", "kin1@B\u00dcCHER.example", "kin1@xn--bcher-kva.example.", "kin1@example.org\u3002evil.example", "kin8@[192.0.2.1] ", "kin8@[IPv6:2001:DB8::1]", "kin8@[ 192.0.2.1 ]", "kin1%evil.example@example.org",
		"=?utf-8?q?a,"+outside+"?= <"+addr+">", "\"a\r\n b\"@evil.example", "'"+outside+"' <"+addr+">",
	)
}
