// The page around the chart: figures, legend, tables below, search, theme, and the address.

const HOST = "host";
const USES = ["load", "unload", "move", "warm", "prefill", "decode", "tool", "idle"];
const LETTERS = "AB";

let firstLine = 0;
const runs = block.runs.map((raw, n) => {
  const run = new Run({...raw, firstLine}, n);
  firstLine += raw.tables.length;
  run.letter = LETTERS[n];
  const simulated = run.simulated ? ", simulated" : "";
  run.heading = `${run.letter}  ${run.title} \u00b7 ${run.policy}${simulated} \u00b7 ${seconds(run.span)}`;
  return run;
});
const show = {critical: true, ghosts: true, memory: !matchMedia(`(max-width: ${NARROW}px)`).matches};

// --- head -----------------------------------------------------------------------------------

function header() {
  const [run, other] = runs, titles = runs.map((one) => one.title);
  const simulated = runs.filter((one) => one.simulated);
  $("simulated").hidden = !simulated.length;
  const which = simulated.length === runs.length ? "Simulated" : `Run ${simulated[0]?.letter} is simulated`;
  $("simulated").textContent = `${which}: no model ran, times are virtual.`;
  document.title = `${titles.join(" / ")} \u2013 FATE timeline`;
  $("title").querySelector("h1").textContent = titles[0] === titles[1] || !other ? titles[0] : titles.join(" / ");
  const line = $("title").querySelector("p");
  for (const one of runs) {
    if (other) line.append(make("strong", one.letter), " ");
    line.append(make("b", one.status, one.status === "ok" ? {} : {class: "bad"}));
    line.append(` \u00b7 policy ${one.policy} \u00b7 seed ${one.seed} \u00b7 run ${one.id}`);
    for (const reason of one.failures) line.append(make("br"), make("span", reason, {class: "bad"}));
    if (one !== runs[runs.length - 1]) line.append(make("br"));
  }
  for (const [label, value, note] of other ? compared(run, other) : figuresOf(run)) {
    const box = make("div"), shown = make("dd", value);
    if (note) shown.append(" ", make("small", note));
    box.append(make("dt", label), shown);
    $("figures").append(box);
  }
  if (!other) $("figures").append(split(run));
  for (const one of runs)
    if (one.notice) $("below").before(make("p", other ? `${one.letter}: ${one.notice}` : one.notice, {class: "note"}));
}

// What all slots did, as one stacked bar.
function split(run) {
  const sums = new Map(USES.map((use) => [use, 0]));
  for (const {id} of run.devices)
    if (id !== HOST)
      for (const use of USES) sums.set(use, sums.get(use) + run.summary.devices[id][`${use}_s`]);
  const whole = [...sums.values()].reduce((sum, value) => sum + value, 0) || 1;
  const box = make("div", undefined, {class: "split"}), shown = make("dd"), stack = make("span", undefined, {class: "stack"});
  const said = [...sums].filter(([, value]) => value > 0).map(([use, value]) => `${use} ${percent(value, whole)}`);
  for (const [use, value] of sums) {
    if (use === "idle") continue;
    const part = make("i", undefined, {class: use});
    part.style.width = `${(100 * value) / whole}%`;
    stack.append(part);
  }
  stack.setAttribute("role", "img");
  stack.setAttribute("aria-label", said.join(", "));
  stack.title = said.join(", ");
  shown.append(stack);
  const computing = percent(sums.get("prefill") + sums.get("decode"), whole);
  box.append(make("dt", `${computing} of slot time computing`), shown);
  return box;
}

function figuresOf(run) {
  const {summary} = run, predicted = summary.predicted_makespan_s;
  const plans = summary.planning_ms.n ? `p50 ${summary.planning_ms.p50.toFixed(1)} ms` : "";
  return [
    ["makespan", seconds(summary.makespan_s), predicted ? `predicted ${seconds(predicted)}` : ""],
    ["stages done", `${number(summary.stages.done)} / ${number(summary.stages.total)}`, ""],
    ["model loads", number(summary.model_loads), summary.evictions ? `${number(summary.evictions)} evicted` : ""],
    ["cached", percent(summary.cached_tokens, summary.prompt_tokens), `of ${number(summary.prompt_tokens)} tokens`],
    ["plans", number(run.plans.length), plans],
  ];
}

function compared(one, two) {
  const delta = (a, b, show) => [show(b), signed(b - a, show)];
  const makespan = two.summary.makespan_s / one.summary.makespan_s - 1;
  return [
    ["makespan A", seconds(one.summary.makespan_s), ""],
    ["makespan B", seconds(two.summary.makespan_s), signed(100 * makespan, (v) => `${v.toFixed(0)} %`)],
    ["loads B", ...delta(one.summary.model_loads, two.summary.model_loads, number)],
    ["computed tokens B", ...delta(computed(one), computed(two), number)],
  ];
}

const computed = ({summary}) => summary.prompt_tokens - summary.cached_tokens;

function legend() {
  const add = (look, text, gap) => {
    const entry = make("li", undefined, gap ? {class: "gap"} : {});
    entry.append(make("i", undefined, {class: look}), text);
    $("legend").append(entry);
  };
  const shown = new Set(runs.flatMap((run) => run.model));
  block.models.forEach((model, n) => shown.has(n) && add(`m${n % HUES}`, model));
  const looks = new Set(runs.flatMap((run) => Array.from({length: run.count}, (_, bar) => run.look(bar))));
  const order = ["load", "restore", "unload", "park", "move", "warm"].filter((look) => looks.has(look));
  if (looks.has("call")) order.push("prefill", "decode");
  if (looks.has("tool")) order.push("tool");
  const names = {restore: "load + restore", park: "unload + park"};
  order.forEach((look, n) => add(look, names[look] ?? look, n === 0));
  if (runs.some((run) => run.attempt.some((n) => n > 1))) add("retry", "retry");
  if (runs.some((run) => run.outcome.some((n) => n >= BAD))) add("failed", "failed, cancelled or lost");
  add("idle", "idle", true);
  const reasons = new Set(runs.flatMap((run) => run.idle.map((entry) => REASONS[entry[4]])));
  for (const [reason, label] of REASONS.map((name, n) => [name, IDLE[n]]))
    if (SHADES[reason] && reasons.has(reason)) add(`why-${reason}`, label);
  add("critical", "critical path", true);
  if (runs.some((run) => run.expected.size)) add("ghost", "when its plan expected it");
}

// --- the address ----------------------------------------------------------------------------

let remembered = 0;

function remember() {
  clearTimeout(remembered);
  remembered = setTimeout(() => {
    const {a, b} = chart.view, parts = [];
    if (b - a < chart.span * 0.9999) parts.push(`t=${a.toFixed(4)}-${b.toFixed(4)}`);
    if (chart.opened) parts.push(`bar=${chart.opened.run.letter}${chart.opened.bar}`);
    if ($("search").value) parts.push(`find=${encodeURIComponent($("search").value)}`);
    history.replaceState(null, "", `#${parts.join("&")}`);
  }, 200);
}

function recall() {
  const found = new Map(location.hash.slice(1).split("&").map((part) => part.split("=")));
  const range = /^([\d.]+)-([\d.]+)$/.exec(found.get("t") ?? "");
  if (range) chart.look(Number(range[1]), Number(range[2]));
  const bar = /^([AB])(\d+)$/.exec(found.get("bar") ?? "");
  const run = bar && runs[LETTERS.indexOf(bar[1])];
  if (run && Number(bar[2]) < run.count) opened({run, bar: Number(bar[2])});
  try {
    $("search").value = decodeURIComponent(found.get("find") ?? "");
  } catch {
    $("search").value = "";
  }
  find();
}

// --- what is shown --------------------------------------------------------------------------

function find() {
  const wanted = $("search").value.trim().toLowerCase();
  chart.found = null;
  $("matches").textContent = "";
  if (wanted) {
    const sets = runs.map(() => new Set()), list = [];
    const texts = new Set(block.texts.flatMap((text, n) => (text.toLowerCase().includes(wanted) ? [n] : [])));
    for (const run of runs)
      for (let bar = 0; bar < run.count; bar++) {
        if (run.to[bar] === run.from[bar] || !texts.has(run.name[bar])) continue;
        sets[run.number].add(bar);
        list.push({run, bar});
      }
    chart.found = {sets, list};
    $("matches").textContent = list.length ? number(list.length) : "none";
  }
  chart.draw();
  remember();
}

function opened(hit, focus = false) {
  const back = !hit && document.activeElement && $("panel").contains(document.activeElement);
  chart.opened = hit && {run: hit.run, bar: hit.bar};
  $("tip").hidden = true;
  panel(chart, hit, focus);
  if (back) chart.canvas.focus();
  if (hit && getComputedStyle($("panel")).position === "fixed")
    chart.scrollTo(hit, innerHeight - $("panel").offsetHeight);
  chart.draw();
  remember();
}

function toggled(name) {
  show[name] = !show[name];
  pressed();
  chart.resize(true);
}

function pressed() {
  for (const button of document.querySelectorAll("[data-show]"))
    button.setAttribute("aria-pressed", String(show[button.dataset.show]));
}

function theme() {
  const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = root.dataset.theme || (dark ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
  chart.theme();
}

function help() {
  $("help").hidden = !$("help").hidden;
  document.querySelector("[data-act=help]").setAttribute("aria-expanded", String(!$("help").hidden));
}

for (const run of runs)
  for (const device of run.devices) {
    const times = run.summary.devices[device.id];
    const total = Object.values(times).reduce((sum, value) => sum + value, 0);
    device.note = `${device.engine} \u00b7 ${percent(total - times.idle_s, total)} busy`;
  }
header();
legend();
below(runs);
const chart = new Chart(runs, show, {
  hovered: (hit, x, y) => card(chart, hit, x, y),
  opened, toggled, theme, help, moved: remember,
  find: () => $("search").focus(),
});
pressed();
const acts = {in: () => chart.zoom(0.6), out: () => chart.zoom(1 / 0.6), fit: () => chart.fit(), theme, help};
$("bar").addEventListener("click", (event) => {
  const {act, show: layer} = event.target.dataset;
  if (layer) toggled(layer);
  else acts[act]?.();
});
$("search").addEventListener("input", find);
$("search").addEventListener("keydown", (event) => {
  if (event.key === "Enter") chart.step(event.shiftKey ? -1 : 1);
  else if (event.key === "Escape") {
    $("search").value = "";
    find();
    chart.canvas.focus();
  } else return;
  event.preventDefault();
});
addEventListener("keydown", (event) => {
  const typing = event.target.matches?.("input");
  if (!typing && event.target !== chart.canvas && event.target.id !== "overview") {
    if (["Escape", "/", "?", "j", "k", "c", "p", "m", "t", "0", "+", "-"].includes(event.key)) chart.keys(event);
  }
});
addEventListener("hashchange", recall);
recall();
