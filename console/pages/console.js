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


// Buttons that only a script can serve are hidden without one.
for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
}

// Times are the viewer's own. Pages say them in UTC, which stands there without a script,
// and here as the title.
const two = (n) => String(n).padStart(2, "0");
const hour = (t) => two(t.getHours()) + ":" + two(t.getMinutes());
const zone = (t) => new Intl.DateTimeFormat("en-GB", { timeZoneName: "short" }).formatToParts(t).find((p) => p.type === "timeZoneName").value;
const day = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short" });

function local(root) {
  for (const e of root.querySelectorAll("time[datetime]:not([title])")) {
    const t = new Date(e.dateTime);
    e.title = e.textContent;
    e.textContent = e.dataset.show === "hour" ? hour(t) : `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())} ${hour(t)} ${zone(t)}`;
  }
  // The bars of a picture: what stands before "UTC" is when they are.
  for (const e of root.querySelectorAll("[data-from]")) {
    const from = new Date(e.dataset.from);
    const to = e.dataset.to ? " to " + hour(new Date(e.dataset.to)) : "";
    e.textContent = e.textContent.replace(/^.* UTC/, `${day.format(from).replace(",", "")}, ${hour(from)}${to} ${zone(from)}`);
    delete e.dataset.from;
  }
}

local(document);
document.addEventListener("htmx:load", (e) => local(e.detail.elt)); // a part that came later
