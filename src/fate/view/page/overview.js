// The strip above the lanes: the whole run small, the window into it, and the axis of time.

const OVERVIEW = 40, AXIS = 30, EDGE = 7;

class Overview {
  constructor(chart, canvas, axis) {
    Object.assign(this, {chart, canvas, axis, small: null, grip: null});
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"])
      canvas.addEventListener(name, () => { this.grip = null; });
    canvas.addEventListener("dblclick", () => chart.fit());
    canvas.addEventListener("keydown", (event) => chart.keys(event));
    canvas.addEventListener("wheel", (event) => chart.wheel(event), {passive: false});
    axis.addEventListener("wheel", (event) => chart.wheel(event), {passive: false});
  }

  resize() {
    this.small = null;
    this.ctx = this.chart.prepare(this.canvas, this.chart.width, OVERVIEW);
    this.axisCtx = this.chart.prepare(this.axis, this.chart.width, AXIS);
  }

  x(t) {
    const {gutter, width, span} = this.chart;
    return gutter + (t / span) * (width - gutter - MARGIN);
  }

  t(x) {
    const {gutter, width, span} = this.chart;
    return Math.min(Math.max((x - gutter) / (width - gutter - MARGIN), 0), 1) * span;
  }

  // Takes hold of an edge of the window, of the window, or of a new range.
  down(event) {
    const {a, b} = this.chart.view, x = event.offsetX;
    this.canvas.setPointerCapture(event.pointerId);
    const left = this.x(a), right = this.x(b), whole = b - a > 0.999 * this.chart.span;
    if (!whole && Math.abs(x - left) < EDGE) this.grip = {fixed: b};
    else if (!whole && Math.abs(x - right) < EDGE) this.grip = {fixed: a};
    else if (!whole && x > left && x < right) this.grip = {offset: this.t(x) - a};
    else this.grip = {fixed: this.t(x), from: x};
  }

  move(event) {
    const {a, b} = this.chart.view, x = event.offsetX;
    if (!this.grip) {
      const edge = Math.min(Math.abs(x - this.x(a)), Math.abs(x - this.x(b))) < EDGE;
      this.canvas.style.cursor = edge ? "ew-resize" : x > this.x(a) && x < this.x(b) ? "grab" : "crosshair";
      return;
    }
    const t = this.t(x), {fixed, offset, from} = this.grip;
    if (offset !== undefined) this.chart.look(t - offset, t - offset + b - a);
    else if (from === undefined || Math.abs(x - from) > 4) {
      this.grip.from = undefined;
      this.chart.look(Math.min(fixed, t), Math.max(fixed, t));
    }
  }

  draw() {
    this.drawStrip();
    this.drawAxis();
    const {a, b} = this.chart.view;
    const shown = `${seconds(a)} to ${seconds(b)} of ${seconds(this.chart.span)}`;
    this.canvas.setAttribute("aria-valuetext", shown);
    this.canvas.setAttribute("aria-valuenow", Math.round((100 * a) / this.chart.span));
  }

  drawStrip() {
    const {ctx, chart} = this, {paint, width} = chart;
    this.small ??= this.whole();
    ctx.clearRect(0, 0, width, OVERVIEW);
    ctx.drawImage(this.small, 0, 0, width, OVERVIEW);
    const left = this.x(chart.view.a), right = this.x(chart.view.b);
    if (right - left > width - chart.gutter - MARGIN - 1) return;
    ctx.fillStyle = paint.ink.page;
    ctx.globalAlpha = 0.72;
    ctx.fillRect(0, 0, left, OVERVIEW);
    ctx.fillRect(right, 0, width - right, OVERVIEW);
    ctx.globalAlpha = 1;
    ctx.strokeStyle = paint.ink.focus;
    ctx.lineWidth = 1.5;
    ctx.strokeRect(left, 1, Math.max(right - left, 3), OVERVIEW - 2);
    ctx.fillStyle = paint.ink.focus;
    for (const x of [left, right]) ctx.fillRect(x - 1.5, OVERVIEW / 2 - 7, 3, 14);
  }

  // Draws everything once, a pixel column at a time: a copy of it serves all frames.
  whole() {
    const {chart} = this, small = document.createElement("canvas");
    const ctx = chart.prepare(small, chart.width, OVERVIEW);
    const each = (OVERVIEW - 10) / chart.lanes.length;
    chart.lanes.forEach((lane, n) => {
      const top = 5 + n * each, high = Math.max(Math.min(each - 1, 9), 0.8);
      for (const {row} of lane.rows) {
        if (lane.run.rows[row][1] !== 0 && lane.rows.length > 1) continue;
        let drawn = -1;
        for (const bar of lane.run.rowBars[row]) {
          const left = this.x(lane.run.start[bar]), right = this.x(lane.run.end[bar]);
          if (right < drawn + 0.7) continue;
          ctx.fillStyle = chart.paint.of(lane.run.model[bar]);
          ctx.fillRect(left, top, Math.max(right - left, 0.7), high);
          drawn = right;
        }
      }
    });
    return small;
  }

  drawAxis() {
    const {axisCtx: ctx, chart} = this, {paint, width} = chart;
    ctx.clearRect(0, 0, width, AXIS);
    ctx.font = SMALL;
    ctx.textBaseline = "middle";
    ctx.textAlign = "center";
    ctx.fillStyle = paint.ink.faint;
    for (const [t, label] of chart.ticks()) {
      const half = paint.width(ctx, label) / 2;
      const x = Math.min(Math.max(chart.x(t), half + 4), width - half - 4);
      ctx.fillText(label, x, 11);
    }
    this.drawPlans(ctx);
    if (chart.narrow) return;
    ctx.textAlign = "left";
    ctx.fillStyle = paint.ink.faint;
    ctx.fillText("plans", 16, AXIS - 7);
  }

  // Marks when plans arrived; with two runs, those of the first.
  drawPlans(ctx) {
    const {chart} = this;
    let drawn = -9;
    for (const plan of chart.runs[0].plans) {
      const x = chart.x(plan.at);
      if (x < chart.gutter - 4 || x > chart.width + 4 || x < drawn + 3) continue;
      drawn = x;
      ctx.fillStyle = plan.failed ? chart.paint.ink.bad : chart.paint.ink.faint;
      ctx.beginPath();
      ctx.moveTo(x - 3.5, AXIS - 10);
      ctx.lineTo(x + 3.5, AXIS - 10);
      ctx.lineTo(x, AXIS - 4);
      ctx.fill();
    }
  }
}
