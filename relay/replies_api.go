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

package relay

import (
	"strconv"
	"strings"
	"time"
)

// The gateway's own replies where a message leaves through an HTTP API, which
// has no envelope and gives one answer for the whole message.
var (
	ReplyAPINull      = own(550, 5, 7, 1, "The provider's API cannot send with the null sender")
	ReplyAPIDSN       = own(555, 5, 5, 4, "The provider's API cannot carry RET, ENVID, or NOTIFY other than FAILURE")
	ReplyAPIUnknown   = own(451, 4, 4, 2, "The provider's API gave no clear answer after the message, delivery unknown")
	ReplyAPIForeign   = own(454, 4, 7, 0, "The access token is another user's: the mailbox's owner has to consent")
	ReplyAPINobody    = own(454, 4, 7, 0, "The provider does not say whose the access token is: the mailbox's owner has to consent")
	ReplyAPIWhose     = own(451, 4, 4, 1, "The provider's API did not say whose the access token is, try again later")
	ReplyAPIUntouched = own(451, 4, 4, 1, "The provider's API was lost before the end of the message, try again later")
)

// ReplyWayClosed says that every upstream of the account is closed to its mailbox,
// in the words of the first.
func ReplyWayClosed(said string) *Reply {
	return own(454, 4, 7, 0, "No upstream of this account takes its mailbox: "+short(said))
}

// ReplyAPIHeader says why a message is refused whose header could name other
// recipients than its envelope.
func ReplyAPIHeader(why string) *Reply {
	return own(554, 5, 6, 0, "The provider's API delivers to the header's recipients: "+short(why))
}

// ReplyAPIFrom says why a message is refused whose From is none, or one that the
// provider takes for another's.
func ReplyAPIFrom(why string) *Reply {
	return own(554, 5, 6, 0, "The From field cannot be read without doubt: "+short(why))
}

// ReplyAPITooBig names the limit and what helps.
func ReplyAPITooBig(limit int64) *Reply {
	return own(552, 5, 3, 4, "Message exceeds the API's limit of "+strconv.FormatInt(limit, 10)+" octets: send it through SMTP or raise max_size")
}

// ReplyAPI is a provider's refusal in its own words, with the code that fits.
func ReplyAPI(code, class, subject, detail int, said string) *Reply {
	return own(code, class, subject, detail, short(said))
}

// ReplyAPIWantsUser says that no token will do until the user has done something.
func ReplyAPIWantsUser(said string) *Reply {
	return own(454, 4, 7, 0, "The provider wants the user to consent or log in again: "+short(said))
}

// ReplyAPIElsewhere says that it was not the provider's API that refused.
func ReplyAPIElsewhere(status int) *Reply {
	what := "What answered is not the provider's API"
	if status < 400 {
		what = "The provider's API is elsewhere"
	}
	return own(451, 4, 3, 5, what+": HTTP "+strconv.Itoa(status))
}

// ReplyAPIHold says that the provider asked to wait.
func ReplyAPIHold(said string, wait time.Duration) *Reply {
	secs := max(int64((wait+time.Second-1)/time.Second), 1)
	r := own(451, 4, 7, 1, short(said)+", try again in "+strconv.FormatInt(secs, 10)+" s")
	r.After = wait
	return r
}

// ReplyAPIOK is the positive answer, with the provider's number of the request.
func ReplyAPIOK(id string) *Reply { return own(250, 2, 0, 0, strings.TrimSpace("OK "+short(id))) }

// short makes foreign words fit into one line of a reply.
func short(s string) string {
	b := appendSanitized(nil, []byte(strings.Join(strings.Fields(s), " ")))
	if len(b) > 300 {
		return strings.ToValidUTF8(string(b[:300]), "") + "..."
	}
	return string(b)
}
