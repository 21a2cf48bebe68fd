"use strict";
// Text of others only ever becomes textContent; nothing is built from strings of HTML.
const $ = (id) => document.getElementById(id);
const main = $("main"), filters = $("filters"), dialog = $("dialog");
const state = { view: "faces", summary: null, asked: 0 };

function el(tag, values = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(values)) {
    if (name === "text") node.textContent = value;
    else if (name === "onclick") node.addEventListener("click", value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}
const count = (n) => Number(n).toLocaleString("en");
const tail = (source) => source.split("/").filter(Boolean).pop() || source;  // what distinguishes it, in a narrow place
const cosine = (x) => (x === null ? "" : x.toFixed(4));

async function ask(path, values = {}) {
  const response = await fetch("/api/" + path + "?" + new URLSearchParams(values));
  const found = await response.json();
  if (!response.ok) throw new Error(found.error);
  return found;
}
const picture = (row, name) => el("img", { src: `/face/${row}.jpg`, alt: `face ${name}`, loading: "lazy", width: 112, height: 112 });

function tile(face, lines, onclick) {
  const kept = face.representative ? "kept" : "dropped";
  const node = el("button", { class: `tile ${face.representative ? "kept" : ""}`, type: "button", title: face.source, onclick,
    "aria-label": `${kept} face ${face.face_id} of ${face.source}; ${lines.join(", ")}` });
  node.append(picture(face.row, face.face_id), ...lines.map((text) => el("span", { text })));
  return node;
}
function show(title, ...nodes) {
  $("dialog-title").textContent = title;
  $("dialog-body").replaceChildren(...nodes);
  if (!dialog.open) dialog.showModal();
}
const details = (face) => [`${face.time_s.toFixed(1)} s, track ${face.track}`, `quality ${face.quality.toFixed(2)}, yaw ${face.yaw.toFixed(0)}°`];

async function cluster(head) {
  const faces = await ask("cluster", { id: head.cluster });
  const grid = el("div", { class: "grid" });
  for (const face of faces) {
    const why = face.representative ? "kept: the best of them" : `dropped: cosine ${cosine(face.similarity)}`;
    grid.append(tile(face, [why, ...details(face)], () => {}));
  }
  show(`${count(head.size)} faces, of which one is kept`, el("p", { class: "quiet", text:
    "First the face that is kept; then those that it stands for, the least similar first." }), grid);
}
async function video(row) {
  const faces = await ask("video", { id: row.video_id });
  const nodes = [], tracks = new Map();
  for (const face of faces) tracks.set(face.track, [...(tracks.get(face.track) || []), face]);
  for (const [track, own] of tracks) {
    const grid = el("div", { class: "grid" });
    for (const face of own) {
      const why = face.representative ? "kept" : `dropped for ${face.head_id}`;
      grid.append(face.representative ? tile(face, [why, ...details(face)], () => {}) : pair(face));
    }
    nodes.push(el("h2", { text: `Track ${track}: ${count(own.length)} faces` }), grid);
  }
  if (!nodes.length) nodes.push(el("p", { text: row.error || "No face was found in it." }));
  show(row.source, ...nodes);
}
function pair(face) {
  return el("figure", { class: "pair" }, picture(face.head, face.head_id), picture(face.row, face.face_id),
    el("figcaption", { text: `kept | dropped, cosine ${cosine(face.similarity)}` }));
}
function more(offset, length, limit, next) {
  return length < limit ? el("p", { class: "more quiet", text: "That is all." })
    : el("div", { class: "more" }, el("button", { type: "button", text: "Show more", onclick: (event) => { event.target.parentNode.remove(); next(offset + limit); } }));
}

const views = {
  async faces(offset = 0) {
    const values = Object.fromEntries(new FormData(filters)), turn = state.asked;
    const found = await ask("clusters", { ...values, offset, limit: 60 });
    if (turn !== state.asked) return;
    let grid = main.querySelector(".grid");
    if (!offset) {
      grid = el("div", { class: "grid" });
      main.replaceChildren(el("p", { id: "count", role: "status", text: `${count(found.faces)} faces in ${count(found.clusters)} clusters; each picture is the face that is kept, and stands for so many.` }), grid);
    }
    for (const head of found.rows) grid.append(tile(head, [`${count(head.passing)} of ${count(head.size)} faces`, tail(head.source)], () => cluster(head)));
    main.append(more(offset, found.rows.length, 60, views.faces));
  },
  async videos(offset = 0) {
    const turn = state.asked, rows = await ask("videos", { source: filters.source.value, offset, limit: 60 });
    if (turn !== state.asked) return;
    let list = main.querySelector(".rows");
    if (!offset) { list = el("ul", { class: "rows" }); main.replaceChildren(list); }
    for (const row of rows) {
      const kept = row.status === "failed" ? `${row.error_kind}: ${row.error}` : `${row.status.replace("_", " ")}; ${count(row.faces)} faces, ${count(row.kept)} kept`;
      list.append(el("li", {}, el("button", { type: "button", text: row.source, onclick: () => video(row) }),
        el("div", { class: row.status === "failed" ? "bad" : "quiet", text: [row.title, kept, row.license].filter(Boolean).join(" · ") })));
    }
    main.append(more(offset, rows.length, 60, views.videos));
  },
  async threshold() {
    const at = state.summary.threshold;
    const slider = el("input", { type: "range", id: "slider", min: 0.7, max: 0.999, step: 0.001, value: at, "aria-describedby": "said" });
    const said = el("p", { id: "said", role: "status" }), pairs = el("div", { class: "pairs" });
    main.replaceChildren(el("label", { text: "Cosine from which two faces are near-duplicates " }, slider), said,
      el("p", { class: "quiet", text: "Pairs nearest to that border: left the face that is kept, right one that it stands for." }), pairs);
    let wait = 0;
    async function look() {
      const t = Number(slider.value), mine = ++wait, found = await ask("threshold", { t });
      if (mine !== wait) return;
      const share = (100 * (1 - found.kept / found.faces)).toFixed(1);
      said.textContent = `At ${t.toFixed(3)} ${found.exact ? "" : "about "}${count(found.kept)} of ${count(found.faces)} faces are kept: ${share} % redundant. ` +
        `Of the faces that are dropped now, ${count(found.dropped_within)} lie within it of the one that stands for them.`;
      pairs.replaceChildren(...found.pairs.map(pair));
    }
    slider.addEventListener("input", look);
    await look();
  },
  async copies() {
    const rows = await ask("copies"), list = el("ul", { class: "rows" });
    for (const row of rows) {
      const item = el("li", { text: `${row.source} copies ${row.of}${row.kind ? ` (${row.kind})` : ""}` });
      for (const span of row.spans) item.append(el("div", { class: "quiet", text:
        `${span.start_s.toFixed(1)} to ${span.end_s.toFixed(1)} s is ${span.of_start_s.toFixed(1)} to ${span.of_end_s.toFixed(1)} s there` }));
      list.append(item);
    }
    main.replaceChildren(rows.length ? list : el("p", { text: "No video copies another." }));
  },
  async manifests() {
    const names = state.summary.manifests;
    if (!names.length) { main.replaceChildren(el("p", { text: "The build has no manifests; curate manifest cuts them." })); return; }
    const choose = (id, value) => { const node = el("select", { id }); for (const name of names) node.append(el("option", { text: name, value: name })); node.value = value; return node; };
    const a = choose("first", names[0]), b = choose("second", names[names.length - 1]), body = el("div");
    main.replaceChildren(el("form", { id: "two" }, el("label", { text: "First" }, a), el("label", { text: "Second" }, b)), body);
    async function compare() {
      const found = await ask("manifests", { a: a.value, b: b.value });
      body.replaceChildren(el("p", { role: "status", text: found.sizes.map((m) => `${m.name}: ${count(m.faces)} faces in ${count(m.clusters)} clusters`).join("; ") + `; ${count(found.shared)} faces are in both.` }));
      for (const [name, faces] of Object.entries(found.only)) {
        const grid = el("div", { class: "grid" });
        for (const face of faces) grid.append(tile(face, details(face), () => {}));
        body.append(el("h2", { text: `Only in ${name}` }), faces.length ? grid : el("p", { class: "quiet", text: "None." }));
      }
    }
    a.addEventListener("change", compare); b.addEventListener("change", compare);
    await compare();
  },
  async study() {
    const found = await ask("study"), list = el("ul", { class: "rows" }), grid = el("div", { class: "figures" });
    for (const sentence of found.sentences) list.append(el("li", { text: sentence }));
    for (const name of found.figures) grid.append(el("figure", {}, el("img", { src: `/figure/${encodeURIComponent(name)}.svg`, alt: `curves: ${name}`, loading: "lazy" }), el("figcaption", { text: name })));
    main.replaceChildren(el("h2", { text: found.headline }), list, grid);
  },
};

async function go(view) {
  state.view = view; state.asked += 1;
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const own = tab.id === "tab-" + view;
    tab.setAttribute("aria-selected", own); tab.tabIndex = own ? 0 : -1;
  }
  filters.hidden = !["faces", "videos"].includes(view);
  for (const label of filters.querySelectorAll(".face")) label.hidden = view !== "faces";
  main.setAttribute("aria-labelledby", "tab-" + view);
  try { await views[view](); } catch (error) { main.replaceChildren(el("p", { class: "bad", role: "alert", text: error.message })); }
}
for (const tab of document.querySelectorAll("[role=tab]")) {
  tab.addEventListener("click", () => go(tab.id.slice(4)));
  tab.addEventListener("keydown", (event) => {
    const tabs = [...document.querySelectorAll("[role=tab]:not([hidden])")], step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    next.focus(); go(next.id.slice(4)); event.preventDefault();
  });
}
filters.addEventListener("submit", (event) => event.preventDefault());
let typed = 0;
filters.addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(() => go(state.view), 250); });
$("close").addEventListener("click", () => dialog.close());

(async () => {
  state.summary = await ask("summary");
  const s = state.summary;
  $("tab-study").hidden = !s.study;
  document.title = $("name").textContent = s.name;
  $("summary").textContent = `${count(s.faces)} faces of ${count(s.videos)} videos; ${count(s.kept)} differ at cosine ${s.threshold}${s.people ? `; ${count(s.people)} people, by identity` : ""}.`;
  await go("faces");
})();
