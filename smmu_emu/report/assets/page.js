// SPDX-License-Identifier: GPL-2.0-or-later
"use strict";
// Data lie in script elements, compressed; blocks of events are opened when they come into view.
const by = id => document.getElementById(id);
// A colour as the four bytes of a pixel.
function pixel(name) {
  const colour = style(name), wide = colour.length === 4 ? colour.replace(/[0-9a-f]/gi, "$&$&") : colour;
  const [red, green, blue] = [1, 3, 5].map(at => parseInt(wide.slice(at, at + 2), 16));
  return (255 << 24 | blue << 16 | green << 8 | red) >>> 0;
}
const style = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

async function bytes(id) {
  const packed = Uint8Array.from(atob(by("data-" + id).textContent), one => one.charCodeAt(0));
  const opener = new DecompressionStream("deflate"), writer = opener.writable.getWriter(), reader = opener.readable.getReader();
  writer.write(packed); writer.close();
  const parts = [];
  let size = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) { parts.push(part.value); size += part.value.length; }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) { whole.set(part, at); at += part.length; }
  return whole.buffer;
}
const json = async id => JSON.parse(new TextDecoder().decode(await bytes(id)));

const TYPES = {eb: Uint32Array, ee: Uint32Array, ebt: Float64Array, eet: Float64Array, el: Uint32Array, eh: Uint32Array,
  ek: Uint8Array, en: Uint32Array, ea: BigUint64Array, ep: BigUint64Array,
  ms: Uint32Array, mt: Float64Array, ml: Uint32Array, mh: Uint32Array, mk: Uint8Array};
const TABS = {findings: "Findings", timeline: "Timeline", addresses: "Addresses", tables: "Tables", events: "Events"};
let S, origins, A = {};

// -- events, by blocks

const blocks = new Map();
async function block(number) {
  if (!blocks.has(number)) {
    if (blocks.size > 64) blocks.delete(blocks.keys().next().value);
    blocks.set(number, json("block" + number));
  }
  return blocks.get(number);
}
// Numbers of events rise by one unless some were filtered away, so search for the row.
async function rowOf(seq) {
  let low = 0, high = S.blocks - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((await block(middle))[0][0] <= seq) low = middle; else high = middle - 1;
  }
  const column = (await block(low))[0];
  let index = column.findIndex(one => one >= seq);
  if (index < 0) index = column.length - 1;
  return low * S.block + index;
}
async function line(row) {
  const part = await block(Math.floor(row / S.block)), i = row % S.block;
  return part && part[0][i] !== undefined ? {seq: part[0][i], time: part[1][i], kind: S.kinds[part[2][i]], cause: part[3][i], text: part[4][i]} : null;
}
const words = one => `#${one.seq} ${one.time.toLocaleString("en")} ns  ${one.kind}  ${one.text}` + (origins[one.cause] ? `\n        by ${origins[one.cause]}` : "");

const ROW = 20, MOST = 15e6;  // browsers limit how high an element can be
const events = {
  rows: [], scale: 1, here: -1, ticket: 0,
  total() { return this.filter ? this.filter.length : S.events; },
  start() {
    this.box = by("rows");
    this.box.addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.box);
    for (const kind of S.kinds) if (S.counts[kind]) by("kind").add(new Option(`${kind} (${S.counts[kind].toLocaleString("en")})`, kind));
    by("kind").onchange = () => this.choose(by("kind").value);
    by("next").onclick = () => this.search();
    by("find").onkeydown = e => { if (e.key === "Enter") this.search(); };
    by("goto").onchange = () => goTo(Number(by("goto").value));
    this.size();
  },
  size() {
    const height = this.total() * ROW;
    this.scale = Math.max(1, height / MOST);
    by("filler").style.height = height / this.scale + "px";
    this.draw();
  },
  async choose(kind) {
    this.filter = null;
    if (kind) {
      const found = [], number = S.kinds.indexOf(kind);
      for (let b = 0; b < S.blocks; b++) {
        (await block(b))[2].forEach((one, i) => { if (one === number) found.push(b * S.block + i); });
      }
      this.filter = found;
    }
    this.box.scrollTop = 0;
    this.size();
  },
  async search() {
    const text = by("find").value.trim().toLowerCase();
    if (!text) return;
    by("status").textContent = "looking ...";
    for (let at = this.here + 1; at < S.events; at++) {
      const part = await block(Math.floor(at / S.block)), base = at - at % S.block;
      for (let i = at % S.block; i < part[4].length; i++) {
        const cause = origins[part[3][i]] || "";
        if (part[4][i].toLowerCase().includes(text) || cause.toLowerCase().includes(text)) {
          by("status").textContent = "";
          return this.show(base + i);
        }
      }
      at = base + part[4].length - 1;
    }
    by("status").textContent = "no more of it after this event";
  },
  show(row) {
    if (this.filter) { by("kind").value = ""; this.filter = null; this.size(); }
    this.here = row;
    this.box.scrollTop = Math.max(0, row * ROW - this.box.clientHeight / 3) / this.scale;
    this.draw();
  },
  async draw() {
    if (!this.box || !this.box.clientHeight) return;
    const ticket = ++this.ticket, total = this.total(), fits = Math.ceil(this.box.clientHeight / ROW) + 1;
    const top = Math.max(0, Math.min(Math.floor(this.box.scrollTop * this.scale / ROW), total - fits + 1));
    const lines = [];
    for (let i = top; i < Math.min(total, top + fits); i++) lines.push([this.filter ? this.filter[i] : i]);
    for (const one of lines) one.push(await line(one[0]));
    if (ticket !== this.ticket) return;
    const view = by("view");
    view.style.transform = `translateY(${this.box.scrollTop}px)`;
    view.replaceChildren(...lines.filter(([, one]) => one).map(([row, one]) => {
      const div = document.createElement("div");
      div.className = "row" + (row === this.here ? " here" : "");
      for (const [name, text] of [["n", one.seq], ["t", one.time.toLocaleString("en")], ["k k-" + one.kind, one.kind], ["x", one.text], ["by", origins[one.cause] || ""]]) {
        const span = document.createElement("span");
        span.className = name; span.textContent = text; div.append(span);
      }
      return div;
    }));
  },
};
async function goTo(seq) { show("events"); events.show(await rowOf(seq)); }

// -- timeline: events or time across, addresses down

const timeline = {
  x0: 0, x1: 1, y0: 0, y1: 1, mode: "seq", due: false,
  start() {
    this.canvas = by("canvas");
    this.context = this.canvas.getContext("2d", {alpha: false});
    new ResizeObserver(() => this.request()).observe(this.canvas);
    by("across").onchange = () => { this.mode = by("across").value; this.whole(); };
    by("whole").onclick = () => this.whole();
    this.canvas.addEventListener("wheel", e => this.wheel(e), {passive: false});
    this.canvas.addEventListener("pointerdown", e => this.grab(e));
    this.canvas.addEventListener("keydown", e => this.key(e));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.request());
    this.whole();
  },
  whole() {
    [this.x0, this.x1] = this.mode === "seq" ? S.span : S.time;
    if (this.x1 <= this.x0) this.x1 = this.x0 + 1;
    const room = (this.x1 - this.x0) * .01; this.x0 -= room; this.x1 += room;
    this.y0 = 0; this.y1 = Math.max(1, S.height);
    this.request();
  },
  columns() { return this.mode === "seq" ? [A.eb, A.ee, A.ms] : [A.ebt, A.eet, A.mt]; },
  zoom(axis, at, factor) {
    const [a, b] = axis === "x" ? ["x0", "x1"] : ["y0", "y1"];
    const span = this[b] - this[a], middle = this[a] + span * at;
    this[a] = middle - span * at * factor; this[b] = this[a] + span * factor;
    this.request();
  },
  move(dx, dy) {
    const sx = (this.x1 - this.x0) * dx, sy = (this.y1 - this.y0) * dy;
    this.x0 += sx; this.x1 += sx; this.y0 += sy; this.y1 += sy;
    this.request();
  },
  wheel(e) {
    e.preventDefault();
    const box = this.canvas.getBoundingClientRect(), factor = Math.exp((e.deltaY || e.deltaX) * .0015);
    if (e.shiftKey || e.ctrlKey) this.zoom("y", (e.clientY - box.top) / box.height, factor);
    else this.zoom("x", (e.clientX - box.left) / box.width, factor);
  },
  key(e) {
    const known = {ArrowLeft: () => this.move(-.1, 0), ArrowRight: () => this.move(.1, 0), ArrowUp: () => this.move(0, -.1), ArrowDown: () => this.move(0, .1),
      "+": () => this.zoom("x", .5, .8), "-": () => this.zoom("x", .5, 1.25)}[e.key];
    if (known) { e.preventDefault(); known(); }
  },
  grab(e) {
    const box = this.canvas.getBoundingClientRect();
    let [x, y, moved] = [e.clientX, e.clientY, false];
    this.canvas.setPointerCapture(e.pointerId);
    this.canvas.onpointermove = m => {
      moved ||= Math.abs(m.clientX - e.clientX) + Math.abs(m.clientY - e.clientY) > 3;
      this.move((x - m.clientX) / box.width, (y - m.clientY) / box.height);
      [x, y] = [m.clientX, m.clientY];
    };
    this.canvas.onpointerup = () => {
      this.canvas.onpointermove = this.canvas.onpointerup = null;
      if (!moved) this.pick((e.clientX - box.left) / box.width, (e.clientY - box.top) / box.height);
    };
  },
  request() {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => { this.due = false; this.draw(); });
  },
  draw() {
    const ratio = devicePixelRatio, W = this.canvas.clientWidth * ratio | 0, H = this.canvas.clientHeight * ratio | 0;
    if (!W || !H) return;
    if (this.canvas.width !== W || this.canvas.height !== H) { this.canvas.width = W; this.canvas.height = H; }
    const c = this.context, [born, end, marks] = this.columns(), fx = W / (this.x1 - this.x0), fy = H / (this.y1 - this.y0);
    // Pixels are set in memory: a million calls to a canvas would take a second.
    if (!this.image || this.image.width !== W || this.image.height !== H) this.image = c.createImageData(W, H);
    const pixels = new Uint32Array(this.image.data.buffer);
    pixels.fill(pixel("--back"));
    let drawn = 0;
    const box = (xa, ya, xb, yb, colour) => {
      xa = Math.max(0, xa) | 0; xb = Math.min(W, xb) | 0; yb = Math.min(H, yb) | 0;
      for (let y = Math.max(0, ya) | 0; y < yb; y++) pixels.fill(colour, y * W + xa, y * W + xb);
      drawn++;
    };
    const colours = ["--alive", "--gone", "--evicted"].map(pixel), cache = pixel("--cache"), told = pixel("--told");
    for (let i = 0; i < born.length; i++) {
      const xa = (born[i] - this.x0) * fx, xb = (end[i] - this.x0) * fx;
      if (xb < 0 || xa > W) continue;
      const ya = (A.el[i] - this.y0) * fy, yb = (A.eh[i] - this.y0) * fy, kind = A.ek[i];
      if (yb < 0 || ya > H) continue;
      const y = ya | 0, x = xa | 0;
      box(x, y, Math.max(x + 1, xb), Math.max(y + 1, yb - (yb - ya > 4 ? 1 : 0)), kind & 8 ? told : kind & 4 ? cache : colours[kind & 3]);
    }
    const kinds = ["--hit", "--fault", "--inv", "--miss"].map(pixel), room = fy > 3 ? ratio : 0;
    const first = this.after(marks, this.x0), last = this.after(marks, this.x1), size = last - first > 5e4 ? 0 : room;
    for (let i = first; i < last; i++) {
      const ya = (A.ml[i] - this.y0) * fy, yb = (A.mh[i] - this.y0) * fy;
      if (yb < 0 || ya > H) continue;
      const kind = A.mk[i], x = (marks[i] - this.x0) * fx | 0;
      if (kind === 2) { box(x, ya, x + Math.max(1, size), Math.max((ya | 0) + 1, yb), kinds[2]); continue; }
      const y = (ya + yb) / 2 | 0, half = kind === 1 ? 2 * size : size;
      box(x - half, y - half, x + half + 1, y + half + 1, kinds[kind]);
    }
    c.putImageData(this.image, 0, 0);
    this.labels(c, W, H, fx, fy, ratio);
    this.canvas.dataset.drawn = drawn;
  },
  // Marks are in order: the first that is not before a place.
  after(column, at) {
    let low = 0, high = column.length;
    while (low < high) { const middle = (low + high) >> 1; if (column[middle] < at) low = middle + 1; else high = middle; }
    return low;
  },
  labels(c, W, H, fx, fy, ratio) {
    c.font = `${11 * ratio}px system-ui`; c.textBaseline = "top";
    const text = style("--text"), dim = style("--dim");
    for (const space of S.spaces) {
      const top = (space.row - this.y0) * fy, bottom = (space.row + space.addresses.length - this.y0) * fy;
      if (bottom < 0 || top > H) continue;
      c.strokeStyle = style("--line"); c.beginPath(); c.moveTo(0, top); c.lineTo(W, top); c.stroke();
      const first = Math.max(0, Math.floor(this.y0 - space.row)), step = Math.max(1, Math.ceil(14 * ratio / fy));
      for (let i = Math.ceil(first / step) * step; i < space.addresses.length - 1; i += step) {
        const y = (space.row + i - this.y0) * fy, word = "0x" + space.addresses[i];
        if (y > H) break;
        c.fillStyle = style("--back"); c.globalAlpha = .7; c.fillRect(0, y, c.measureText(word).width + 8 * ratio, 13 * ratio); c.globalAlpha = 1;
        c.fillStyle = dim; c.fillText(word, 4 * ratio, y + ratio);
      }
      const width = c.measureText(space.name).width + 8 * ratio, at = Math.min(Math.max(0, top), H);
      c.fillStyle = style("--back"); c.globalAlpha = .8; c.fillRect(W - width, at, width, 14 * ratio); c.globalAlpha = 1;
      c.fillStyle = text; c.fillText(space.name, W - width + 4 * ratio, at + ratio);
    }
    c.fillStyle = dim; c.textBaseline = "bottom";
    for (let i = 1; i < 6; i++) {
      const value = Math.round(this.x0 + (this.x1 - this.x0) * i / 6);
      c.fillText((this.mode === "seq" ? "#" : "") + value.toLocaleString("en") + (this.mode === "seq" ? "" : " ns"), W * i / 6, H);
    }
  },
  async pick(px, py) {
    const x = this.x0 + (this.x1 - this.x0) * px, y = this.y0 + (this.y1 - this.y0) * py, near = (this.x1 - this.x0) / this.canvas.clientWidth * 4;
    const [born, end, marks] = this.columns(), high = (this.y1 - this.y0) / this.canvas.clientHeight * 4, lines = [], seqs = [];
    for (let i = 0; i < marks.length && seqs.length < 12; i++)
      if (Math.abs(marks[i] - x) <= near && A.ml[i] - high <= y && A.mh[i] + high >= y) seqs.push(A.ms[i]);
    for (let i = 0; i < born.length && lines.length < 8; i++) {
      if (born[i] > x || end[i] < x || A.el[i] > y || A.eh[i] < y) continue;
      const how = ["alive at the end", "invalidated by", "evicted by"][A.ek[i] & 3];
      lines.push(`entry ${A.en[i]}: 0x${A.ea[i].toString(16)} → 0x${A.ep[i].toString(16)}, from #${A.eb[i]}, ${how}` + (A.ek[i] & 3 ? ` #${A.ee[i]}` : ""));
      seqs.push(A.eb[i]); if (A.ek[i] & 3) seqs.push(A.ee[i]);
    }
    const unique = [...new Set(seqs)].sort((a, b) => a - b);
    for (const seq of unique) { const one = await line(await rowOf(seq)); if (one) lines.push(words(one)); }
    by("what").textContent = lines.join("\n") || "Nothing is there.";
  },
};

// -- addresses: what is cached at one moment, and where it leads

const addresses = {
  start() {
    const moment = by("moment");
    [moment.min, moment.max] = S.span; moment.value = this.fullest();
    moment.oninput = () => this.draw();
    new ResizeObserver(() => this.draw()).observe(by("bars"));
  },
  // When most was cached: nothing is left of a driver that cleans up.
  fullest() {
    const steps = [];
    for (let i = 0; i < A.eb.length; i++) { steps.push([A.eb[i], 1]); if (A.ek[i] & 3) steps.push([A.ee[i], -1]); }
    steps.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    let live = 0, most = 0, at = S.span[1];
    for (const [seq, step] of steps) { live += step; if (live > most) [most, at] = [live, seq]; }
    return at;
  },
  draw() {
    const canvas = by("bars"), ratio = devicePixelRatio, at = Number(by("moment").value);
    const W = canvas.width = canvas.clientWidth * ratio | 0, H = canvas.height = canvas.clientHeight * ratio | 0, c = canvas.getContext("2d");
    if (!W || !H) return;
    by("momentout").textContent = "#" + at.toLocaleString("en");
    const live = [];
    for (let i = 0; i < A.eb.length; i++) if (A.eb[i] <= at && (A.ee[i] > at || !(A.ek[i] & 3)) && !(A.ek[i] & 4)) live.push(i);
    c.font = `${11 * ratio}px ui-monospace, monospace`; c.textBaseline = "middle"; c.fillStyle = style("--text");
    if (!live.length) { c.fillText("Nothing is cached at this moment.", 10 * ratio, 20 * ratio); canvas.dataset.live = 0; return; }
    const left = live.slice().sort((a, b) => A.el[a] - A.el[b] || A.en[a] - A.en[b]);
    const right = live.slice().sort((a, b) => A.ep[a] < A.ep[b] ? -1 : A.ep[a] > A.ep[b] ? 1 : A.en[a] - A.en[b]);
    const place = new Map(right.map((one, i) => [one, i])), step = (H - 30 * ratio) / live.length, every = Math.max(1, Math.ceil(14 * ratio / step));
    const x0 = 290 * ratio, x1 = W - 190 * ratio, y = i => 26 * ratio + (i + .5) * step, colours = ["--hit", "--alive", "--miss", "--inv"].map(style);
    const spaceOf = row => S.spaces.findLast(space => space.row <= row);
    c.fillText("address, by space", 4 * ratio, 10 * ratio); c.fillText("where it leads", x1 + 8 * ratio, 10 * ratio);
    c.globalAlpha = Math.max(.15, Math.min(.8, 200 / live.length));
    left.forEach((one, i) => {
      c.strokeStyle = colours[S.spaces.indexOf(spaceOf(A.el[one])) % colours.length]; c.lineWidth = Math.max(1, Math.min(8 * ratio, step * .7));
      c.beginPath(); c.moveTo(x0, y(i)); c.bezierCurveTo((x0 + x1) / 2, y(i), (x0 + x1) / 2, y(place.get(one)), x1, y(place.get(one))); c.stroke();
    });
    c.globalAlpha = 1; c.fillStyle = style("--text");
    let named = null;
    left.forEach((one, i) => {
      const space = spaceOf(A.el[one]);
      if (i % every === 0) c.fillText((space !== named ? space.name + " " : "") + "0x" + A.ea[one].toString(16), 4 * ratio, y(i));
      if (i % every === 0) named = space;
    });
    right.forEach((one, i) => { if (i % every === 0) c.fillText("0x" + A.ep[one].toString(16), x1 + 8 * ratio, y(i)); });
    canvas.dataset.live = live.length;
  },
};

// -- findings and tables

async function drawFindings(findings) {
  const box = by("findings"), add = (parent, tag, text, name) => {
    const one = document.createElement(tag);
    if (text) one.textContent = text;
    if (name) one.className = name;
    parent.append(one);
    return one;
  };
  if (!findings.length) add(box, "p", S.counts.record ? "No findings. Faults that were recorded:" : "No findings, and no faults.", "empty");
  for (const one of findings) {
    const card = add(box, "article", "", one.severity);
    add(card, "h2", `${one.severity}: ${one.name}`);
    add(card, "p", one.text);
    const story = add(card, "ol");
    for (const seq of one.story) {
      const event = await line(await rowOf(seq)), item = add(story, "li", event ? words(event) : `#${seq}`);
      item.onclick = () => goTo(seq);
    }
    add(card, "p", one.advice);
    add(card, "p", one.rule, "rule");
  }
  if (S.records.length) {
    const card = add(box, "article", "", "error");
    add(card, "h2", `${S.records.length.toLocaleString("en")} records of faults`);
    const list = add(card, "ol");
    for (const seq of S.records.slice(0, 200)) {
      const event = await line(await rowOf(seq));
      if (event) add(list, "li", words(event)).onclick = () => goTo(seq);
    }
    if (S.records.length > 200) add(card, "p", "The others are under Events.", "rule");
  }
}

function drawTable(table, box) {
  for (const one of table.entries) {
    const head = document.createElement(one.table ? "summary" : "div"), link = document.createElement("a");
    head.textContent = `level ${table.level}  ${one.at}: ${one.value}  ${one.words}  `;
    link.textContent = "#" + one.seq; link.onclick = e => { e.preventDefault(); goTo(one.seq); };
    head.append(link);
    if (!one.table) { head.className = "leaf"; box.append(head); continue; }
    const details = document.createElement("details");
    details.append(head);
    details.addEventListener("toggle", () => { if (details.open && details.childElementCount === 1) drawTable(one.table, details); });
    box.append(details);
  }
}

function drawTables(tables) {
  const box = by("tables");
  if (!tables.length) box.textContent = "No tables were walked.";
  for (const one of tables) {
    const details = document.createElement("details"), head = document.createElement("summary");
    head.textContent = one.name; details.append(head); details.open = tables.length < 4;
    drawTable(one.table, details); box.append(details);
  }
}

function show(tab) {
  for (const name of Object.keys(TABS)) {
    by(name).classList.toggle("shown", name === tab);
    by("tab-" + name).setAttribute("aria-selected", name === tab);
  }
  if (tab === "events") events.draw();
  if (tab === "timeline") timeline.request();
  if (tab === "addresses") addresses.draw();
  if (location.hash !== "#" + tab) history.replaceState(null, "", "#" + tab);
}

(async () => {
  S = await json("summary"); origins = await json("origins");
  await Promise.all(Object.entries(TYPES).map(async ([name, type]) => { A[name] = new type(await bytes("array-" + name)); }));
  for (const [name, label] of Object.entries(TABS)) {
    const button = document.createElement("button");
    button.id = "tab-" + name; button.textContent = label; button.role = "tab"; button.onclick = () => show(name);
    by("tabs").append(button);
  }
  by("counts").textContent = `${S.events.toLocaleString("en")} events: ` + Object.entries(S.counts).map(([kind, count]) => `${kind} ${count.toLocaleString("en")}`).join(", ") + (S.notes.length ? ` — ${S.notes.join("; ")}` : "");
  const findings = await json("findings");
  if (findings.length) by("tab-findings").textContent += ` (${findings.length})`;
  events.start(); timeline.start(); addresses.start();
  drawTables(await json("tables"));
  show(TABS[location.hash.slice(1)] ? location.hash.slice(1) : findings.length || S.records.length ? "findings" : "timeline");
  document.body.dataset.ready = "1";
  await drawFindings(findings);
  document.body.dataset.complete = "1";
})();
