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
const zone = (t) => new Intl.DateTimeFormat("en-GB", { timeZoneName: "short" }).formatToParts(t).find((p) => p.type === "timeZoneName").value;

function local(root) {
  for (const e of root.querySelectorAll("time[datetime]:not([title])")) {
    const t = new Date(e.dateTime);
    e.title = e.textContent;
    e.textContent = `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())} ${two(t.getHours())}:${two(t.getMinutes())} ${zone(t)}`;
  }
}

local(document);
document.addEventListener("htmx:load", (e) => local(e.detail.elt)); // a part that came later

// So are the days of the picture, which the server draws: it is told the zone once, by a
// cookie, and asked again where it did not know it yet.
const picture = document.getElementById("picture");
const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (picture && here && picture.dataset.zone !== here) {
  document.cookie = `smtp-console-zone=${here}; path=${location.pathname}; max-age=31536000; samesite=lax`;
  htmx.ajax("GET", location.pathname + "?part=picture", { target: picture, swap: "outerHTML" });
}
