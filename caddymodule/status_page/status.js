"use strict";
const byId = (id) => document.getElementById(id);
const set = (id, text) => { const e = byId(id); if (e.textContent !== text) e.textContent = text; };
const rate = (n) => (n === undefined ? "0" : n >= 100 ? Math.round(n).toLocaleString() : n.toFixed(1));
const count = (n) => Math.round(n || 0).toLocaleString();
const ms = (s) => (s === undefined ? "–" : s < 1 ? Math.round(s * 1000) + " ms" : s.toFixed(1) + " s");
const history = [];

function rows(id, list, cells) {
  const body = byId(id).tBodies[0];
  const made = list.map((item) => {
    const tr = document.createElement("tr");
    for (const cell of cells(item)) {
      const td = document.createElement("td");
      const [text, kind] = Array.isArray(cell) ? cell : [cell];
      td.textContent = text === undefined || text === "" ? "–" : String(text);
      if (kind) td.className = kind;
      tr.append(td);
    }
    return tr;
  });
  body.replaceChildren(...made);
}

function show(s) {
  set("ok", rate(s.per_second["2xx"]));
  set("temp", rate(s.per_second["4xx"]));
  set("perm", rate(s.per_second["5xx"]));
  set("latency", [s.latency.p50, s.latency.p95, s.latency.p99].map(ms).join(" / "));
  set("sessions", count(s.sessions));
  set("total", count(s.total["2xx"]));
  history.push(s.per_second["2xx"] || 0);
  if (history.length > 150) history.shift();
  const peak = Math.max(...history, 1);
  set("peak", rate(Math.max(...history)));
  byId("line").setAttribute("points", history.map((v, i) => (i * 600 / 149).toFixed(1) + "," + (116 - v / peak * 112).toFixed(1)).join(" "));

  const a = s.accounts;
  set("a-total", count(a.total));
  set("a-consent", count(a.needs_consent));
  set("a-errors", count(a.errors));
  set("a-paused", count(a.paused));
  set("a-invalid", count(a.invalid));
  const notices = a.notices || [];
  byId("calm").hidden = notices.length > 0;
  byId("notices").hidden = notices.length === 0;
  byId("more").hidden = !a.more;
  set("more", "and " + a.more + " more");
  rows("notices", notices, (n) => [
    [n.state.replace("_", " "), n.state === "needs_consent" || n.state === "error" ? "bad" : "warn"],
    n.account, count(n.count), n.cause, n.remedy,
  ]);
  rows("upstreams", s.upstreams || [], (u) => [
    u.name, u.dial, count(u.connections.busy), count(u.connections.idle), count(u.connections.opening),
    [count(u.waiting), u.waiting > 0 ? "warn" : ""], count(u.accounts),
    [(u.breaker || "").replace("_", " "), u.breaker && u.breaker !== "closed" ? "bad" : ""],
  ]);
  rows("providers", s.providers || [], (p) => [
    p.provider, p.kind, p.grant,
    Object.entries(p.accounts || {}).sort().map(([k, v]) => v + " " + k.replace("_", " ")).join(", "),
    p.endpoint_down ? ["down", "bad"] : "up",
  ]);
}

function state(text, kind) {
  set("state", text);
  byId("state").className = kind;
}

const events = new EventSource("?events");
events.onmessage = (e) => { show(JSON.parse(e.data)); state("live", "live"); };
events.onerror = () => state("connection lost, trying again", "lost");
