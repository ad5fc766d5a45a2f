// The page around the chart: figures, legend, details on hover, and the table of times.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const HOST = "host";
const USES = ["load", "unload", "move", "warm", "prefill", "decode", "tool", "idle"];

function make(tag, text, attributes = {}) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function seconds(value) {
  if (value >= 600) return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
  return value >= 0.1 || value === 0 ? `${value.toFixed(2)} s` : `${(1000 * value).toFixed(1)} ms`;
}

const percent = (part, whole) => (whole > 0 ? `${Math.round((100 * part) / whole)} %` : "\u2013");
const number = (value) => value.toLocaleString("en").replaceAll(",", "\u202f");

// --- header ---------------------------------------------------------------------------------

function header() {
  const {run, summary} = data;
  $("simulated").hidden = !summary.simulated;
  document.title = `${run.workflow || run.id} \u2013 FATE timeline`;
  $("title").querySelector("h1").textContent = run.workflow || run.id;
  const line = $("title").querySelector("p");
  line.append(make("b", summary.status, summary.status === "ok" ? {} : {class: "bad"}));
  line.append(` \u00b7 policy ${summary.policy} \u00b7 seed ${summary.seed} \u00b7 run ${run.id}`);
  for (const reason of run.reasons) line.append(make("br"), make("span", reason));

  const predicted = summary.predicted_makespan_s;
  const off = predicted ? summary.makespan_s / predicted - 1 : 0;
  const sign = off < 0 ? "\u2212" : "+";
  const plans = summary.planning_ms;
  const planned = plans.n ? `p50 ${plans.p50.toFixed(1)} ms` : "";
  const figures = [
    ["makespan", seconds(summary.makespan_s), ""],
    predicted ? ["predicted", seconds(predicted), `${sign}${Math.abs(100 * off).toFixed(0)} %`] : null,
    ["stages done", `${summary.stages.done} / ${summary.stages.total}`, ""],
    ["model loads", number(summary.model_loads), `${number(summary.evictions)} evicted`],
    ["prompt tokens", number(summary.prompt_tokens),
      `${percent(summary.cached_tokens, summary.prompt_tokens)} cached`],
    ["plans", number(data.plans.length), planned],
  ];
  for (const figure of figures.filter(Boolean)) {
    const [label, value, note] = figure;
    const box = make("div"), shown = make("dd", value);
    if (note) shown.append(" ", make("small", note));
    box.append(make("dt", label), shown);
    $("figures").append(box);
  }
}

function legend() {
  const shown = new Set(data.bars.map((bar) => bar[BAR.model]));
  data.models.forEach((model, n) => {
    if (!shown.has(n)) return;
    const entry = make("li");
    entry.append(make("i", undefined, {style: `background: var(--m${n % HUES})`}), model);
    $("legend").append(entry);
  });
  const kinds = new Set(data.bars.map((bar) => bar[BAR.kind]));
  const looks = ["load", "unload", "move", "warm"].filter((kind) => kinds.has(kind));
  if (kinds.has("call")) looks.push("prefill", "decode");
  if (kinds.has("tool")) looks.push("tool");
  [...looks, "idle"].forEach((look, n) => {
    const entry = make("li", undefined, n ? {} : {class: "gap"});
    entry.append(make("i", undefined, {class: look}), look);
    $("legend").append(entry);
  });
}

// --- details --------------------------------------------------------------------------------

function planText(version) {
  if (version === -1) return "no plan in time: the core's greedy choice";
  if (version === -2) return "over its wait bound: had to start";
  const plan = data.plans.find((entry) => entry.version === version);
  return plan ? `plan ${version} (${searchText(plan.search)})` : `plan ${version}`;
}

function searchText(search) {
  const facts = [];
  if (search.kept) facts.push("kept");
  if (search.base) facts.push(`from ${search.base}`);
  if (search.moves) facts.push(`${search.moves} moves`);
  if (search.solver) facts.push(`solver ${search.solver.toLowerCase()}`);
  return facts.join(", ") || "no search";
}

function span(start, end) {
  return `${start.toFixed(2)} \u2013 ${end.toFixed(2)} s (${seconds(end - start)})`;
}

function aboutBar(bar, chart) {
  const kind = bar[BAR.kind], rows = [];
  rows.push(["time", span(bar[BAR.start], bar[BAR.end])]);
  if (bar[BAR.model] >= 0) rows.push(["model", data.models[bar[BAR.model]]]);
  rows.push(["on", data.lanes[bar[BAR.lane]].id]);
  if (kind === "load" && bar[BAR.instance]) rows.push(["for", bar[BAR.instance]]);
  if (kind === "call") {
    const sum = (what) => bar[BAR.parts]
      .reduce((total, part) => total + (part[0] === what ? part[2] - part[1] : 0), 0);
    rows.push(["prefill", `${seconds(sum("prefill"))}, decode ${seconds(sum("decode"))}`]);
    rows.push(["prompt", `${number(bar[BAR.prompt])} tokens, ${number(bar[BAR.cached])} cached`]);
    rows.push(["output", `${number(bar[BAR.output])} tokens`]);
    rows.push(["placed by", planText(bar[BAR.plan])]);
  }
  if (bar[BAR.attempt] > 1) rows.push(["attempt", String(bar[BAR.attempt])]);
  if (bar[BAR.outcome] !== "done") {
    const reason = bar[BAR.reason] ? `: ${bar[BAR.reason]}` : "";
    rows.push(["outcome", bar[BAR.outcome] + reason, "bad"]);
  }
  const name = chart.name(bar);
  return [name.startsWith(kind) || kind === "call" ? name : `${kind} ${name}`, rows];
}

function aboutIdle([lane, start, end, slots, reason]) {
  const rows = [["time", span(start, end)], ["why", reason]];
  if (data.lanes[lane].slots > 1) rows.push(["slots", `${slots} of ${data.lanes[lane].slots}`]);
  return [`${data.lanes[lane].id} idle`, rows];
}

function aboutPlan(plan) {
  const rows = [["arrived", `${plan.at.toFixed(3)} s`]];
  if (plan.failed) rows.push(["failed", plan.failed, "bad"]);
  else rows.push(["search", searchText(plan.search)]);
  if (plan.search.objective_s) rows.push(["objective", seconds(plan.search.objective_s)]);
  if (plan.waited) rows.push(["waited for", seconds(plan.waited)]);
  plan.heads.forEach((head, n) => head && rows.push([data.lanes[n].id, `next ${head}`]));
  return [`plan ${plan.version} \u00b7 ${plan.policy || "failed"}`, rows];
}

function tip(hit, x, y) {
  const box = $("tip");
  box.hidden = !hit;
  if (!hit) return;
  const [title, rows] = hit.bar ? aboutBar(hit.bar, chart) : hit.idle ? aboutIdle(hit.idle) : aboutPlan(hit.plan);
  const list = make("dl");
  for (const [name, value, look] of rows)
    list.append(make("dt", name), make("dd", value, look ? {class: look} : {}));
  box.replaceChildren(make("b", title), list);
  const {width, height} = box.getBoundingClientRect();
  const left = x + 16 + width > innerWidth ? x - width - 16 : x + 16;
  const top = y + 16 + height > innerHeight ? y - height - 16 : y + 16;
  box.style.left = `${Math.max(left, 8)}px`;
  box.style.top = `${Math.max(top, 8)}px`;
}

// --- where the time went --------------------------------------------------------------------

function table() {
  const {[HOST]: host, ...rest} = data.summary.devices;
  const devices = Object.entries(rest);
  const used = USES.filter((use) => devices.some(([, times]) => times[`${use}_s`] > 0));
  const head = make("tr");
  head.append(make("th", "device"), make("th", ""), ...used.map((use) => make("th", use)));
  $("times").append(head);
  for (const [device, times] of devices) {
    const total = USES.reduce((sum, use) => sum + times[`${use}_s`], 0) || 1;
    const row = make("tr"), cell = make("td"), stack = make("div", undefined, {class: "stack"});
    for (const use of used) {
      const share = (100 * times[`${use}_s`]) / total;
      const title = `${use} ${percent(times[`${use}_s`], total)}`;
      if (share > 0 && use !== "idle")
        stack.append(make("i", undefined, {class: use, style: `width: ${share}%`, title}));
    }
    cell.append(stack);
    row.append(make("td", device), cell);
    for (const use of used) {
      const value = times[`${use}_s`];
      row.append(make("td", value.toFixed(2), value > 0 ? {} : {class: "zero"}));
    }
    $("times").append(row);
  }
  const reasons = new Map();
  for (const [, start, end, slots, reason] of data.idle)
    reasons.set(reason, (reasons.get(reason) || 0) + slots * (end - start));
  const sorted = [...reasons].sort((one, two) => two[1] - one[1]);
  const list = sorted.map(([reason, value]) => `${reason} ${seconds(value)}`).join(", ");
  if (list) $("idle").append(`Idle: ${list}.`, make("br"));
  if (host) $("idle").append(`Tools on the host: ${seconds(host.tool_s)}.`);
}

header();
legend();
table();
for (const lane of data.lanes) {
  const times = data.summary.devices[lane.id];
  const total = Object.values(times).reduce((sum, value) => sum + value, 0);
  lane.note = `${lane.engine} \u00b7 ${percent(total - times.idle_s, total)} busy`;
}
const chart = new Chart(data, $("lanes"), $("overview"), tip);
$("tools").addEventListener("click", (event) => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const actions = {
    in: () => chart.zoom(0.6),
    out: () => chart.zoom(1 / 0.6),
    fit: () => chart.fit(),
    theme: () => {
      const now = root.dataset.theme || (dark ? "dark" : "light");
      root.dataset.theme = now === "dark" ? "light" : "dark";
      chart.theme();
    },
  };
  actions[event.target.dataset.act]?.();
});
