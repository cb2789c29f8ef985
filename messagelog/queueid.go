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

package messagelog

import (
	"regexp"
	"strings"
)

// queueIDs are the ways in which providers name a message in their last reply.
// They are tried in this order.
var queueIDs = []*regexp.Regexp{
	// Microsoft: "2.6.0 <ID@host> [InternalId=1, Hostname=h] 1234 bytes in 0.1, 12 KB/sec Queued mail for delivery"
	regexp.MustCompile(`^(?:\d\.\d+\.\d+ +)?<([^<>\s]+)> \[InternalId=`),
	// Google: "2.0.0 OK  1732565839 a640c23a62f3a-aa5b2 - gsmtp"; API uploads have no reply of this kind.
	regexp.MustCompile(`(?i)\bOK +\d{9,} +(\S+(?: \d+)?) - gsmtp`),
	// Postfix, Fastmail, Zoho and the sandbox: "2.0.0 Ok: queued as 4XyZ"
	regexp.MustCompile(`(?i)\b(?:queued|kept) as <?([A-Za-z0-9][\w.@+=:/-]*)`),
	// Exim: "OK id=1tFhXa-000000001Yz-0abc"
	regexp.MustCompile(`\bid=([A-Za-z0-9][\w.@+-]*)`),
	// Sendmail and Proofpoint: "2.0.0 4APHxyz Message accepted for delivery"
	regexp.MustCompile(`(?i)^(?:\d\.\d+\.\d+ +)?([A-Za-z0-9][\w.-]{5,}) +Message accepted`),
	// Amazon SES: "Ok 0100019-...-000000"; Yahoo: "OK dirdel" has none.
	regexp.MustCompile(`(?i)^(?:\d\.\d+\.\d+ +)?ok:? +([A-Za-z0-9]*\d[\w-]{15,})$`),
}

// queueID finds the provider's name for a message in the lines of its final
// reply: what its support is asked with. Empty if the reply has none.
func queueID(lines []string) string {
	for _, line := range lines {
		for _, re := range queueIDs {
			if m := re.FindStringSubmatch(line); m != nil {
				return clip(strings.TrimRight(m[1], ".,;:"), maxAddress)
			}
		}
	}
	return ""
}
