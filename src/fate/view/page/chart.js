// The chart: where lanes are, which stretch of time is seen, and what lies at a point.

const PAD = 7, MARGIN = 12, HEADING = 30, THIN = 12, GHOST = 6, MEMORY = 40;
const SLOT = 0, LOADER = 1, LINK = 2;

class Chart {
  constructor(runs, show, hooks) {
    Object.assign(this, {runs, show, hooks});
    this.canvas = $("lanes");
    this.span = Math.max(...runs.map((run) => run.span)) || 1;
    this.view = {a: 0, b: this.span};
    this.hover = null;
    this.opened = null;
    this.found = null;
    this.frames = 0;
    this.paint = new Paint();
    this.overview = new Overview(this, $("overview"), $("axis"));
    this.picture = new Picture(this);
    new ResizeObserver(() => this.resize()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.theme());
    addEventListener("scroll", () => this.draw(), {passive: true});
    listen(this);
    this.resize();
  }

  theme() {
    this.paint.refresh();
    this.overview.small = null;
    this.draw();
  }

  // --- geometry ---------------------------------------------------------------------------

  resize(force = false) {
    const width = this.canvas.clientWidth;
    if (!width || (this.width === width && !force)) return;
    this.width = width;
    this.narrow = width < NARROW;
    this.gutter = this.narrow ? 10 : 158;
    this.layout();
    this.canvas.style.height = `${this.height}px`;
    this.ctx = this.prepare(this.canvas, width, this.height);
    this.overview.resize();
    this.draw();
  }

  prepare(canvas, width, height) {
    const scale = Math.min(window.devicePixelRatio || 1, 16000 / height);
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const ctx = canvas.getContext("2d");
    ctx.setTransform(scale, 0, 0, scale, 0, 0);
    return ctx;
  }

  // Stacks lanes: a heading for each of several runs, then each device's rows and its memory.
  layout() {
    const slots = this.runs.reduce((sum, run) => sum + run.rows.filter((row) => row[1] === SLOT).length, 0);
    const high = slots > 40 ? 15 : slots > 16 ? 19 : slots > 6 ? 24 : 28;
    let y = 0;
    this.lanes = [];
    this.headings = [];
    for (const run of this.runs) {
      if (this.runs.length > 1) {
        this.headings.push({run, top: y});
        y += HEADING;
      }
      run.devices.forEach((device, n) => {
        const lane = {run, device, top: y, rows: []};
        y += PAD + (this.narrow ? 18 : 0);
        run.rows.forEach(([of, track], row) => {
          if (of !== n) return;
          lane.rows.push({row, track, top: y, high: track === SLOT ? high - 3 : THIN - 2});
          y += track === SLOT ? high + (this.show.ghosts && n < run.planned ? GHOST : 0) : THIN;
        });
        lane.end = y;
        if (this.show.memory && run.memory[n]) {
          lane.memory = {top: y + 5, high: slots > 6 ? MEMORY * 0.6 : MEMORY, ...run.memory[n]};
          y += lane.memory.high + 6;
        }
        if (!this.narrow) y = Math.max(y, lane.top + 32);
        y += PAD;
        lane.bottom = y;
        this.lanes.push(lane);
      });
    }
    this.height = y;
    this.places = this.runs.map(() => new Map());
    for (const lane of this.lanes)
      for (const row of lane.rows) this.places[lane.run.number].set(row.row, {...row, lane});
  }

  x(t) {
    const {a, b} = this.view;
    return this.gutter + ((t - a) / (b - a)) * (this.width - this.gutter - MARGIN);
  }

  t(x) {
    const {a, b} = this.view;
    return a + ((x - this.gutter) / (this.width - this.gutter - MARGIN)) * (b - a);
  }

  // Returns [time, label] of the axis' ticks.
  ticks() {
    const {a, b} = this.view, found = [];
    const raw = ((b - a) / (this.width - this.gutter)) * (this.narrow ? 70 : 96);
    const power = 10 ** Math.floor(Math.log10(raw));
    let step = power * ([1, 2, 5].find((n) => n * power >= raw) || 10);
    if (step > 5) step = [10, 15, 30, 60, 120, 300, 600, 1800, 3600].find((n) => n >= raw) || step;
    for (let n = Math.ceil(a / step - 1e-9); n * step <= b * (1 + 1e-9); n++)
      found.push([n * step, clock(n * step, step)]);
    return found;
  }

  // --- moving about -----------------------------------------------------------------------

  fit() {
    this.look(0, this.span);
  }

  look(a, b) {
    const least = Math.min(this.span / 200000, 1e-3);
    const width = Math.min(Math.max(b - a, least), this.span);
    const start = Math.min(Math.max(a, 0), this.span - width);
    this.view = {a: start, b: start + width};
    this.draw();
    this.hooks.moved();
  }

  zoom(factor, x = (this.gutter + this.width) / 2) {
    const {a, b} = this.view, at = Math.min(Math.max(this.t(x), a), b);
    this.look(at - (at - a) * factor, at + (b - at) * factor);
  }

  pan(share) {
    const {a, b} = this.view, by = (b - a) * share;
    this.look(a + by, b + by);
  }

  // Moves the view to a bar if it is out of sight, and the page to its lane.
  reveal({run, bar}) {
    const {a, b} = this.view, start = run.start[bar], end = run.end[bar];
    if (start < a || end > b) {
      const width = Math.max(b - a, Math.min(1.5 * (end - start), this.span));
      this.look((start + end - width) / 2, (start + end + width) / 2);
    }
    this.scrollTo({run, bar});
  }

  // Scrolls the page until a bar's row is between the axis and `bottom` of the screen.
  scrollTo({run, bar}, bottom = innerHeight) {
    const place = this.places[run.number].get(run.row[bar]);
    const top = this.canvas.getBoundingClientRect().top + place.top;
    const fixed = $("top").offsetHeight;
    if (top < fixed || top + 40 > bottom) scrollBy({top: top - (fixed + bottom) / 2 + 20});
  }

  // --- picking ----------------------------------------------------------------------------

  // Returns what lies at a point of the canvas: {bar}, {idle} or {memory} of a run; or null.
  at(x, y) {
    const lane = this.lanes[lastBefore(this.lanes.length, y, (n) => this.lanes[n].top)];
    if (!lane || x < this.gutter || y > lane.bottom) return null;
    const {run} = lane, t = this.t(x), slack = this.t(x + 2) - t;
    const place = lane.rows.find((row) => y >= row.top && y < row.top + row.high + GHOST);
    if (place) {
      const bars = run.rowBars[place.row];
      const bar = bars[lastBefore(bars.length, t + slack, (n) => run.start[bars[n]])];
      if (bar !== undefined && run.end[bar] >= t - slack) return {run, bar};
      const spans = run.idleRows[place.row];
      const idle = spans[lastBefore(spans.length, t, (n) => spans[n].start)];
      return idle && idle.end >= t ? {run, idle, device: lane.device} : null;
    }
    const {memory} = lane;
    if (!memory || y < memory.top) return null;
    const step = lastBefore(memory.at.length, t, (n) => memory.at[n]);
    return {run, memory, step, device: lane.device};
  }

  // The bars in the order in which J and K go through them: those found, or all.
  get sequence() {
    if (this.found?.list.length) return this.found.list;
    return this.runs.flatMap((run) => Array.from({length: run.count}, (_, bar) => ({run, bar})));
  }

  step(by) {
    const list = this.sequence, now = this.hover ?? this.opened;
    if (!list.length) return null;
    const at = now ? list.findIndex((one) => one.run === now.run && one.bar === now.bar) : -1;
    const next = list[Math.min(Math.max(at < 0 ? (by > 0 ? 0 : list.length - 1) : at + by, 0), list.length - 1)];
    this.reveal(next);
    this.hover = next;
    this.draw();
    this.hooks.hovered(next, ...this.screen(next));
    return next;
  }

  // Where a bar is on the screen.
  screen({run, bar}) {
    const box = this.canvas.getBoundingClientRect();
    const place = this.places[run.number].get(run.row[bar]);
    return [box.left + Math.max(this.x(run.start[bar]), this.gutter), box.top + place.top + place.high];
  }

  // --- drawing ----------------------------------------------------------------------------

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      if (!this.ctx) return;
      this.picture.draw(this.ctx);
      this.overview.draw();
      if (!this.frames++) performance.mark("drawn");
    });
  }
}
