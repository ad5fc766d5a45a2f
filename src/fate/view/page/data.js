// The data block: one or two runs as columns. Texts and small sets of names are told by number.

const block = JSON.parse(document.getElementById("data").textContent);
const {kinds: KINDS, outcomes: OUTCOMES, parts: PARTS, reasons: REASONS, idle: IDLE} = block.names;
const CALL = KINDS.indexOf("call"), WARM = KINDS.indexOf("warm"), TOOL = KINDS.indexOf("tool");
// Outcomes from here on are drawn as bad.
const BAD = OUTCOMES.indexOf("failed");
const MICRO = 1e-6;

// Returns the position of the last of `n` sorted values that is at most `t`, by `at(i)`; or -1.
function lastBefore(n, t, at) {
  let low = 0, high = n;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at(middle) <= t) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

const secondsOf = (column) => Float64Array.from(column, (value) => value * MICRO);

class Run {
  constructor(raw, number) {
    Object.assign(this, raw, {number});
    const bars = raw.bars;
    this.count = bars.start.length;
    for (const name of Object.keys(bars)) this[name] = bars[name];
    this.start = secondsOf(bars.start);
    this.end = Float64Array.from(bars.length, (value, i) => this.start[i] + value * MICRO);
    this.partEnd = secondsOf(raw.parts.end);
    this.partKind = raw.parts.kind;
    this.row = Int32Array.from(bars.row);
    this.expected = new Map(raw.ghosts.map(([bar, ...ghost]) => [bar, ghost]));
    this.path = raw.critical;
    this.critical = new Set(raw.critical);
    this.tables = new Map(raw.tables.map((bar, line) => [bar, raw.firstLine + line]));
    this.rowBars = raw.rows.map(() => []);
    for (let i = 0; i < this.count; i++) this.rowBars[this.row[i]].push(i);
    for (const list of this.rowBars) list.sort((x, y) => this.start[x] - this.start[y] || x - y);
    this.idleRows = raw.rows.map((row, n) => this.idleOf(row, n));
  }

  // Cuts the idle spans of a device to the stretches in which a row of it has no bar.
  idleOf([device, track], row) {
    if (track !== 0) return [];
    const bars = this.rowBars[row], found = [];
    let next = 0;
    for (const [lane, from, to, slots, reason] of this.idle) {
      if (lane !== device) continue;
      let at = from * MICRO;
      const until = to * MICRO;
      while (next > 0 && this.end[bars[next - 1]] > at) next--;
      while (next < bars.length && this.end[bars[next]] <= at) next++;
      for (let i = next; at < until; i++) {
        const bar = bars[i], stop = bar === undefined ? until : Math.min(this.start[bar], until);
        if (stop > at) join(found, {start: at, end: stop, reason, slots});
        at = bar === undefined ? until : Math.max(at, this.end[bar]);
      }
    }
    return found;
  }

  text(number) {
    return block.texts[number];
  }

  // The instance, without the workflow where there is only one.
  stage(i) {
    const full = this.text(this.name[i]);
    return this.workflows === 1 ? full.slice(full.indexOf("/") + 1) : full;
  }

  kind(i) {
    return KINDS[this.kinds[i]];
  }

  // How it is hatched.
  look(i) {
    const kind = this.kind(i);
    if (!this.carried[i]) return kind;
    return kind === "load" ? "restore" : kind === "unload" ? "park" : kind;
  }

  // The stage and its items, or the model where it is about no stage's items.
  label(i) {
    if (this.to[i] === this.from[i]) return `${this.kind(i)} ${block.models[this.model[i]] ?? ""}`;
    const stage = this.stage(i);
    if (this.from[i] === 0 && this.to[i] === 1) return stage;
    const last = this.to[i] - 1;
    return `${stage} [${this.from[i]}${last > this.from[i] ? `\u2013${last}` : ""}]`;
  }

  // Yields [kind, start, end] of a call's stretches of prefill and decode.
  *stretches(i) {
    let at = this.start[i];
    for (let p = this.part[i]; p < this.part[i + 1]; p++) {
      yield [PARTS[this.partKind[p]], at, this.partEnd[p]];
      at = this.partEnd[p];
    }
  }

  // What a bar is, for finding it again in another run; workflows may be named otherwise there.
  key(i) {
    return `${this.kind(i)} ${this.stage(i)} ${this.from[i]}`;
  }

  // Returns the last bar with a key, or undefined.
  find(key) {
    if (!this.byKey) {
      this.byKey = new Map();
      for (let i = 0; i < this.count; i++)
        if (this.to[i] > this.from[i]) this.byKey.set(this.key(i), i);
    }
    return this.byKey.get(key);
  }

  // Reads the decision behind a bar; only now is its table decoded.
  decision(i) {
    const line = this.tables.get(i);
    if (line === undefined) return null;
    Run.lines ??= document.getElementById("tables").textContent.trim().split("\n");
    return JSON.parse(Run.lines[line]);
  }
}

function join(list, span) {
  const last = list[list.length - 1];
  const same = last && last.reason === span.reason && last.slots === span.slots;
  if (same && span.start - last.end < 1e-9) last.end = span.end;
  else list.push(span);
}

// --- words ----------------------------------------------------------------------------------

function seconds(value) {
  const size = Math.abs(value);
  if (size >= 600) return `${Math.floor(value / 60)} min ${Math.round(size % 60)} s`;
  return size >= 0.1 || size === 0 ? `${value.toFixed(2)} s` : `${(1000 * value).toFixed(1)} ms`;
}

const number = (value) => Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");
const percent = (part, whole) => (whole > 0 ? `${Math.round((100 * part) / whole)} %` : "\u2013");
const signed = (value, show) => (value < 0 ? "\u2212" : "+") + show(Math.abs(value));
const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

// Makes an element; text is only ever text, whatever is in it.
function make(tag, text, attributes = {}) {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

const $ = (id) => document.getElementById(id);
