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

// Drives Chromium as JSON commands on stdin say, one a line; each is answered
// with one line on stdout: {"value": ...} or {"error": ...}.

import { chromium } from "playwright-core";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const patience = 45000;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const browser = await chromium.launch({
  executablePath: process.argv[2],
  args: ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
let context, page, seen;

// What the browser said and did since the page was opened.
function watch() {
  seen = { console: [], requests: [], events: 0, navigations: 0 };
  listen(page);
}

function listen(page) {
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && seen.console.push(m.text()));
  page.on("pageerror", (e) => seen.console.push(String(e)));
  page.on("dialog", (d) => { seen.console.push("dialog: " + d.message()); d.dismiss(); });
  page.on("request", (r) => {
    seen.requests.push(r.url());
    if (r.url().endsWith("?events")) seen.events++;
  });
  page.on("framenavigated", (f) => f === page.mainFrame() && seen.navigations++);
}

// These run in the page.

function structure() {
  const problems = [];
  const must = (ok, what) => ok || problems.push(what);
  must(document.documentElement.lang === "en", "no language");
  must(document.title.trim() !== "", "no title");
  must(document.querySelectorAll("h1").length === 1, "not one h1");
  must(document.querySelector("body > header"), "no banner");
  must(document.querySelectorAll("main").length === 1, "not one main");
  let level = 1;
  for (const h of document.querySelectorAll("h1,h2,h3,h4,h5,h6")) {
    must(+h.tagName[1] <= level + 1, "heading out of order: " + h.textContent);
    level = +h.tagName[1];
  }
  for (const s of document.querySelectorAll("section")) {
    must(document.getElementById(s.getAttribute("aria-labelledby"))?.textContent, "a section without a name");
  }
  for (const t of document.querySelectorAll("table")) {
    const heads = [...t.tHead.rows[0].cells];
    must(heads.every((h) => h.tagName === "TH" && h.scope === "col" && h.textContent.trim()), t.id + ": a column without heading");
    for (const r of t.tBodies[0].rows) must(r.cells.length === heads.length, t.id + ": cells and headings differ");
  }
  return problems;
}

// The contrast of every text on the page (WCAG 2.2, 1.4.3).
function contrast() {
  const parse = (c) => c.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * x + .7152 * y + .0722 * z;
  };
  const background = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
      if (c[3] !== 0) throw new Error("a translucent background");
    }
    return [255, 255, 255];
  };
  const out = { lowest: Infinity, texts: 0, background: getComputedStyle(document.body).backgroundColor, bad: [] };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; (n = walk.nextNode());) {
    const e = n.parentElement;
    if (!n.data.trim() || !e.checkVisibility({ visibilityProperty: true }) || e.closest("noscript")) continue;
    let opacity = 1;
    for (let p = e; p; p = p.parentElement) opacity *= getComputedStyle(p).opacity;
    const [a, b] = [luminance(parse(getComputedStyle(e).color)), luminance(background(e))].sort((x, y) => y - x);
    const ratio = opacity < 1 ? 1 : (a + .05) / (b + .05);
    out.texts++;
    out.lowest = Math.min(out.lowest, ratio);
    if (ratio < 4.5) out.bad.push(n.data.trim() + ": " + ratio.toFixed(2));
  }
  return out;
}

// What sticks out of the page on a narrow screen.
function overflow() {
  const width = document.documentElement.clientWidth;
  const out = [];
  if (document.documentElement.scrollWidth > width) out.push(`the page is ${document.documentElement.scrollWidth} wide, the screen ${width}`);
  for (const e of document.querySelectorAll("body *")) {
    const r = e.getBoundingClientRect();
    if (r.width > 0 && r.right > width + 1 && e.checkVisibility() && !e.closest(".skip, thead")) out.push(e.tagName + "#" + e.id + "." + e.className + " ends at " + r.right);
  }
  return out;
}

// Text as far apart as a reader may set it (WCAG 2.2, 1.4.12). A sheet of the script's own
// is no style of the page's, which its policy would refuse.
function spacing() {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync("* { line-height: 1.5 !important; letter-spacing: .12em !important; word-spacing: .16em !important; } p { margin-bottom: 2em !important; }");
  document.adoptedStyleSheets = [sheet];
  const out = [];
  for (const e of document.querySelectorAll("body *")) {
    const st = getComputedStyle(e);
    if (!e.checkVisibility() || e.closest("svg, .hidden, .skip, thead") || e.matches("input, textarea, select, meter")) continue;
    const clips = (o) => o === "hidden" || o === "clip";
    if (clips(st.overflowX) && e.scrollWidth > e.clientWidth + 1 || clips(st.overflowY) && e.scrollHeight > e.clientHeight + 1) out.push("cut off: " + e.outerHTML.slice(0, 80));
    // Text that is larger than its box lies over what is beside it.
    if (e.matches("button, .button, summary, label, .state, nav a, h1, h2, h3, dt, dd") && st.display !== "inline" && (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1)) out.push("larger than its box: " + e.outerHTML.slice(0, 80));
  }
  return out;
}

// What a page in the user's own colours still says.
function forced() {
  const out = [];
  if (!matchMedia("(forced-colors: active)").matches) return ["the colours are not forced"];
  const shown = (s) => [...document.querySelectorAll(s)].filter((e) => e.checkVisibility());
  const looks = (e) => { const c = getComputedStyle(e); return [c.borderTopStyle, c.borderTopColor, c.borderTopWidth, c.textDecorationLine, c.outlineStyle].join(); };
  for (const here of shown("nav a[aria-current]")) {
    const other = here.closest("ul").querySelector("a:not([aria-current])");
    if (looks(here) === looks(other)) out.push("the page that one is on looks like the others: " + here.textContent);
  }
  for (const chart of shown("dl:has(.key)")) {
    const colours = [...chart.querySelectorAll(".key")].map((k) => getComputedStyle(k).backgroundColor);
    if (new Set(colours).size !== colours.length) out.push("series of one colour: " + colours);
    if (colours.includes(getComputedStyle(document.body).backgroundColor)) out.push("a series has the colour of the page: " + colours);
    const bars = new Set([...chart.parentElement.querySelectorAll(".chart rect")].map((r) => getComputedStyle(r).fill));
    for (const b of bars) if (!colours.includes(b)) out.push(`bars are ${b}, the key has ${colours}`);
  }
  for (const qr of shown(".qr")) {
    const [paper, ink] = [qr.querySelector(".paper"), qr.querySelector("rect:not(.paper)")].map((r) => getComputedStyle(r).fill);
    if (paper !== "rgb(255, 255, 255)" || ink !== "rgb(0, 0, 0)") out.push(`a camera does not read ${ink} on ${paper}`);
  }
  for (const b of shown("button, .button, .state, input:not([type=radio], [type=checkbox]), select, textarea, .alert, section, .card")) {
    const c = getComputedStyle(b);
    if (!["Top", "Left"].some((s) => c[`border${s}Style`] !== "none" && parseFloat(c[`border${s}Width`]) >= 1)) out.push("without a border: " + b.outerHTML.slice(0, 80));
  }
  return out;
}

// The head of a page on a narrow screen is one row.
function head() {
  const height = document.querySelector("body > header").getBoundingClientRect().height;
  return height > 80 ? [`the head is ${height} high`] : [];
}

const commands = {
  // open goes to a page, in a window of its own.
  async open({ url, scheme, width, height, zone, noscript }) {
    if (context) await context.close();
    context = await browser.newContext({ colorScheme: scheme, viewport: { width, height }, locale: "en-GB", timezoneId: zone ?? "UTC", deviceScaleFactor: 1, javaScriptEnabled: !noscript });
    context.setDefaultTimeout(patience);
    page = await context.newPage();
    watch();
    await page.addInitScript(() => {
      window.states = [];
      document.addEventListener("DOMContentLoaded", () => {
        const e = document.getElementById("state");
        if (e) new MutationObserver(() => window.states.push(e.textContent)).observe(e, { childList: true, characterData: true, subtree: true });
      });
    });
    const r = await page.goto(url);
    return r.status();
  },
  // go goes to another page in the same window, and says with which status.
  go: async ({ url }) => (await page.goto(url)).status(),
  back: async () => { await page.goBack(); },
  // reload loads the page anew. A connection that the browser has opened ahead may wait in
  // the queue of a listener that a reload of Caddy's configuration has closed: it is reset,
  // and a user presses the key again.
  async reload() {
    try {
      return (await page.reload()).status();
    } catch (e) {
      if (!/ERR_CONNECTION_(RESET|CLOSED)/.test(e.message)) throw e;
      return (await page.reload()).status();
    }
  },
  // tab opens a window beside the first, or goes to one that is open, or that the page is
  // about to open.
  async tab({ number, opened }) {
    while (context.pages().length <= number) listen(await (opened ? context.waitForEvent("page") : context.newPage()));
    page = context.pages()[number];
    await page.bringToFront();
  },
  address: () => page.url(),
  // leaves waits until the browser is somewhere else, settles until nothing is asked for.
  leaves: async ({ base }) => { await page.waitForURL((u) => !u.href.startsWith(base) && u.protocol !== "about:"); },
  settles: async () => { await page.waitForLoadState("networkidle"); },
  // cookie is one of the context's; setCookie puts another value into it.
  async cookie({ name }) { return (await context.cookies()).find((c) => c.name === name)?.value ?? ""; },
  async setCookie({ name, value }) {
    const c = (await context.cookies()).find((c) => c.name === name);
    await context.addCookies([{ ...c, value }]);
  },
  // fill types into a field; click and dblclick press a button, and wait until the page
  // that it leads to is there.
  fill: async ({ selector, value }) => page.locator(selector).fill(value),
  async click({ selector, twice }) {
    const e = page.locator(selector).first();
    await (twice ? e.dblclick() : e.click());
    await page.waitForLoadState("load");
  },
  html: () => page.content(),
  seen: () => seen,
  states: () => page.evaluate(() => window.states),
  // was waits until the page's state has been one that matches, even if it
  // no longer is.
  was: ({ matches, from }) => page.waitForFunction(({ matches, from }) => window.states.slice(from ?? 0).some((s) => new RegExp(matches).test(s)), { matches, from }).then(() => null),
  // text waits until an element's text is, or matches. It is asked for from here: a page
  // without scripts has no timers.
  async text({ selector, is, matches }) {
    for (const end = Date.now() + patience; ; await pause(50)) {
      // A page that is being left answers nothing.
      const now = await page.evaluate((s) => document.querySelector(s)?.textContent ?? null, selector).catch(() => null);
      if (now !== null && (is !== undefined ? now === is : new RegExp(matches).test(now))) return now;
      if (Date.now() > end) throw new Error(`${selector} is ${JSON.stringify(now)}, want ${is ?? matches}`);
    }
  },
  // again loads the page anew, a moment apart, until an element's text matches.
  async again({ selector, matches }) {
    for (const end = Date.now() + patience; ; await page.reload()) {
      const now = await page.textContent(selector);
      if (new RegExp(matches).test(now)) return;
      if (Date.now() > end) throw new Error(`${selector} is ${JSON.stringify(now)}, want ${matches}`);
      await pause(200);
    }
  },
  // next waits for the next figures.
  async next() {
    const time = await page.textContent("#time");
    await page.waitForFunction((t) => document.getElementById("time").textContent !== t, time);
  },
  // rows are the cells of a table, and whether anything in it is not text.
  rows: ({ selector }) => page.evaluate((s) => [...document.querySelectorAll(s + " tbody tr")].map((r) => [...r.cells].map((c) => c.innerText.trim())), selector),
  attribute: ({ selector, name }) => page.locator(selector).first().getAttribute(name),
  countOf: ({ selector }) => page.locator(selector).count(),
  structure: () => page.evaluate(structure),
  contrast: () => page.evaluate(contrast),
  overflow: () => page.evaluate(overflow),
  head: () => page.evaluate(head),
  // spacing looks at the page with more room between letters, words and lines, and at what
  // then sticks out.
  async spacing() {
    try {
      return [...await page.evaluate(spacing), ...await page.evaluate(overflow)];
    } finally {
      await page.evaluate(() => { document.adoptedStyleSheets = []; });
    }
  },
  async forced() {
    await page.emulateMedia({ forcedColors: "active" });
    try {
      return await page.evaluate(forced);
    } finally {
      await page.emulateMedia({ forcedColors: "none" });
    }
  },
  // still is what moves though the user wants nothing to.
  async still() {
    await page.emulateMedia({ reducedMotion: "reduce" });
    try {
      return await page.evaluate(() => [
        ...document.getAnimations().map((a) => "an animation of " + (a.effect?.target?.outerHTML ?? "").slice(0, 80)),
        ...[...document.querySelectorAll("*")].filter((e) => getComputedStyle(e).transitionDuration.split(", ").some((d) => parseFloat(d) > 0)).map((e) => "a transition of " + e.outerHTML.slice(0, 80)),
        ...(getComputedStyle(document.documentElement).scrollBehavior === "smooth" ? ["smooth scrolling"] : []),
      ]);
    } finally {
      await page.emulateMedia({ reducedMotion: "no-preference" });
    }
  },
  // paper is the page as it is printed on A4: how many sheets, its text, and whether all of
  // it is dark on white.
  async paper({ scheme }) {
    await page.emulateMedia({ media: "print", colorScheme: scheme });
    try {
      const pdf = (await page.pdf({ format: "A4", printBackground: true })).toString("latin1");
      return { sheets: (pdf.match(/\/Type\s*\/Page\b/g) ?? []).length, text: await page.evaluate(() => document.body.innerText), ...await page.evaluate(contrast) };
    } finally {
      await page.emulateMedia({ media: "screen", colorScheme: "light" });
    }
  },
  media: async ({ scheme }) => page.emulateMedia({ colorScheme: scheme }),
  size: async ({ width, height }) => page.setViewportSize({ width, height }),
  press: async ({ key }) => page.keyboard.press(key),
  focused: () => page.evaluate(() => document.activeElement.id || document.activeElement.className || document.activeElement.tagName),
  // tabs goes through the page with the Tab key until it leaves it.
  async tabs() {
    // What was clicked last is where Tab goes on from: an element at the top, focused and
    // taken away, leaves it to begin there.
    await page.evaluate(() => {
      const start = document.createElement("button");
      document.body.prepend(start);
      start.focus();
      start.remove();
      // Marks of an earlier round, on a page that has changed a part of itself since.
      for (const e of document.querySelectorAll("[data-tabbed]")) delete e.dataset.tabbed;
      window.scrollTo(0, 0);
    });
    const reached = [], problems = [];
    for (let i = 0; i < 150; i++) {
      await page.keyboard.press("Tab");
      const at = await page.evaluate(() => {
        const e = document.activeElement;
        if (e === document.body) return null;
        const st = getComputedStyle(e), r = e.getBoundingClientRect();
        return {
          mark: (e.dataset.tabbed = e.dataset.tabbed ? "again" : "once"), name: e.textContent.trim().slice(0, 30) || e.id,
          outline: st.outlineStyle !== "none" && parseFloat(st.outlineWidth) >= 2,
          inside: r.right > 0 && r.left < innerWidth && r.bottom > 0 && r.top < innerHeight,
        };
      });
      if (!at || at.mark === "again") break;
      reached.push(at.name);
      if (!at.outline) problems.push(at.name + ": the focus cannot be seen");
      if (!at.inside) problems.push(at.name + ": focused, and not on the screen");
    }
    const left = await page.evaluate(() =>
      [...document.querySelectorAll("a[href],button,input,select,textarea,summary,[tabindex='0']")]
        .filter((e) => e.checkVisibility() && !e.closest("noscript") && !e.dataset.tabbed)
        // One of a group has the focus; the arrows go on from there.
        .filter((e) => e.type !== "radio" || ![...document.getElementsByName(e.name)].some((o) => o.dataset.tabbed)).map((e) => e.outerHTML.slice(0, 80)));
    // What scrolls sideways must be reachable, to be scrolled with the arrows.
    const scrollers = await page.evaluate(() =>
      [...document.querySelectorAll("body *")].filter((e) => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX === "auto" && !e.dataset.tabbed).map((e) => e.outerHTML.slice(0, 80)));
    return { reached, problems: [...problems, ...left.map((e) => "not reached: " + e), ...scrollers.map((e) => "scrolls and is not reached: " + e)] };
  },
  async axe() {
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
    return violations.map((v) => ({ impact: v.impact, id: v.id, help: v.help, nodes: v.nodes.map((n) => n.html.slice(0, 120)) }));
  },
  // refuse answers the next requests for events as a proxy does without its server.
  async refuse({ times }) {
    await page.route("**/*?events", async (route) => {
      if (times-- > 0) await route.fulfill({ status: 502, body: "bad gateway" });
      else await route.fallback();
    });
  },
  scroll: ({ selector }) => page.evaluate((s) => { document.querySelector(s).scrollIntoView(); }, selector),
  screenshot: async ({ path, full }) => { await page.evaluate(() => window.scrollTo(0, 0)); await page.screenshot({ path, fullPage: full }); },
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  let answer;
  try {
    // A page that hangs is told, and does not take the test's time.
    const late = pause(6 * patience).then(() => { throw new Error(command.do + " has no end"); });
    late.catch(() => {});
    answer = { value: (await Promise.race([commands[command.do](command), late])) ?? null };
  } catch (e) {
    answer = { error: String(e.stack ?? e) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
await browser.close();
process.exit(0); // timers that are left
