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
	"context"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver"
)

// stretch is a part of the time.
type stretch struct{ from, to time.Time }

// messageTrace collects what becomes of one message that is sampled. It is nil
// for the others, and wherever tracing is off: every method may be called all
// the same. Spans other than the message's own are made when it has ended,
// with the times that were noted.
//
// It keeps no address but the client's, no text of a reply, since these quote
// addresses, and nothing of the message.
type messageTrace struct {
	tracer  trace.Tracer
	span    trace.Span
	started time.Time

	auth     stretch // of the login, if this is the first message after it
	begin    stretch // of waiting for the upstream's Begin
	beginErr error
	envelope stretch // from the first flight of recipients to the last one's reply
	data     time.Time
}

// now is the time, if somebody asks for it.
func (t *tracing) now() time.Time {
	if t == nil {
		return time.Time{}
	}
	return time.Now()
}

// startMessage begins a message's span. SMTP carries no trace context: it is
// the root of a trace.
func (t *tracing) startMessage(s *session) *messageTrace {
	if t == nil {
		return nil
	}
	auth := s.auth
	s.auth = stretch{} // the login belongs to its first message
	// Attributes come with the end: the standard samplers ask for none.
	_, span := t.tracer.Start(context.Background(), t.span, trace.WithTimestamp(s.started), trace.WithSpanKind(trace.SpanKindServer))
	if !span.IsRecording() {
		return nil // not sampled
	}
	return &messageTrace{tracer: t.tracer, span: span, started: s.started, auth: auth}
}

func (m *messageTrace) now() time.Time {
	if m == nil {
		return time.Time{}
	}
	return time.Now()
}

// began notes a Begin.
func (m *messageTrace) began(from time.Time, err error) {
	if m != nil {
		m.begin, m.beginErr = stretch{from, time.Now()}, err
	}
}

// flight notes recipients that went to the provider.
func (m *messageTrace) flight(from time.Time) {
	if m == nil {
		return
	}
	if m.envelope.from.IsZero() {
		m.envelope.from = from
	}
	m.envelope.to = time.Now()
}

// refused notes a recipient's refusal.
func (m *messageTrace) refused(err error) {
	if m != nil {
		m.span.AddEvent("recipient refused", m.at(time.Now()), trace.WithAttributes(replyAttributes(smtpserver.AsReply(err))...))
	}
}

// dataFrom notes when the message itself began.
func (m *messageTrace) dataFrom(at time.Time) {
	if m != nil {
		m.data = at
	}
}

// finish makes the spans of a message that has ended with word, and returns
// the trace's id for the log.
func (m *messageTrace) finish(s *session, res *smtpserver.Result, word *relay.Reply, end time.Time) string {
	if m == nil {
		return ""
	}
	attrs := append(make([]attribute.KeyValue, 0, 16),
		attribute.String("network.protocol.name", "smtp"),
		attribute.String("mailgateway.server", s.gen.name),
		attribute.String("mailgateway.account", s.account.Name),
		attribute.String("mailgateway.message.id", s.messageID()),
		attribute.String("mailgateway.session.id", s.id),
		attribute.String("mailgateway.upstream", s.about.Upstream),
		attribute.Int("smtp.recipients.accepted", res.Accepted),
		attribute.Int("smtp.recipients.refused", res.Tried-res.Accepted),
		attribute.Int64("smtp.message.size", res.Size),
	)
	if s.remote.IsValid() {
		attrs = append(attrs, attribute.String("client.address", s.address))
	}
	if s.tx != nil || s.about.Reused || s.about.Opening != nil {
		attrs = append(attrs, attribute.Bool("mailgateway.upstream.reused", s.about.Reused))
	}
	if word == nil {
		attrs = append(attrs, attribute.Bool("mailgateway.aborted", true))
	}
	m.span.SetAttributes(attrs...)
	if word != nil {
		judge(m.span, word)
	}

	ctx := trace.ContextWithSpan(context.Background(), m.span)
	m.child(ctx, "auth", m.auth, nil)
	if m.beginErr != nil {
		m.child(ctx, "wait", m.begin, smtpserver.AsReply(m.beginErr))
	} else if s.about.Waited > 0 {
		m.child(ctx, "wait", stretch{s.about.Got.Add(-s.about.Waited), s.about.Got}, nil)
	}
	// A connection that was ready before the message came cost it nothing.
	if c := s.about.Opening; c != nil && !c.Ready.Before(s.started) {
		m.child(ctx, "token", stretch{c.Token, c.Dial}, nil)
		m.child(ctx, "dial", stretch{c.Dial, c.Ready}, nil)
	}
	var refusal *relay.Reply
	if res.Accepted == 0 {
		refusal = res.LastRefusal
	}
	m.child(ctx, "envelope", m.envelope, refusal)
	m.child(ctx, "data", stretch{m.data, end}, word)
	m.span.End(trace.WithTimestamp(end))
	return m.span.SpanContext().TraceID().String()
}

// child makes the span of a part, if it took place. reply is the word that
// ended it.
func (m *messageTrace) child(ctx context.Context, name string, t stretch, reply *relay.Reply) {
	if t.from.IsZero() || t.to.IsZero() {
		return
	}
	kind := trace.SpanKindInternal
	if name != "auth" && name != "wait" {
		kind = trace.SpanKindClient
	}
	_, span := m.tracer.Start(ctx, name, m.at(t.from), trace.WithSpanKind(kind))
	if reply != nil {
		judge(span, reply)
	}
	span.End(m.at(t.to))
}

// at is a moment in the message's own time. The wall clock may be set meanwhile,
// and is not read at the very instant of the steady one, so what lies within the
// message would not always do so by the wall clock.
func (m *messageTrace) at(moment time.Time) trace.SpanEventOption {
	return trace.WithTimestamp(m.started.Add(moment.Sub(m.started)))
}

// judge says on a span how it ended. A refusal is an error, whoever's it is.
func judge(span trace.Span, r *relay.Reply) {
	span.SetAttributes(replyAttributes(r)...)
	if r.Code >= 400 {
		code := strconv.Itoa(r.Code)
		span.SetAttributes(attribute.String("error.type", code))
		span.SetStatus(codes.Error, code)
	}
}

// replyAttributes are what is told of a reply: its codes.
func replyAttributes(r *relay.Reply) []attribute.KeyValue {
	attrs := []attribute.KeyValue{attribute.Int("smtp.reply.code", r.Code)}
	if e := r.Enhanced; e[0] > 0 {
		attrs = append(attrs, attribute.String("smtp.reply.enhanced_code",
			strconv.Itoa(e[0])+"."+strconv.Itoa(e[1])+"."+strconv.Itoa(e[2])))
	}
	return attrs
}
