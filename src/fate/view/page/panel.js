// The side panel: a bar, and the table of the decision that put it there.

const TERMS = block.names.terms;

// Fills the panel; `focus` moves the keyboard there.
function panel(chart, hit, focus) {
  const box = $("panel");
  box.hidden = !hit;
  document.body.classList.toggle("open", Boolean(hit));
  if (!hit) return;
  const {run, bar} = hit;
  const [title, rows] = aboutBar(run, bar);
  const close = make("button", "\u00d7", {type: "button", class: "close", "aria-label": "Close"});
  close.addEventListener("click", () => chart.hooks.opened(null));
  const head = make("div", undefined, {class: "head"}), name = make("h2", title);
  if (run.model[bar] >= 0) name.prepend(make("i", undefined, {class: `chip m${run.model[bar] % HUES}`}));
  head.append(name, close);
  box.replaceChildren(head, list([...rows, ...aboutTwin(chart, run, bar)]));
  box.append(...decisionOf(run, bar));
  box.scrollTop = 0;
  if (focus) box.focus();
}

function decisionOf(run, bar) {
  const found = run.decision(bar);
  if (found) return decisionParts(run, bar, found);
  const kind = run.kind(bar), nodes = [];
  const say = (text) => nodes.push(make("p", text, {class: "note"}));
  if (kind === "tool") say("Tools run on the host as soon as their inputs are there; nobody plans them.");
  else if (kind !== "call") say("A step towards the call it was made for; that call's decision weighed it.");
  else if (run.plan[bar] === -1) say("No plan was there in time: the core's greedy rule chose.");
  else if (run.plan[bar] === -2) say("It was over its wait bound: the core had to start it.");
  else say(run.note);
  if (kind === "call") nodes.push(command(run, bar));
  return nodes;
}

function command(run, bar) {
  const target = run.to[bar] - run.from[bar] > 1 || run.from[bar] > 0
    ? `${run.text(run.name[bar])}[${run.from[bar]}]` : run.text(run.name[bar]);
  const line = make("p", undefined, {class: "note"});
  line.append("In the terminal: ", make("code", `fate explain ${run.id} '${target}'`));
  return line;
}

function decisionParts(run, bar, {decision, words, waits}) {
  const nodes = [make("h3", "Why here")];
  const search = searchText(decision.search ?? {});
  nodes.push(make("p", `Plan ${decision.version} of ${decision.policy} at ${seconds(decision.at_s - run.origin)}, ${search}.`, {class: "note"}));
  const ranked = rank(decision.options);
  for (const text of words) nodes.push(make("p", text, {class: "word"}));
  nodes.push(prices(ranked, decision), table(ranked, decision));
  if (waits.length) {
    nodes.push(make("h3", "Why not before"));
    const steps = make("ol", undefined, {class: "waits"});
    for (const text of waits) steps.append(make("li", text));
    nodes.push(steps);
  }
  nodes.push(command(run, bar));
  return nodes;
}

// The chosen device first, then by price, then those that cannot.
function rank(options) {
  const price = (one) => (one.chosen ? -1 : one.terms ? one.cost_s : Infinity);
  return [...options].sort((one, two) => price(one) - price(two));
}

// A stacked bar of terms for each device that can run it.
function prices(ranked, decision) {
  const box = make("div", undefined, {class: "prices"});
  const most = Math.max(...ranked.map((one) => (one.terms ? one.cost_s : 0))) || 1;
  for (const one of ranked) {
    const row = make("div", undefined, {class: one.chosen ? "price chosen" : "price"});
    row.append(make("b", one.device));
    if (one.terms) {
      const stack = make("div", undefined, {class: "stack"});
      for (const [term, name] of TERMS) {
        const part = make("i", undefined, {class: `t-${term}`, title: `${name} ${seconds(one.terms[term] ?? 0)}`});
        part.style.width = `${(100 * Math.max(one.terms[term] ?? 0, 0)) / most}%`;
        stack.append(part);
      }
      row.append(stack, make("span", seconds(one.cost_s)));
    } else row.append(make("em", one.why_not));
    const notes = [one.chosen ? "chosen" : one.device === decision.runner_up ? "runner-up" : ""];
    if (one.evicts?.length) notes.push(`unloads ${one.evicts.join(", ")}`);
    row.append(make("small", notes.filter(Boolean).join(", ")));
    box.append(row);
  }
  return box;
}

function table(ranked, decision) {
  const able = ranked.filter((one) => one.terms), box = make("div", undefined, {class: "scroll"});
  if (!able.length) return box;
  const shown = make("table", undefined, {class: "terms"}), head = make("tr");
  head.append(make("th", "seconds"));
  for (const one of able) head.append(make("th", one.device, one.chosen ? {class: "chosen"} : {}));
  shown.append(head);
  const add = (name, cells, look = "") => {
    const row = make("tr", undefined, look ? {class: look} : {});
    row.append(name instanceof Node ? name : make("th", name));
    for (const cell of cells) row.append(make("td", cell, cell === "0" ? {class: "zero"} : {}));
    shown.append(row);
  };
  for (const [term, name] of TERMS) {
    const values = able.map((one) => one.terms[term] ?? 0);
    if (values.every((value) => Math.abs(value) < 1e-9)) continue;
    const label = make("th");
    label.append(make("i", undefined, {class: `chip t-${term}`}), name);
    add(label, values.map((value) => (Math.abs(value) < 5e-4 ? "0" : value.toFixed(value < 0.1 ? 3 : 2))),
      decision.lost_on === term.replace(/_s$/, "") ? "lost-on" : "");
  }
  add("total", able.map((one) => one.cost_s.toFixed(2)), "sum");
  add("new tokens", able.map((one) => number(one.new_tokens ?? 0)));
  add("cached", able.map((one) => number(one.cached_tokens ?? 0)));
  box.append(shown);
  return box;
}
