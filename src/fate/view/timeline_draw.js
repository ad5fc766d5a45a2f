// What the chart looks like: lanes of bars over time on a canvas, and an overview of them all.

// Positions in a bar, as written by timeline.py.
const BAR = {
  lane: 0, row: 1, kind: 2, model: 3, instance: 4, from: 5, to: 6, start: 7, end: 8, outcome: 9,
  reason: 10, attempt: 11, parts: 12, prompt: 13, cached: 14, output: 15, plan: 16,
};
const NARROW = 640;
const AXIS = 34;
const PAD = 7;
const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
const SMALL = FONT.replace("12px", "11px");
const HUES = 8;

// Returns what the style sheet makes of a colour variable, as the canvas understands it.
function colour(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

// Formats seconds for an axis whose ticks are `step` apart.
function clock(seconds, step) {
  if (step >= 60 || seconds >= 600) {
    const whole = Math.round(seconds);
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  }
  return `${seconds.toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9)))} s`;
}

// Returns the position of the last entry of a sorted list that starts at or before `t`.
function lastBefore(list, t, start) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (start(list[middle]) <= t) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

// Cuts a text to a width; nothing is left where hardly anything would be.
function fitted(ctx, text, width) {
  if (width < 18) return "";
  if (ctx.measureText(text).width <= width) return text;
  const each = ctx.measureText(text).width / text.length;
  const keep = Math.floor(width / each) - 1;
  return keep >= 3 ? text.slice(0, keep) + "\u2026" : "";
}

// Draws `this.data` as seen through `this.view`; where things are is the chart's business.
class Picture {
  theme() {
    this.hue = Array.from({length: HUES}, (_, i) => colour(`m${i}`));
    this.ink = {};
    for (const name of ["ink", "soft", "faint", "line", "grid", "idle", "bad", "neutral", "panel", "m0"])
      this.ink[name] = colour(name);
    this.tiles = new Map();
    this.ctx = this.prepare(this.canvas, this.width, this.height);
    this.small = null;
    this.draw();
  }

  prepare(canvas, width, height) {
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const ctx = canvas.getContext("2d");
    ctx.setTransform(scale, 0, 0, scale, 0, 0);
    return ctx;
  }

  x(t) {
    const {a, b} = this.view;
    return this.gutter + ((t - a) / (b - a)) * (this.width - this.gutter - 10);
  }

  t(x) {
    const {a, b} = this.view;
    return a + ((x - this.gutter) / (this.width - this.gutter - 10)) * (b - a);
  }

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      if (!this.ctx) return;
      this.drawLanes();
      this.drawOverview();
    });
  }

  drawLanes() {
    const {ctx, width, height} = this;
    ctx.clearRect(0, 0, width, height);
    this.drawGrid(ctx);
    ctx.save();
    ctx.beginPath();
    ctx.rect(this.gutter - 1, 0, width - this.gutter + 1, height);
    ctx.clip();
    this.data.lanes.forEach((_, lane) => {
      this.drawIdle(ctx, lane);
      for (const row of this.rows[lane]) this.drawRow(ctx, lane, row);
    });
    this.drawPlans(ctx);
    ctx.restore();
    this.drawLabels(ctx);
  }

  drawGrid(ctx) {
    const {a, b} = this.view;
    const raw = ((b - a) / (this.width - this.gutter)) * (this.narrow ? 70 : 96);
    const power = 10 ** Math.floor(Math.log10(raw));
    let step = power * ([1, 2, 5].find((n) => n * power >= raw) || 10);
    if (step > 5) step = [10, 15, 30, 60, 120, 300, 600, 1800, 3600].find((n) => n >= raw) || step;
    ctx.font = SMALL;
    ctx.textBaseline = "middle";
    for (let n = Math.ceil(a / step - 1e-9); n * step <= b + 1e-9; n++) {
      const x = Math.round(this.x(n * step)) + 0.5, label = clock(n * step, step);
      ctx.fillStyle = this.ink.grid;
      ctx.fillRect(x - 0.5, AXIS - 8, 1, this.height);
      ctx.fillStyle = this.ink.faint;
      const half = ctx.measureText(label).width / 2;
      ctx.textAlign = "center";
      ctx.fillText(label, Math.min(Math.max(x, half + 4), this.width - half - 4), 13);
    }
  }

  drawIdle(ctx, lane) {
    const spans = this.idle[lane], {a, b} = this.view;
    const top = this.tops[lane], height = this.data.lanes[lane].rows * this.row;
    ctx.font = SMALL;
    ctx.textAlign = "center";
    const first = Math.max(0, lastBefore(spans, a, (span) => span[1]));
    for (let i = first; i < spans.length && spans[i][1] < b; i++) {
      const [, start, end, slots, reason] = spans[i];
      if (slots < this.data.lanes[lane].slots) continue;
      const left = Math.max(this.x(start), this.gutter), right = Math.min(this.x(end), this.width);
      if (right - left < 0.5) continue;
      ctx.fillStyle = this.ink.idle;
      ctx.fillRect(left, top, right - left, height);
      const text = ctx.measureText(reason).width + 12 < right - left ? reason : "";
      ctx.fillStyle = this.ink.faint;
      ctx.fillText(text, (left + right) / 2, top + height / 2 + 0.5);
    }
  }

  drawRow(ctx, lane, row) {
    const {a, b} = this.view;
    const height = this.row - 3;
    let drawn = -1;
    for (let i = Math.max(0, lastBefore(row, a, (bar) => bar[BAR.start])); i < row.length; i++) {
      const bar = row[i];
      if (bar[BAR.start] > b) break;
      const left = this.x(bar[BAR.start]), right = this.x(bar[BAR.end]);
      if (right < drawn + 0.5 && right - left < 0.5) continue;  // under the pixel just drawn
      drawn = right;
      const box = {
        left: Math.max(left, this.gutter - 2),
        right: Math.max(Math.min(right, this.width + 2), left + 0.7),
        top: this.tops[lane] + bar[BAR.row] * this.row + 1.5,
        height,
      };
      this.drawBar(ctx, bar, box);
    }
  }

  drawBar(ctx, bar, box) {
    const hue = bar[BAR.model] < 0 ? this.ink.neutral : this.hue[bar[BAR.model] % HUES];
    const wide = box.right - box.left;
    const inset = wide > 4 ? 0.5 : 0;
    if (wide < 5 || (bar[BAR.kind] === "call" && !bar[BAR.parts].length)) {
      ctx.fillStyle = hue;
      ctx.globalAlpha = bar[BAR.kind] === "call" ? 1 : 0.5;
      ctx.fillRect(box.left, box.top, wide, box.height);
      ctx.globalAlpha = 1;
    } else if (bar[BAR.kind] === "call" || bar[BAR.kind] === "warm") {
      for (const [kind, start, end] of bar[BAR.parts]) {
        const left = Math.max(this.x(start), box.left + inset);
        const right = Math.min(this.x(end), box.right - inset);
        const look = bar[BAR.kind] === "warm" ? "warm" : kind;
        if (right > left) this.fill(ctx, look, hue, left, right, box);
      }
    } else this.fill(ctx, bar[BAR.kind], hue, box.left + inset, box.right - inset, box);
    this.drawMark(ctx, bar, box, wide);
    this.drawName(ctx, bar, box, wide);
  }

  // Fills a stretch as its activity looks: decode solid, the others a pattern over a tint.
  fill(ctx, look, hue, left, right, box) {
    ctx.fillStyle = hue;
    if (look === "decode") {
      ctx.fillRect(left, box.top, right - left, box.height);
      return;
    }
    ctx.globalAlpha = look === "tool" ? 0.45 : look === "prefill" ? 0.3 : 0.1;
    ctx.fillRect(left, box.top, right - left, box.height);
    ctx.globalAlpha = 1;
    if (look === "tool") return;
    ctx.fillStyle = this.tile(ctx, look, hue);
    ctx.fillRect(left, box.top, right - left, box.height);
    if (look === "prefill" || right - left < 3) return;
    ctx.strokeStyle = hue;
    ctx.lineWidth = 1;
    ctx.setLineDash([]);
    ctx.strokeRect(left + 0.5, box.top + 0.5, right - left - 1, box.height - 1);
  }

  tile(ctx, look, hue) {
    const key = look + hue;
    if (this.tiles.has(key)) return this.tiles.get(key);
    const side = {prefill: 4, load: 7, unload: 5, warm: 3, move: 6}[look];
    const scale = 2, tile = document.createElement("canvas");
    tile.width = tile.height = side * scale;
    const pen = tile.getContext("2d");
    pen.scale(scale, scale);
    pen.strokeStyle = hue;
    pen.lineWidth = look === "load" || look === "prefill" ? 1.6 : 1;
    const lines = {
      prefill: [[1, 0, 1, side]],
      load: [[-1, side + 1, side + 1, -1], [-1, 1, 1, -1], [side - 1, side + 1, side + 1, side - 1]],
      unload: [[-1, -1, side + 1, side + 1], [side - 1, -1, side + 1, 1], [-1, side - 1, 1, side + 1]],
      warm: [[0, 1, side, 1]],
      move: [[0, 1, side, 1], [1, 0, 1, side]],
    }[look];
    for (const [x, y, u, v] of lines) {
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(u, v);
      pen.stroke();
    }
    const pattern = ctx.createPattern(tile, "repeat");
    pattern.setTransform(new DOMMatrix().scale(1 / scale));
    this.tiles.set(key, pattern);
    return pattern;
  }

  // Outlines a bar that did not end well, and the one that is picked.
  drawMark(ctx, bar, box, wide) {
    const picked = this.data.bars[this.picked] === bar;
    const ok = bar[BAR.outcome] === "done" || bar[BAR.outcome] === "running";
    if (ok && !picked) return;
    ctx.strokeStyle = picked ? this.ink.ink : this.ink.bad;
    ctx.lineWidth = 2;
    ctx.setLineDash(bar[BAR.outcome] === "cancelled" && !picked ? [4, 3] : []);
    ctx.strokeRect(box.left + 1, box.top + 1, Math.max(wide - 2, 1), box.height - 2);
    ctx.setLineDash([]);
  }

  // Writes a bar's name on a plate of its own, since it may stand on a pattern.
  drawName(ctx, bar, box, wide) {
    if (wide < 30 || box.height < 13) return;
    ctx.font = SMALL;
    const text = fitted(ctx, this.name(bar), wide - 16);
    if (!text) return;
    const long = ctx.measureText(text).width, middle = box.top + box.height / 2;
    ctx.fillStyle = this.ink.panel;
    ctx.globalAlpha = 0.88;
    ctx.beginPath();
    ctx.roundRect(box.left + 4, middle - 8, long + 8, 16, 3);
    ctx.fill();
    ctx.globalAlpha = 1;
    ctx.fillStyle = this.ink.ink;
    ctx.textAlign = "left";
    ctx.fillText(text, box.left + 8, middle + 0.5);
  }

  // The stage and its items, or the model where it is about no stage's items.
  name(bar) {
    if (bar[BAR.to] === bar[BAR.from])
      return `${bar[BAR.kind]} ${this.data.models[bar[BAR.model]] ?? ""}`;
    const stage = this.data.run.workflows === 1
      ? bar[BAR.instance].slice(bar[BAR.instance].indexOf("/") + 1)
      : bar[BAR.instance];
    if (bar[BAR.from] === 0 && bar[BAR.to] === 1) return stage;
    const last = bar[BAR.to] - 1;
    return `${stage} [${bar[BAR.from]}${last > bar[BAR.from] ? `\u2013${last}` : ""}]`;
  }

  drawPlans(ctx) {
    let drawn = -9;
    for (const plan of this.data.plans) {
      const x = this.x(plan.at);
      if (x < this.gutter - 4 || x > this.width + 4 || x < drawn + 2) continue;
      drawn = x;
      ctx.fillStyle = plan.failed ? this.ink.bad : this.ink.faint;
      ctx.beginPath();
      ctx.moveTo(x - 3.5, AXIS - 8);
      ctx.lineTo(x + 3.5, AXIS - 8);
      ctx.lineTo(x, AXIS - 2);
      ctx.fill();
    }
  }

  drawLabels(ctx) {
    ctx.textAlign = "left";
    this.data.lanes.forEach((lane, n) => {
      const top = this.tops[n], height = lane.rows * this.row;
      const edge = top - PAD - (this.narrow ? 16 : 0);
      ctx.fillStyle = this.ink.line;
      ctx.fillRect(0, edge, this.width, 1);
      const x = this.narrow ? 10 : 16;
      const y = this.narrow ? top - 8 : top + height / 2 - 6.5;
      ctx.font = `600 ${FONT}`;
      ctx.fillStyle = this.ink.ink;
      const name = fitted(ctx, lane.id, this.narrow ? 200 : this.gutter - 24);
      ctx.fillText(name, x, y);
      const shift = this.narrow ? ctx.measureText(name).width + 8 : 0;
      ctx.font = SMALL;
      ctx.fillStyle = this.ink.faint;
      ctx.fillText(fitted(ctx, lane.note, this.narrow ? 200 : this.gutter - 24), x + shift, y + (this.narrow ? 0 : 15));
    });
    if (this.narrow) return;
    ctx.font = SMALL;
    ctx.fillStyle = this.ink.faint;
    ctx.fillText("plans", 16, AXIS - 6);
  }

  drawOverview() {
    const width = this.width, height = 34, span = this.data.span || 1;
    const at = (t) => this.gutter + (t / span) * (width - this.gutter - 10);
    if (!this.small) {
      this.small = document.createElement("canvas");
      const ctx = this.prepare(this.small, width, height);
      const each = Math.min((height - 12) / this.data.lanes.length, 9);
      const top = (height - each * this.data.lanes.length) / 2;
      for (const bar of this.data.bars) {
        ctx.globalAlpha = bar[BAR.kind] === "call" ? 1 : 0.4;
        ctx.fillStyle = bar[BAR.model] < 0 ? this.ink.neutral : this.hue[bar[BAR.model] % HUES];
        const left = at(bar[BAR.start]);
        ctx.fillRect(left, top + bar[BAR.lane] * each, Math.max(at(bar[BAR.end]) - left, 0.5), Math.max(each - 1, 0.8));
      }
    }
    const ctx = this.prepare(this.overview, width, height);
    ctx.drawImage(this.small, 0, 0, width, height);
    const left = at(this.view.a), right = at(this.view.b);
    ctx.fillStyle = this.ink.panel;
    ctx.globalAlpha = 0.65;
    ctx.fillRect(0, 0, left, height);
    ctx.fillRect(right, 0, width - right, height);
    ctx.globalAlpha = 1;
    if (right - left > width - this.gutter - 12) return;
    ctx.strokeStyle = this.ink.m0;
    ctx.lineWidth = 1.5;
    ctx.strokeRect(left, 1, Math.max(right - left, 3), height - 2);
  }
}
