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

package operate

import (
	"fmt"
	"maps"
	"slices"

	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/internal/invoked"
	"github.com/caddymail/mailgateway/spool"
)

// examineSpools looks at what the spools keep, and at the room that they have.
func examineSpools(statuses []spool.Status) (out []checkup.Finding) {
	for _, st := range statuses {
		f := checkup.Finding{Check: "spool", Subject: st.Upstream, State: checkup.OK, Said: fmt.Sprintf("%d messages, %d MiB", st.Messages, st.Octets>>20)}
		switch {
		case st.Error != "":
			f.State, f.Said = checkup.Wrong, st.Error
			f.Cause = "The spool's disk failed while it wrote, or its directory is not where it was: nothing is kept, and clients hear the provider's own word or 451."
			f.Remedy = invoked.Words("A directory that was moved or unmounted is used again as soon as it is back. Otherwise see the disk's health and the system's log, then restart the gateway: `caddy smtp spool list` tells what it still has.")
		case !st.Ready:
			f.State, f.Said = checkup.Wrong, "not ready: "+st.Directory
			f.Cause = "Another process has the spool's directory, or it cannot be read, or not all of its messages are read yet: nothing is kept, and what lies there is not sent."
			f.Remedy = "End the other process (an upgrade's old one ends by itself), or give each its own `directory`."
		case st.Full:
			f.State, f.Said = checkup.Wrong, fmt.Sprintf("full: %d messages, %d MiB%s", st.Messages, st.Octets>>20, freeOf(st.Directory))
			f.Cause = "The spool has no room: it reached `max_messages` or `max_size`, or less than `min_free` of its disk is free. Further messages hear 452."
			f.Remedy = "Make room on the disk of " + st.Directory + invoked.Words(", or find out why the messages do not leave: `caddy smtp spool list`.")
		case unread(st) > 0:
			f.State, f.Said = checkup.Warning, fmt.Sprintf("%d messages cannot be read", unread(st))
			f.Cause = "Files of messages are damaged, sealed with a key that is not there, of a newer version, or the disk does not give them: they are left alone in " + st.Directory + " and not sent."
			f.Remedy = "The log names each with its reason (`file in the spool's directory left alone`). Give the key back and reload, or move what cannot be read elsewhere and have its sender send again."
		case st.Held > 0:
			f.State, f.Said = checkup.Warning, fmt.Sprintf("%d messages are held", st.Held)
			f.Cause = "Messages are held that the gateway will not send by itself: sent in part, damaged, the process died while it sent them, or their account's name has another mailbox now."
			f.Remedy = invoked.Words("`caddy smtp spool list --state held` says why; then `caddy smtp spool release ID` or `caddy smtp spool delete ID`.")
		}
		out = append(out, f)
		for _, account := range slices.Sorted(maps.Keys(st.GaveUp)) {
			out = append(out, checkup.Finding{
				Check: "given_up", Subject: st.Upstream, Account: account, State: checkup.Wrong, Said: "the last one at " + st.GaveUp[account].UTC().Format("15:04 UTC"),
				Cause:  "Mail that a client was told is accepted could not be delivered within `give_up_after`, and is given up. Its sender, or the account's `reports`, got a report.",
				Remedy: invoked.Words("`caddy smtp test ") + account + "` says what stands in the way; have what was lost sent again.",
			})
		}
	}
	return out
}

// examineForgotten names the messages that no spool of the configuration has.
func examineForgotten(left []spool.LeftBehind) (out []checkup.Finding) {
	for _, l := range left {
		out = append(out, checkup.Finding{
			Check: "spool", Subject: l.Directory, State: checkup.Warning, Said: fmt.Sprintf("%d messages of an earlier configuration", l.Messages),
			Cause:  "Messages that clients were told are accepted lie in the directory of a spool that the configuration does not have any more, or has by another name or with another `directory`: they are not sent.",
			Remedy: "Give a spool this `directory` until it is empty, or remove the directory.",
		})
	}
	return out
}

// unread returns how many messages of a spool could not be read.
func unread(st spool.Status) (n int) {
	for _, o := range st.LeftAlone {
		if o.Message != "" {
			n++
		}
	}
	return n
}

// freeOf says how much of a directory's disk is free, if that is known.
func freeOf(dir string) string {
	free, size, err := diskRoom(dir)
	if err != nil || size == 0 {
		return ""
	}
	return fmt.Sprintf(", %.0f %% of the disk free", 100*float64(free)/float64(size))
}
