"use strict";
const byId = (id) => document.getElementById(id);
const set = (id, text, kind) => {
  const e = byId(id);
  if (e.textContent !== text) e.textContent = text;
  if (kind !== undefined && e.className !== kind) e.className = kind;
};
const none = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const count = (n) => whole.format(n || 0);
const rate = (n) => (n >= 100 ? whole.format(n) : tenths.format(n));
const latency = (s) => (s === undefined ? [none, ""] : s < 1 ? [s < .01 ? tenths.format(s * 1000) : whole.format(s * 1000), "ms"] : [tenths.format(s), "s"]);
const clock = (at) => new Date(at).toLocaleTimeString("en-GB");
const some = (n, kind) => (n > 0 ? kind : "");

// Causes come from several places: sentence makes them alike.
function sentence(text) {
  if (!text) return none;
  return text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

// Text in backticks becomes code. Nothing is ever parsed as HTML.
function words(text) {
  return text.split("`").map((part, i) => {
    if (i % 2 === 0) return part;
    const code = document.createElement("code");
    code.textContent = part;
    return code;
  });
}

function span(text, kind) {
  const e = document.createElement("span");
  e.className = kind;
  e.textContent = text;
  return e;
}

// rows fills a table. A cell is {text}, with `kind` as its class, or
// `badge` for a badge of that kind, or `nodes`.
function rows(id, list, cells) {
  const table = byId(id);
  const heads = [...table.tHead.rows[0].cells];
  const made = list.map((item) => {
    const tr = document.createElement("tr");
    tr.setAttribute("role", "row");
    cells(item).forEach((cell, i) => {
      const td = document.createElement("td");
      td.setAttribute("role", "cell");
      td.dataset.label = heads[i].textContent;
      td.className = [heads[i].className, cell.kind || ""].join(" ").trim();
      const text = cell.text === undefined || cell.text === "" ? none : String(cell.text);
      const inner = document.createElement("div");
      if (cell.badge !== undefined) inner.append(span(text, "badge " + cell.badge));
      else if (cell.nodes) inner.append(...cell.nodes);
      else inner.textContent = text;
      td.append(inner);
      tr.append(td);
    });
    return tr;
  });
  const body = table.tBodies[0];
  // Not to lose a selection, or a reader's place, for nothing.
  if (body.children.length === made.length && made.every((tr, i) => tr.isEqualNode(body.children[i]))) return;
  body.replaceChildren(...made);
}

// The chart shows what came while the page was open, at most five minutes.
const history = [];
const longest = 300;

function nice(peak) {
  for (let unit = 1; ; unit *= 10) {
    for (const step of [1, 2, 3, 4, 5, 6, 8]) if (peak <= step * unit) return step * unit;
  }
}

function chart(s) {
  const now = Date.parse(s.time) / 1000;
  if (s.per_second) {
    history.push({ at: now, ok: s.per_second["2xx"] || 0, bad: (s.per_second["4xx"] || 0) + (s.per_second["5xx"] || 0) });
  }
  // The clock may have been set back.
  while (history.length > 0 && (now - history[0].at > longest || history[0].at > now)) history.shift();
  const age = history.length > 0 ? now - history[0].at : 0;
  const reach = [60, 120, longest].find((r) => age <= r);
  const peak = history.reduce((m, p) => Math.max(m, p.ok, p.bad), 0);
  const top = nice(peak);
  for (const key of ["ok", "bad"]) {
    let d = "", last = -Infinity;
    for (const p of history) {
      const x = 600 * (1 - (now - p.at) / reach), y = 99 - p[key] / top * 98;
      // No line where nothing is known.
      d += (p.at - last > 3 * s.interval + 1 ? "M" : "L") + x.toFixed(1) + " " + y.toFixed(1);
      last = p.at;
    }
    byId("line-" + key).setAttribute("d", d);
  }
  set("y-max", count(top));
  set("x-min", reach / 60 + " min ago");
  set("peak", "Highest: " + rate(peak) + " per second");
}

const stateNames = {
  upstream_down: ["upstream down", "bad"], needs_consent: ["needs consent", "bad"], no_connection: ["no connection", "bad"],
  error: ["token error", "bad"], invalid: ["unreadable", "bad"], banned: ["banned", "warn"], limit_reached: ["limit reached", "warn"],
  spool: ["kept mail", "bad"], fewer_connections: ["fewer connections", "warn"], limit_near: ["near limit", "warn"], warning: ["ends soon", "warn"],
};
const untilNames = { limit_reached: "Next slot at ", no_connection: "Next try at ", fewer_connections: "Next try at ", banned: "Until " };
const breakers = { closed: ["up", "good"], open: ["down", "bad"], half_open: ["down, probing", "bad"] };

function notice(n, named) {
  const [name, kind] = stateNames[n.state] || [n.state.replaceAll("_", " "), "warn"];
  const cause = words(sentence(n.cause));
  if (n.until) cause.push(span(" " + untilNames[n.state] + clock(n.until) + ".", "until"));
  if (n.words) cause.push(span(n.words, "words"));
  return [{ text: name, badge: kind }, { text: named ? n.account : count(n.count), kind: "name" }, { nodes: cause }, { nodes: words(sentence(n.remedy)) }];
}

function show(s) {
  const now = s.per_second, since = s.total;
  for (const [id, of, kind] of [["ok", "2xx", ""], ["temp", "4xx", "warn"], ["perm", "5xx", "bad"]]) {
    set(id, now ? rate(now[of] || 0) : none, now ? some(now[of], kind) : "");
    set(id + "-total", count(since[of]));
  }
  const [median, unit] = latency(s.latency.p50);
  set("p50", median);
  set("p50-unit", unit);
  set("p95", latency(s.latency.p95).join(" ").trim());
  set("p99", latency(s.latency.p99).join(" ").trim());
  set("sessions", count(s.sessions));
  set("logins-failed", count(s.logins.failed));
  const waiting = s.upstreams.reduce((n, u) => n + u.waiting, 0);
  set("waiting", count(waiting), some(waiting, "warn"));
  set("limited", count((s.limited.refused || 0) + (s.limited.queue_full || 0) + (s.limited.backoff || 0)));
  chart(s);

  const a = s.accounts;
  set("a-total", count(a.total));
  set("a-consent", count(a.needs_consent), some(a.needs_consent, "bad"));
  set("a-cut-off", count(a.no_connection), some(a.no_connection, "bad"));
  set("a-errors", count(a.errors), some(a.errors, "bad"));
  set("a-limited", count(a.near_limit), some(a.near_limit, "warn"));
  set("a-paused", count(a.paused));
  set("a-invalid", count(a.invalid), some(a.invalid, "bad"));
  const notices = a.notices || [];
  document.title = (notices.length > 0 ? "(" + (notices.length + (a.more || 0)) + ") " : "") + "Mailgateway status";
  byId("calm").hidden = notices.length > 0;
  set("calm", "Nothing: no account, upstream or provider needs anybody.");
  byId("notices").hidden = notices.length === 0;
  byId("more").hidden = !a.more;
  set("more", "and " + count(a.more) + " more");
  set("who", a.named ? "Account" : "Accounts");
  rows("notices", notices, (n) => notice(n, a.named));
  rows("upstreams", s.upstreams, (u) => {
    const [name, kind] = breakers[u.breaker] || [u.breaker || "unknown", ""];
    return [
      { text: u.name, kind: "name" }, { text: u.dial }, { text: name, badge: kind },
      { text: count(u.connections.busy) }, { text: count(u.connections.idle) }, { text: count(u.connections.opening) },
      { text: count(u.waiting), kind: some(u.waiting, "warn") }, { text: count(u.accounts) },
    ];
  });
  rows("providers", s.providers, (p) => {
    const of = p.accounts || {};
    return [
      { text: p.provider, kind: "name" }, { text: p.kind }, { text: (p.grant || "").replaceAll("_", " ") },
      p.endpoint_down ? { text: "down", badge: "bad" } : { text: "up", badge: "good" },
      { text: count(of.ok) }, { text: count(of.idle) }, { text: count(of.refreshing) },
      { text: count(of.error), kind: some(of.error, "bad") },
      { text: count(of.reauth_required), kind: some(of.reauth_required, "bad") },
    ];
  });
  set("time", clock(s.time));
  byId("time").dateTime = s.time;
  reachable();
}

// A table that is wider than the page must be scrolled by keyboard too; one
// that is not should not be in the way of the Tab key.
function reachable() {
  for (const box of document.querySelectorAll(".scroll")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
window.addEventListener("resize", reachable);

let events, watchdog, again, paused = false, interval = 2, lostAt;

function lost() {
  lostAt = lostAt || Date.now();
  document.body.classList.add("stale");
  set("state", "Connection lost at " + clock(lostAt) + ", trying again", "bad");
}

function connect() {
  clearTimeout(again);
  if (events) events.close();
  const source = events = new EventSource("?events");
  watch();
  source.onmessage = (e) => {
    if (source !== events) return;
    const s = JSON.parse(e.data);
    interval = s.interval;
    lostAt = undefined;
    document.body.classList.remove("stale");
    set("state", "Live", "good");
    show(s);
    watch();
  };
  source.onerror = () => {
    if (source !== events) return;
    lost();
    // The browser tries again by itself unless it was answered with an
    // error, as by a proxy while the gateway is away.
    if (source.readyState === EventSource.CLOSED) again = setTimeout(connect, 3000);
  };
}

// A connection may die without a word.
function watch() {
  clearTimeout(watchdog);
  watchdog = setTimeout(() => { lost(); connect(); }, Math.max(10, 3 * interval) * 1000);
}

byId("pause").addEventListener("click", () => {
  paused = !paused;
  set("pause", paused ? "Continue" : "Pause");
  if (paused) {
    clearTimeout(watchdog);
    clearTimeout(again);
    events.close();
    set("state", "Paused", "warn");
  } else {
    set("state", "Connecting", "");
    connect();
  }
});

connect();
