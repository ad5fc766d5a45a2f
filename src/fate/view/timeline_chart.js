// Moving about in the chart, and picking what is in it.

class Chart extends Picture {
  constructor(data, canvas, overview, onPick) {
    super();
    Object.assign(this, {data, canvas, overview, onPick});
    this.view = {a: 0, b: 0};
    this.pointers = new Map();
    this.picked = -1;
    this.rows = data.lanes.map((lane) => Array.from({length: lane.rows}, () => []));
    for (const bar of data.bars) this.rows[bar[BAR.lane]][bar[BAR.row]].push(bar);
    for (const rows of this.rows) for (const row of rows) row.sort((x, y) => x[BAR.start] - y[BAR.start]);
    this.idle = data.lanes.map(() => []);
    for (const span of data.idle) this.idle[span[0]].push(span);
    this.listen();
    this.fit();
  }

  // --- geometry ---------------------------------------------------------------------------

  resize() {
    if (this.width === this.canvas.clientWidth) return;
    this.width = this.canvas.clientWidth;
    this.narrow = this.width < NARROW;
    this.ctx = null;
    this.gutter = this.narrow ? 10 : 152;
    const most = Math.max(...this.data.lanes.map((lane) => lane.rows));
    const all = this.data.lanes.reduce((sum, lane) => sum + lane.rows, 0);
    this.row = most > 4 || all > 24 ? 18 : most > 2 || all > 10 ? 24 : 32;
    let y = AXIS;
    this.tops = this.data.lanes.map((lane) => {
      const top = y + PAD + (this.narrow ? 16 : 0);
      y = top + lane.rows * this.row + PAD;
      return top;
    });
    this.height = y;
    this.canvas.style.height = `${y}px`;
    this.theme();
  }

  // --- moving about -----------------------------------------------------------------------

  fit() {
    this.look(0, this.data.span || 1);
  }

  look(a, b) {
    const span = this.data.span || 1, least = span / 20000;
    const width = Math.min(Math.max(b - a, least), span);
    const start = Math.min(Math.max(a, 0), span - width);
    this.view = {a: start, b: start + width};
    this.draw();
  }

  zoom(factor, x = (this.gutter + this.width) / 2) {
    const {a, b} = this.view, at = this.t(x);
    this.look(at - (at - a) * factor, at + (b - at) * factor);
  }

  pan(share) {
    const {a, b} = this.view, by = (b - a) * share;
    this.look(a + by, b + by);
  }

  // --- picking ----------------------------------------------------------------------------

  // Returns what lies at a point: a bar, an idle span, a plan, or nothing.
  at(x, y) {
    const t = this.t(x);
    if (x < this.gutter) return null;
    if (y < AXIS) {
      const near = this.data.plans.filter((plan) => Math.abs(this.x(plan.at) - x) < 5);
      return near.length ? {plan: near[near.length - 1]} : null;
    }
    const lane = lastBefore(this.tops, y, (top) => top - PAD);
    if (lane < 0) return null;
    const row = this.rows[lane][Math.floor((y - this.tops[lane]) / this.row)] || [];
    const slack = this.t(x + 2) - t;
    const bar = row[lastBefore(row, t + slack, (entry) => entry[BAR.start])];
    if (bar && bar[BAR.end] >= t - slack) return {bar};
    const spans = this.idle[lane];
    const span = spans[lastBefore(spans, t, (entry) => entry[1])];
    return span && span[2] >= t ? {idle: span} : null;
  }

  pick(x, y) {
    const box = this.canvas.getBoundingClientRect();
    const hit = this.at(x - box.left, y - box.top);
    this.onPick(hit, x, y);
    const picked = hit && hit.bar ? this.data.bars.indexOf(hit.bar) : -1;
    if (picked !== this.picked) {
      this.picked = picked;
      this.draw();
    }
  }

  // Picks the next or previous bar, and brings it into view.
  step(by) {
    const {bars} = this.data;
    if (!bars.length) return;
    this.picked = Math.min(Math.max(this.picked + by, 0), bars.length - 1);
    const bar = bars[this.picked], {a, b} = this.view;
    if (bar[BAR.start] < a || bar[BAR.end] > b) {
      const middle = (bar[BAR.start] + bar[BAR.end]) / 2;
      this.look(middle - (b - a) / 2, middle + (b - a) / 2);
    }
    this.draw();
    const box = this.canvas.getBoundingClientRect();
    const y = this.tops[bar[BAR.lane]] + (bar[BAR.row] + 1) * this.row;
    this.onPick({bar}, box.left + Math.max(this.x(bar[BAR.start]), this.gutter), box.top + y);
  }

  // --- input ------------------------------------------------------------------------------

  listen() {
    const {canvas, overview} = this;
    new ResizeObserver(() => requestAnimationFrame(() => this.resize())).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.theme());
    canvas.addEventListener("wheel", (event) => this.wheel(event), {passive: false});
    canvas.addEventListener("dblclick", (event) => this.zoom(0.4, event.offsetX));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"])
      canvas.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    canvas.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") this.pick(-1, -1);
    });
    const jump = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      const share = (event.offsetX - this.gutter) / (this.width - this.gutter - 10);
      const {a, b} = this.view, middle = share * this.data.span;
      this.look(middle - (b - a) / 2, middle + (b - a) / 2);
    };
    overview.addEventListener("pointerdown", (event) => {
      overview.setPointerCapture(event.pointerId);
      jump(event);
    });
    overview.addEventListener("pointermove", jump);
  }

  wheel(event) {
    const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (event.ctrlKey || event.metaKey || event.altKey) this.zoom(1.0015 ** event.deltaY, event.offsetX);
    else if (sideways) this.pan((event.deltaX || event.deltaY) / this.width);
    else return;
    event.preventDefault();
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event.offsetX);
    this.pick(event.clientX, event.clientY);
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (before === undefined) {
      this.pick(event.clientX, event.clientY);
      return;
    }
    const other = [...this.pointers].find(([id]) => id !== event.pointerId);
    this.pointers.set(event.pointerId, event.offsetX);
    if (other) {
      const apart = Math.abs(event.offsetX - other[1]) || 1;
      this.zoom((Math.abs(before - other[1]) || 1) / apart, (event.offsetX + other[1]) / 2);
    } else this.pan((before - event.offsetX) / (this.width - this.gutter - 10));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      ArrowLeft: () => this.pan(-0.2), ArrowRight: () => this.pan(0.2),
      "+": () => this.zoom(0.6), "=": () => this.zoom(0.6), "-": () => this.zoom(1 / 0.6),
      0: () => this.fit(), j: () => this.step(1), k: () => this.step(-1),
      Escape: () => this.onPick(null),
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    action();
    event.preventDefault();
  }
}
