// The card beside the pointer: what a bar, a stretch of idleness or a step of memory is.

const span = (start, end) => `${seconds(start)} \u2013 ${seconds(end)} (${seconds(end - start)})`;

function searchText(search) {
  const facts = [];
  if (search.kept) facts.push("kept");
  if (search.base) facts.push(`from ${search.base}`);
  if (search.moves) facts.push(plural(search.moves, "move"));
  if (search.solver) facts.push(`solver ${search.solver.toLowerCase()}`);
  return facts.join(", ") || "no search";
}

function planText(run, version) {
  if (version === -1) return "no plan in time: the core's greedy choice";
  if (version === -2) return "over its wait bound: had to start";
  run.byVersion ??= new Map(run.plans.map((plan) => [plan.version, plan]));
  const plan = run.byVersion.get(version);
  return plan ? `plan ${version} at ${seconds(plan.at)} (${searchText(plan.search)})` : `plan ${version}`;
}

// How a bar ended against what the plan that started it expected.
function expectation(run, bar) {
  const ghost = run.expected.get(bar);
  if (!ghost) return [];
  const off = run.end[bar] - ghost[1];
  const word = Math.abs(off) < 0.005 ? "as it was" : `${seconds(Math.abs(off))} ${off > 0 ? "later" : "earlier"}`;
  const rows = [["expected", `${span(ghost[0], ghost[1])}; ended ${word}`]];
  if (ghost.length > 5)
    rows.push(["first planned", `${run.devices[ghost[3]].id}, ${span(ghost[4], ghost[5])}, plan ${ghost[2]}`]);
  return rows;
}

function tokens(run, bar) {
  const sum = {prefill: 0, decode: 0};
  for (const [look, start, end] of run.stretches(bar)) sum[look] += end - start;
  const prompt = run.prompt[bar], cached = run.cached[bar];
  return [
    ["prefill", `${seconds(sum.prefill)}, decode ${seconds(sum.decode)}`],
    ["prompt", `${plural(prompt, "token")}, ${number(cached)} cached (${percent(cached, prompt)})`],
    ["output", plural(run.output[bar], "token")],
  ];
}

// Returns the title and the rows [name, value, class] about a bar.
function aboutBar(run, bar) {
  const kind = run.kind(bar), rows = [["time", span(run.start[bar], run.end[bar])]];
  const about = run.text(run.name[bar]);
  if (run.model[bar] >= 0) rows.push(["model", block.models[run.model[bar]]]);
  rows.push(["on", run.devices[run.rows[run.row[bar]][0]].id]);
  if (run.workflows > 1 && run.flow[bar] >= 0) rows.push(["workflow", run.text(run.flow[bar])]);
  if ((kind === "load" || kind === "unload") && about) rows.push(["for", about]);
  if (kind === "move") rows.push(["from", run.text(run.source[bar])]);
  if (run.carried[bar])
    rows.push([kind === "unload" ? "parks" : "restores", plural(run.carried[bar], "KV state")]);
  if (kind === "call") rows.push(...tokens(run, bar), ["placed by", planText(run, run.plan[bar])]);
  rows.push(...expectation(run, bar));
  if (run.attempt[bar] > 1) rows.push(["attempt", String(run.attempt[bar])]);
  const outcome = OUTCOMES[run.outcome[bar]], reason = run.text(run.reason[bar]);
  if (outcome !== "done") {
    const bad = run.outcome[bar] >= BAD ? ["bad"] : [];
    rows.push(["outcome", reason ? `${outcome}: ${reason}` : outcome, ...bad]);
  }
  if (run.critical.has(bar)) rows.push(["critical", "on the critical path", "critical"]);
  const name = run.label(bar);
  return [name.startsWith(kind) || kind === "call" ? name : `${kind} ${name}`, rows];
}

// Rows that say how the same work went in the other run.
function aboutTwin(chart, run, bar) {
  return chart.runs.filter((other) => other !== run).map((other) => {
    const twin = other.find(run.key(bar));
    if (twin === undefined) return [`in ${other.letter}`, "not there"];
    const where = other.devices[other.rows[other.row[twin]][0]].id;
    const took = run.end[bar] - run.start[bar], there = other.end[twin] - other.start[twin];
    return [
      `in ${other.letter}`,
      `${span(other.start[twin], other.end[twin])} on ${where}; here it took ` +
        `${signed(took - there, seconds)} and ended ${signed(run.end[bar] - other.end[twin], seconds)}`,
    ];
  });
}

function aboutIdle({run, idle, device}) {
  const rows = [["time", span(idle.start, idle.end)], ["why", IDLE[idle.reason]]];
  if (device.slots > 1) rows.push(["slots", `${idle.slots} of ${device.slots}`]);
  if (REASONS[idle.reason] === "lost") rows[1].push("bad");
  return [`${device.id} idle`, rows];
}

function aboutMemory({memory, step, device}) {
  const levels = step < 0 ? [] : memory.levels[step];
  const used = levels.reduce((sum, [, weights, cache]) => sum + weights + cache, 0);
  const rows = levels.map(([model, weights, cache]) => [
    block.models[model], bytes(weights) + (cache ? ` + ${bytes(cache)} cache` : ""),
  ]);
  return [`${device.id} holds ${bytes(used)} of ${bytes(memory.budget)}`, rows];
}

function list(rows) {
  const shown = make("dl");
  for (const [name, value, look] of rows)
    shown.append(make("dt", name), make("dd", value, look ? {class: look} : {}));
  return shown;
}

function card(chart, hit, x, y) {
  const box = $("tip");
  box.hidden = !hit;
  if (!hit) return;
  const [title, rows] = hit.bar !== undefined ? aboutBar(hit.run, hit.bar) : hit.idle ? aboutIdle(hit) : aboutMemory(hit);
  if (hit.bar !== undefined) rows.push(...aboutTwin(chart, hit.run, hit.bar));
  box.replaceChildren(make("b", title), list(rows));
  const {width, height} = box.getBoundingClientRect();
  const left = x + 16 + width > innerWidth ? x - width - 16 : x + 16;
  const top = y + 16 + height > innerHeight ? y - height - 16 : y + 16;
  box.style.left = `${Math.max(left, 8)}px`;
  box.style.top = `${Math.max(top, 8)}px`;
}
