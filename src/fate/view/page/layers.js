// What lies over and under the bars: plans as ghosts, the critical path, memory, interruptions.

// Draws, below a bar, when the plan that started it expected it to run.
function drawGhost(ctx, chart, run, bar, row) {
  const ghost = run.expected.get(bar);
  if (!ghost) return;
  const left = chart.x(ghost[0]), right = chart.x(ghost[1]), alpha = ctx.globalAlpha;
  const top = row.top + row.high + 1.5;
  ctx.fillStyle = chart.paint.of(run.model[bar]);
  ctx.globalAlpha = alpha * 0.45;
  ctx.fillRect(left, top, Math.max(right - left, 1), 3);
  ctx.globalAlpha = alpha;
  for (const x of [left, right]) ctx.fillRect(x - 0.5, top - 0.5, 1, 4);
}

// Outlines where and when the first plan that had a bar's work in view wanted it to run.
function drawFirstPlan(ctx, chart, {run, bar}) {
  const ghost = run.expected.get(bar);
  if (!ghost || ghost.length < 6) return;
  const [, , , device, start, end] = ghost;
  const lane = chart.lanes.find((one) => one.run === run && one.device === run.devices[device]);
  const row = lane?.rows.find((one) => one.track === SLOT);
  if (!row) return;
  const left = chart.x(start), right = chart.x(end), {ink} = chart.paint;
  ctx.fillStyle = chart.paint.of(run.model[bar]);
  ctx.globalAlpha = 0.15;
  ctx.fillRect(left, row.top, right - left, row.high);
  ctx.globalAlpha = 1;
  ctx.strokeStyle = ink.ink;
  ctx.lineWidth = 1.2;
  ctx.setLineDash([3, 3]);
  ctx.strokeRect(left + 0.5, row.top + 0.5, Math.max(right - left - 1, 1), row.high - 1);
  ctx.setLineDash([]);
}

// Underlines the bars of the critical path, and joins each to the next.
function drawCritical(ctx, chart, run) {
  const {a, b} = chart.view, places = chart.places[run.number];
  const path = run.path, first = Math.max(0, lastBefore(path.length, a, (n) => run.start[path[n]]) - 1);
  ctx.strokeStyle = ctx.fillStyle = chart.paint.ink.critical;
  ctx.lineWidth = 1.4;
  ctx.beginPath();
  let before = null, drawn = -1;
  for (let i = first; i < path.length; i++) {
    const bar = path[i];
    if (run.start[bar] > b && before === null) break;
    const place = places.get(run.row[bar]);
    const left = chart.x(run.start[bar]), right = chart.x(run.end[bar]), y = place.top + place.high;
    if (before && left - drawn > 1.5) {
      const bend = Math.max(Math.min((left - before.right) / 2, 12), 3);
      ctx.moveTo(before.right, before.y - 1);
      ctx.bezierCurveTo(before.right + bend, before.y - 1, left - bend, y - 1, left, y - 1);
      drawn = left;
    }
    ctx.fillRect(left, y - 2.5, Math.max(right - left, 1), 2.5);
    if (run.start[bar] > b) break;
    before = {right, y};
  }
  ctx.globalAlpha = 0.6;
  ctx.stroke();
  ctx.globalAlpha = 1;
}

// Marks where one process ended and another went on.
function drawGaps(ctx, chart, run) {
  const lanes = chart.lanes.filter((lane) => lane.run === run);
  const top = lanes[0].top, bottom = lanes[lanes.length - 1].bottom;
  for (const [start, end] of run.gaps) {
    const left = chart.x(start), right = Math.max(chart.x(end), left + 3);
    if (right < chart.gutter || left > chart.width) continue;
    ctx.fillStyle = chart.paint.ink.page;
    ctx.globalAlpha = 0.85;
    ctx.fillRect(left, top, right - left, bottom - top);
    ctx.globalAlpha = 1;
    ctx.strokeStyle = chart.paint.ink.bad;
    ctx.lineWidth = 1.2;
    ctx.setLineDash([2, 3]);
    for (const x of [left, right]) {
      ctx.beginPath();
      ctx.moveTo(x, top);
      ctx.lineTo(x, bottom);
      ctx.stroke();
    }
    ctx.setLineDash([]);
    ctx.font = TINY;
    ctx.textAlign = "left";
    ctx.fillStyle = chart.paint.ink.bad;
    ctx.fillText("interrupted", right + 4, top + 8);
  }
}

// Draws a device's memory: what each model holds, weights and cache, under the declared budget.
function drawMemory(ctx, chart, lane) {
  const {paint, view} = chart, {top, high, at, levels, budget, most} = lane.memory;
  const scale = (high - 6) / Math.max(budget, most), base = top + high;
  const first = Math.max(0, lastBefore(at.length, view.a, (n) => at[n]));
  let drawn = -1;
  for (let i = first; i < at.length && at[i] < view.b; i++) {
    const left = Math.max(chart.x(at[i]), chart.gutter);
    const right = Math.min(i + 1 < at.length ? chart.x(at[i + 1]) : chart.x(lane.run.span), chart.width);
    if (right - drawn < 0.5) continue;
    drawn = right;
    let y = base;
    for (const [model, weights, cache] of levels[i]) {
      ctx.fillStyle = paint.of(model);
      for (const [size, alpha] of [[weights, 0.6], [cache, 0.25]]) {
        ctx.globalAlpha = alpha;
        y -= size * scale;
        ctx.fillRect(left, y, right - left, size * scale);
      }
      ctx.globalAlpha = 0.9;
      ctx.fillRect(left, y, right - left, 1);
      ctx.globalAlpha = 1;
    }
  }
  ctx.fillStyle = paint.ink.line;
  ctx.fillRect(chart.gutter, base, chart.width - chart.gutter - MARGIN, 1);
  const line = Math.round(base - budget * scale) + 0.5;
  ctx.strokeStyle = paint.ink.budget;
  ctx.lineWidth = 1;
  ctx.setLineDash([5, 3]);
  ctx.beginPath();
  ctx.moveTo(chart.gutter, line);
  ctx.lineTo(chart.width - MARGIN, line);
  ctx.stroke();
  ctx.setLineDash([]);
}
