// Draws the lanes as seen through the chart's view; what is under a pixel is not drawn twice.

const TINY_BAR = 4;
const SHADES = {lost: "bad", drained: "drained", resting: "drained", memory: "memory", plan: "held", planning: "planning"};

class Picture {
  constructor(chart) {
    this.chart = chart;
  }

  draw(ctx) {
    const {chart} = this, {width, paint} = chart;
    const box = chart.canvas.getBoundingClientRect();
    const top = Math.max(0, -box.top - 40), bottom = Math.min(chart.height, innerHeight - box.top + 40);
    if (bottom < top) return;
    ctx.clearRect(0, top, width, bottom - top);
    ctx.textBaseline = "middle";
    for (const [t] of chart.ticks()) {
      ctx.fillStyle = paint.ink.grid;
      ctx.fillRect(Math.round(chart.x(t)), top, 1, bottom - top);
    }
    this.relate();
    const seen = chart.lanes.filter((lane) => lane.bottom > top && lane.top < bottom);
    ctx.save();
    ctx.beginPath();
    ctx.rect(chart.gutter - 1, top, width - chart.gutter + 1, bottom - top);
    ctx.clip();
    for (const lane of seen) this.drawLane(ctx, lane);
    for (const run of chart.runs) {
      if (chart.show.critical) drawCritical(ctx, chart, run);
      drawGaps(ctx, chart, run);
    }
    if (chart.hover) drawFirstPlan(ctx, chart, chart.hover);
    ctx.restore();
    this.drawLabels(ctx, seen);
  }

  // Notes which bars belong to what the pointer is on: its workflow or stage, its twin elsewhere.
  relate() {
    const {chart} = this, on = chart.hover ?? chart.opened;
    this.mark = null;
    if (!on) return;
    const {run, bar} = on;
    const whole = run.workflows > 1;
    const twins = chart.runs.filter((other) => other !== run).map((other) => [other, other.find(run.key(bar))]);
    this.mark = {run, flow: whole ? run.flow[bar] : -1, name: run.name[bar], twins: new Map(twins)};
  }

  related(run, bar) {
    const {mark} = this;
    if (!mark) return false;
    if (run !== mark.run) return mark.twins.get(run) === bar;
    return mark.flow >= 0 ? run.flow[bar] === mark.flow : run.name[bar] === mark.name;
  }

  is(one, run, bar) {
    return one !== null && one.run === run && one.bar === bar;
  }

  dimmed(run, bar) {
    const {found} = this.chart;
    return found !== null && !found.sets[run.number].has(bar);
  }

  drawLane(ctx, lane) {
    for (const row of lane.rows) {
      this.drawIdle(ctx, lane, row);
      this.drawRow(ctx, lane, row);
    }
    if (lane.memory) drawMemory(ctx, this.chart, lane);
  }

  drawIdle(ctx, lane, row) {
    const {chart} = this, {paint, view} = chart, spans = lane.run.idleRows[row.row];
    ctx.font = SMALL;
    ctx.textAlign = "center";
    const first = Math.max(0, lastBefore(spans.length, view.a, (n) => spans[n].start));
    let drawn = -1;
    for (let i = first; i < spans.length && spans[i].start < view.b; i++) {
      const {start, end, reason} = spans[i], key = REASONS[reason];
      const left = Math.max(chart.x(start), chart.gutter), right = Math.min(chart.x(end), chart.width);
      if (right - left < 1 || right < drawn + 1) continue;
      drawn = right;
      const hue = SHADES[key] && paint.ink[SHADES[key]];
      ctx.fillStyle = paint.ink.idle;
      ctx.fillRect(left, row.top, right - left, row.high);
      if (hue && (key === "lost" || key === "drained")) paint.fill(ctx, "lost", hue, left, row.top, right - left, row.high);
      else if (hue) {
        ctx.fillStyle = hue;
        ctx.globalAlpha = 0.16;
        ctx.fillRect(left, row.top, right - left, row.high);
        ctx.globalAlpha = 1;
      }
      if (paint.width(ctx, IDLE[reason]) + 14 > right - left || row.high < 13) continue;
      ctx.fillStyle = key === "lost" ? paint.ink.bad : paint.ink.soft;
      ctx.fillText(IDLE[reason], (left + right) / 2, row.top + row.high / 2 + 0.5);
    }
  }

  // Draws a row's bars; those of a few pixels run together while they look alike.
  drawRow(ctx, lane, row) {
    const {chart} = this, {run} = lane, {a, b} = chart.view, bars = run.rowBars[row.row];
    const scale = (chart.width - chart.gutter - MARGIN) / (b - a), origin = chart.gutter - a * scale;
    const smear = {left: 0, right: -1, hue: "", alpha: 1};
    const flush = () => {
      if (smear.right <= smear.left) return;
      ctx.globalAlpha = smear.alpha;
      ctx.fillStyle = smear.hue;
      ctx.fillRect(smear.left, row.top, smear.right - smear.left, row.high);
      ctx.globalAlpha = 1;
    };
    const large = [];
    for (let i = Math.max(0, lastBefore(bars.length, a, (n) => run.start[bars[n]])); i < bars.length; i++) {
      const bar = bars[i];
      if (run.start[bar] > b) break;
      const left = origin + run.start[bar] * scale, right = origin + run.end[bar] * scale;
      if (right < 0) continue;
      if (right - left >= TINY_BAR) {
        large.push(bar);
        continue;
      }
      if (right < smear.right) continue;
      const hue = run.outcome[bar] >= BAD ? chart.paint.ink.bad : chart.paint.of(run.model[bar]);
      const alpha = this.dimmed(run, bar) ? 0.12 : run.kinds[bar] === CALL ? 1 : 0.55;
      const from = Math.max(left, smear.right), to = Math.max(right, left + 1);
      if (from < smear.right + 1 && hue === smear.hue && alpha === smear.alpha) {
        smear.right = to;
        continue;
      }
      flush();
      Object.assign(smear, {left: from, right: to, hue, alpha});
    }
    flush();
    for (const bar of large) this.drawBar(ctx, run, bar, row);
  }

  drawBar(ctx, run, bar, row) {
    const {chart} = this, {paint} = chart;
    const left = Math.max(chart.x(run.start[bar]), chart.gutter - 4);
    const right = Math.min(chart.x(run.end[bar]), chart.width + 4);
    const box = {left: left + 0.5, top: row.top, wide: Math.max(right - left - 1, 1), high: row.high};
    const hue = paint.of(run.model[bar]), kind = run.kinds[bar];
    ctx.globalAlpha = this.dimmed(run, bar) ? 0.14 : 1;
    if (kind === CALL && run.part[bar + 1] > run.part[bar]) {
      for (const [look, start, end] of run.stretches(bar)) {
        const from = Math.max(chart.x(start), box.left), to = Math.min(chart.x(end), box.left + box.wide);
        if (to > from) paint.fill(ctx, look, hue, from, box.top, to - from, box.high);
      }
    } else paint.fill(ctx, run.look(bar), hue, box.left, box.top, box.wide, box.high);
    if (chart.show.ghosts && row.track === SLOT) drawGhost(ctx, chart, run, bar, row);
    this.drawOutline(ctx, run, bar, box);
    if (box.wide > 30 && box.high >= 13) this.drawName(ctx, run.label(bar), box);
    ctx.globalAlpha = 1;
  }

  // Outlines what did not end well, what belongs to the bar under the pointer, and that bar.
  drawOutline(ctx, run, bar, box) {
    const {chart} = this, {ink} = chart.paint;
    const on = this.is(chart.hover, run, bar) || this.is(chart.opened, run, bar);
    const bad = run.outcome[bar] >= BAD, kin = this.related(run, bar);
    const retry = run.attempt[bar] > 1 || OUTCOMES[run.outcome[bar]] === "interrupted";
    if (!on && !bad && !kin && !retry) return;
    ctx.strokeStyle = on || kin ? ink.ink : bad ? ink.bad : ink.soft;
    ctx.lineWidth = on ? 2.5 : bad ? 2 : 1.3;
    ctx.setLineDash(!on && !kin && (retry || OUTCOMES[run.outcome[bar]] === "cancelled") ? [4, 3] : []);
    ctx.strokeRect(box.left + 0.75, box.top + 0.75, Math.max(box.wide - 1.5, 0.5), box.high - 1.5);
    ctx.setLineDash([]);
    if (!bad || box.wide < 16) return;
    const x = box.left + box.wide - 9, y = box.top + box.high / 2;
    ctx.fillStyle = ink.panel;
    ctx.beginPath();
    ctx.arc(x, y, Math.min(6, box.high / 2 - 1), 0, 7);
    ctx.fill();
    ctx.strokeStyle = ink.bad;
    ctx.lineWidth = 1.6;
    ctx.beginPath();
    for (const side of [-1, 1]) {
      ctx.moveTo(x - 2.5, y - 2.5 * side);
      ctx.lineTo(x + 2.5, y + 2.5 * side);
    }
    ctx.stroke();
  }

  // Writes a name on a plate of its own, since it may stand on a pattern.
  drawName(ctx, name, box) {
    const {paint} = this.chart;
    ctx.font = SMALL;
    const text = paint.fitted(ctx, name, box.wide - 14);
    if (!text) return;
    const middle = box.top + box.high / 2, alpha = ctx.globalAlpha;
    ctx.fillStyle = paint.ink.panel;
    ctx.globalAlpha = alpha * 0.9;
    ctx.beginPath();
    ctx.roundRect(box.left + 3, middle - 7.5, paint.width(ctx, text) + 8, 15, 3);
    ctx.fill();
    ctx.globalAlpha = alpha;
    ctx.fillStyle = paint.ink.ink;
    ctx.textAlign = "left";
    ctx.fillText(text, box.left + 7, middle + 0.5);
  }

  drawLabels(ctx, lanes) {
    const {chart} = this, {paint, narrow, gutter} = chart;
    ctx.textAlign = "left";
    for (const {run, top} of chart.headings) {
      ctx.fillStyle = paint.ink.idle;
      ctx.fillRect(0, top, chart.width, HEADING);
      ctx.font = `600 ${FONT}`;
      ctx.fillStyle = paint.ink.ink;
      ctx.fillText(paint.fitted(ctx, run.heading, chart.width - 20), narrow ? 10 : 16, top + HEADING / 2);
    }
    for (const lane of lanes) {
      const {device} = lane, x = narrow ? 10 : 16;
      ctx.fillStyle = paint.ink.line;
      ctx.fillRect(0, lane.top, chart.width, 1);
      const y = narrow ? lane.top + 14 : lane.top + PAD + 9;
      ctx.font = `600 ${FONT}`;
      ctx.fillStyle = paint.ink.ink;
      const name = paint.fitted(ctx, device.id, narrow ? 180 : gutter - 60);
      ctx.fillText(name, x, y);
      const shift = narrow ? paint.width(ctx, name) + 8 : 0;
      if (narrow) {
        ctx.fillStyle = paint.ink.panel;
        ctx.fillRect(x - 3, y - 8, shift + 130, 16);
        ctx.fillStyle = paint.ink.ink;
        ctx.fillText(name, x, y);
      }
      ctx.font = SMALL;
      ctx.fillStyle = paint.ink.faint;
      ctx.fillText(paint.fitted(ctx, device.note, narrow ? 200 : gutter - 24), x + shift, narrow ? y : y + 15);
      if (!narrow) this.drawTracks(ctx, lane);
    }
  }

  // Names the rows of a lane at the edge of the gutter.
  drawTracks(ctx, lane) {
    const {paint, gutter} = this.chart;
    const slots = lane.rows.filter((row) => row.track === SLOT).length;
    ctx.font = TINY;
    ctx.textAlign = "right";
    ctx.fillStyle = paint.ink.faint;
    let slot = 0;
    for (const row of lane.rows) {
      slot += row.track === SLOT;
      const name = row.track === LOADER ? "loads" : row.track === LINK ? "moves" : slots > 1 ? `${slot}` : "";
      ctx.fillText(name, gutter - 8, row.top + row.high / 2 + 0.5);
    }
    if (lane.memory) {
      const {top, high, budget} = lane.memory;
      ctx.fillText("memory", gutter - 8, top + high / 2 - 6);
      ctx.fillText(bytes(budget), gutter - 8, top + high / 2 + 7);
    }
    ctx.textAlign = "left";
  }
}
