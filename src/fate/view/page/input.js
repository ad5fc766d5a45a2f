// Pointer, wheel, touch and keys on the chart.

const CLICK = 5;

function listen(chart) {
  const {canvas} = chart;
  const pointers = new Map();
  let moved = 0, lastWheel = -Infinity;

  // A scroll that began elsewhere on the page goes on scrolling it.
  addEventListener("wheel", (event) => {
    if (event.target !== canvas) lastWheel = event.timeStamp;
  }, {passive: true});
  canvas.addEventListener("wheel", (event) => {
    if (event.timeStamp - lastWheel < 350 && !event.ctrlKey) lastWheel = event.timeStamp;
    else chart.wheel(event);
  }, {passive: false});
  canvas.addEventListener("dblclick", (event) => chart.zoom(0.4, event.offsetX));
  canvas.addEventListener("keydown", (event) => chart.keys(event));
  canvas.addEventListener("blur", () => chart.hooks.hovered(null));

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event.offsetX);
    moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (before === undefined) return chart.point(event);
    const other = [...pointers].find(([id]) => id !== event.pointerId);
    pointers.set(event.pointerId, event.offsetX);
    moved += Math.abs(event.offsetX - before);
    if (other) {
      const apart = Math.abs(event.offsetX - other[1]) || 1;
      moved += CLICK;
      chart.zoom((Math.abs(before - other[1]) || 1) / apart, (event.offsetX + other[1]) / 2);
    } else if (moved > CLICK) {
      chart.hooks.hovered(null);
      chart.pan((before - event.offsetX) / (chart.width - chart.gutter - MARGIN));
    }
    return undefined;
  });
  canvas.addEventListener("pointerup", (event) => {
    pointers.delete(event.pointerId);
    if (moved > CLICK) return;
    const hit = chart.at(event.offsetX, event.offsetY);
    if (hit?.bar !== undefined) chart.hooks.opened(hit);
    else if (event.pointerType === "mouse") chart.hooks.opened(null);
    else chart.point(event);
  });
  canvas.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse" && !pointers.size) chart.leave();
  });
}

Object.assign(Chart.prototype, {
  wheel(event) {
    const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    const {a, b} = this.view, whole = b - a >= this.span * 0.9999;
    if (!sideways && whole && event.deltaY > 0 && !event.ctrlKey) return;
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    if (sideways) this.pan(((event.deltaX || event.deltaY) * lines) / this.width);
    else this.zoom((event.ctrlKey ? 1.01 : 1.0015) ** (event.deltaY * lines), event.offsetX);
  },

  // Shows what the pointer is on.
  point(event) {
    const hit = this.at(event.offsetX, event.offsetY);
    const bar = hit?.bar === undefined ? null : hit;
    if (bar?.run !== this.hover?.run || bar?.bar !== this.hover?.bar) {
      this.hover = bar;
      this.draw();
    }
    this.canvas.style.cursor = bar ? "pointer" : "grab";
    this.hooks.hovered(hit, event.clientX, event.clientY);
  },

  leave() {
    if (this.hover) this.draw();
    this.hover = null;
    this.hooks.hovered(null);
  },

  keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const {hooks} = this, fine = event.shiftKey ? 0.05 : 0.2;
    const toggle = (name) => () => hooks.toggled(name);
    const follow = (by) => () => {
      const next = this.step(by);
      if (next && this.opened) hooks.opened(next);
    };
    const actions = {
      ArrowLeft: () => this.pan(-fine), ArrowRight: () => this.pan(fine),
      "+": () => this.zoom(0.6), "=": () => this.zoom(0.6), "-": () => this.zoom(1 / 0.6),
      0: () => this.fit(), f: () => this.fit(), Home: () => this.fit(),
      j: follow(1), k: follow(-1), n: follow(1),
      Enter: () => this.hover && hooks.opened(this.hover, true),
      Escape: () => hooks.opened(null), "/": () => hooks.find(),
      c: toggle("critical"), p: toggle("ghosts"), m: toggle("memory"), t: () => hooks.theme(),
      "?": () => hooks.help(),
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  },
});
