// Search without a server: the index is a script of the site's own, loaded when
// the field is first used. Nothing is asked of another site.
(() => {
  const script = document.currentScript;
  const field = document.querySelector("#search input");
  const results = document.querySelector("#results");
  const article = document.querySelector("article");
  // Pages name it relative to themselves, and all are in one folder.
  const root = new URL(script.dataset.root, location.href);
  let loading;

  const load = () => loading ??= new Promise((resolve, reject) => {
    const s = document.createElement("script");
    s.src = script.dataset.index;
    s.onload = () => resolve(window.manual.map(({ page: title, part: heading, url, text }) => ({
      title, heading, url, text, t: title.toLowerCase(), h: heading.toLowerCase(), x: text.toLowerCase(),
    })));
    s.onerror = reject;
    document.head.append(s);
  });

  // find returns the parts that have all words, the best first: a word in a
  // title or a heading counts for more than many in the text.
  const find = (parts, words) => {
    const found = [];
    for (const p of parts) {
      let score = 0;
      for (const w of words) {
        const times = p.x.split(w).length - 1;
        const s = (p.t.includes(w) ? 12 : 0) + (p.h.includes(w) ? 20 : 0) + Math.min(times, 5);
        if (s === 0) { score = 0; break; }
        score += s;
      }
      if (score > 0) found.push([score, p]);
    }
    return found.sort((a, b) => b[0] - a[0]).slice(0, 20).map(f => f[1]);
  };

  const element = (name, text, className) => {
    const e = document.createElement(name);
    e.textContent = text;
    if (className) e.className = className;
    return e;
  };

  const show = async () => {
    const query = field.value.trim();
    const words = query.toLowerCase().split(/\s+/).filter(w => w.length > 1);
    if (words.length === 0) {
      results.hidden = true;
      article.hidden = false;
      return;
    }
    const parts = await load();
    if (field.value.trim() !== query) return; // typed on
    const list = document.createElement("ol");
    const found = find(parts, words);
    for (const p of found) {
      const item = document.createElement("li");
      const link = element("a", p.heading ? p.title + ": " + p.heading : p.title);
      link.href = new URL(p.url, root);
      const at = Math.max(0, p.x.indexOf(words[0]) - 60);
      item.append(link, element("p", p.text.slice(at, at + 180).replace(/\s+/g, " ")));
      list.append(item);
    }
    results.replaceChildren(element("h1", found.length ? "Found" : "Nothing found"), list);
    results.hidden = false;
    article.hidden = true;
  };

  field.disabled = false;
  field.addEventListener("input", show);
  field.form.addEventListener("submit", e => {
    e.preventDefault();
    results.querySelector("a")?.click();
  });
  results.addEventListener("click", e => {
    if (e.target.closest("a")) { field.value = ""; show(); }
  });
  document.addEventListener("keydown", e => {
    if (e.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      e.preventDefault();
      field.focus();
    }
    if (e.key === "Escape" && document.activeElement === field) { field.value = ""; show(); }
  });
  const wide = matchMedia("(min-width: 60rem)");
  const nav = document.querySelector("nav details");
  const fit = () => { nav.open = wide.matches || nav.open; };
  wide.addEventListener("change", fit);
  fit();
  const asked = new URLSearchParams(location.search).get("q");
  if (asked) { field.value = asked; show(); }
})();
