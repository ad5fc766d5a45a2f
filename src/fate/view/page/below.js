// Under the chart: where the time of each device went, the critical path, and two runs compared.

function times(run) {
  const devices = Object.entries(run.summary.devices).filter(([id]) => id !== HOST);
  const used = USES.filter((use) => devices.some(([, row]) => row[`${use}_s`] > 0));
  const shown = make("table", undefined, {class: "times"}), head = make("tr");
  head.append(make("th", "device"), make("th", ""), ...used.map((use) => make("th", use)));
  shown.append(head);
  for (const [device, row] of devices) {
    const total = USES.reduce((sum, use) => sum + row[`${use}_s`], 0) || 1;
    const line = make("tr"), cell = make("td"), stack = make("div", undefined, {class: "stack"});
    for (const use of used) {
      const share = (100 * row[`${use}_s`]) / total;
      if (share <= 0 || use === "idle") continue;
      const part = make("i", undefined, {class: use, title: `${use} ${percent(row[`${use}_s`], total)}`});
      part.style.width = `${share}%`;
      stack.append(part);
    }
    cell.append(stack);
    line.append(make("td", device), cell);
    for (const use of used) {
      const value = row[`${use}_s`];
      line.append(make("td", value.toFixed(2), value > 0 ? {} : {class: "zero"}));
    }
    shown.append(line);
  }
  const box = make("div", undefined, {class: "scroll"});
  box.append(shown);
  return box;
}

// One sentence on why devices did nothing, one on what the critical path is made of.
function sentences(run) {
  const idle = new Map(), path = new Map();
  for (const [lane, start, end, slots, reason] of run.idle)
    if (run.devices[lane].id !== HOST)
      idle.set(IDLE[reason], (idle.get(IDLE[reason]) || 0) + slots * (end - start) * MICRO);
  let before = 0, waiting = 0;
  for (const bar of run.path) {
    waiting += Math.max(0, run.start[bar] - before);
    before = run.end[bar];
    const kind = run.kind(bar);
    path.set(kind, (path.get(kind) || 0) + run.end[bar] - run.start[bar]);
  }
  if (waiting > 0.0005) path.set("waiting", waiting);
  const told = (map) => [...map].filter(([, value]) => value > 0).sort((one, two) => two[1] - one[1])
    .map(([name, value]) => `${name} ${seconds(value)}`).join(", ");
  const lines = [];
  if (idle.size) lines.push(`Idle: ${told(idle)}.`);
  if (path.size) lines.push(`Critical path of ${plural(run.path.length, "activity").replace("activitys", "activities")}: ${told(path)}.`);
  if (run.summary.devices[HOST]) lines.push(`Tools on the host: ${seconds(run.summary.devices[HOST].tool_s)}.`);
  return lines;
}

function totals([one, two]) {
  const uses = (use) => ({devices}) => Object.entries(devices)
    .reduce((sum, [id, row]) => sum + (id === HOST ? 0 : row[`${use}_s`]), 0);
  const figures = [
    ["makespan", (s) => s.makespan_s, seconds], ["model loads", (s) => s.model_loads, number],
    ["unloads", (s) => s.evictions, number], ["prompt tokens", (s) => s.prompt_tokens, number],
    ["of them computed", (s) => s.prompt_tokens - s.cached_tokens, number],
    ["loading", uses("load"), seconds], ["moving", uses("move"), seconds],
    ["prefill", uses("prefill"), seconds], ["decode", uses("decode"), seconds], ["idle", uses("idle"), seconds],
  ];
  const shown = make("table", undefined, {class: "totals"}), head = make("tr");
  for (const name of ["", `A ${one.policy}`, `B ${two.policy}`, "B \u2212 A", ""]) head.append(make("th", name));
  shown.append(head);
  for (const [name, of, say] of figures) {
    const a = of(one.summary), b = of(two.summary);
    if (!a && !b) continue;
    const row = make("tr"), better = b < a ? "better" : b > a ? "worse" : "zero";
    row.append(make("td", name), make("td", say(a)), make("td", say(b)));
    row.append(make("td", a === b ? "0" : signed(b - a, say), {class: better}));
    row.append(make("td", a > 0 && a !== b ? signed(100 * (b / a - 1), (v) => `${v.toFixed(0)} %`) : "", {class: better}));
    shown.append(row);
  }
  return shown;
}

// The stages whose end differs most between two runs.
function differences([one, two]) {
  const rows = [];
  for (let bar = 0; bar < one.count; bar++) {
    if (one.kinds[bar] !== CALL || one.find(one.key(bar)) !== bar) continue;
    const twin = two.find(one.key(bar));
    if (twin !== undefined) rows.push([bar, twin, two.end[twin] - one.end[bar]]);
  }
  rows.sort((x, y) => Math.abs(y[2]) - Math.abs(x[2]));
  const shown = make("table", undefined, {class: "totals"}), head = make("tr");
  for (const name of ["", "ended in A", "ended in B", "B \u2212 A", ""]) head.append(make("th", name));
  shown.append(head);
  for (const [bar, twin, off] of rows.slice(0, 12)) {
    const row = make("tr"), cell = make("td"), open = make("button", one.label(bar), {type: "button", class: "link"});
    open.addEventListener("click", () => {
      chart.reveal({run: one, bar});
      opened({run: one, bar});
    });
    cell.append(open);
    const place = (run, i) => `${seconds(run.end[i])} on ${run.devices[run.rows[run.row[i]][0]].id}`;
    row.append(cell, make("td", place(one, bar)), make("td", place(two, twin)));
    row.append(make("td", signed(off, seconds), {class: off < 0 ? "better" : "worse"}), make("td"));
    shown.append(row);
  }
  return [shown, rows.length];
}

function below(shown) {
  const box = $("below");
  const add = (title, ...nodes) => {
    const section = make("section");
    section.append(make("h2", title), ...nodes);
    box.append(section);
  };
  const wide = (table) => {
    const scroll = make("div", undefined, {class: "scroll"});
    scroll.append(table);
    return scroll;
  };
  if (shown.length > 1) {
    add("Totals", wide(totals(shown)));
    const [table, count] = differences(shown);
    if (count) add("Stages that ended at other times", wide(table));
  }
  for (const run of shown) {
    const name = shown.length > 1 ? `Where the time went in ${run.letter}` : "Where the time went";
    const lines = sentences(run).map((text) => make("p", text, {class: "note"}));
    add(`${name}, seconds`, times(run), ...lines);
  }
}
