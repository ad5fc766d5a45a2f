// Colours and hatching: what one bar looks like on a canvas.

const NARROW = 640;
const FACE = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
const FONT = `12px ${FACE}`;
const SMALL = `11px ${FACE}`;
const TINY = `10px ${FACE}`;
const HUES = 8;
const INKS = ["ink", "soft", "faint", "line", "grid", "idle", "bad", "neutral", "panel", "page", "focus",
  "critical", "budget", "held", "memory", "drained", "planning"];

// Returns what the style sheet makes of a colour variable, as the canvas understands it.
function colour(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

// Formats seconds for an axis whose ticks are `step` apart.
function clock(value, step) {
  if (step >= 60 || value >= 600) {
    const whole = Math.round(value);
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  }
  if (step < 0.001) return `${(value * 1000).toFixed(Math.max(0, -Math.floor(Math.log10(step * 1000))))} ms`;
  return `${value.toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9)))} s`;
}

// Lines of a tile of each hatch: its side, the pen's width, the strokes.
const HATCHES = {
  load: [7, 1.7, [[-1, 8, 8, -1], [-1, 1, 1, -1], [6, 8, 8, 6]]],
  restore: [7, 1.7, [[-1, 8, 8, -1], [-1, 1, 1, -1], [6, 8, 8, 6], [3.5, 0, 3.5, 7]]],
  unload: [5, 1, [[-1, -1, 6, 6], [4, -1, 6, 1], [-1, 4, 1, 6]]],
  park: [5, 1, [[-1, -1, 6, 6], [4, -1, 6, 1], [-1, 4, 1, 6], [2.5, 0, 2.5, 5]]],
  move: [6, 1.2, [[0, 1.5, 6, 1.5], [0, 4.5, 6, 4.5]]],
  warm: [4, 1.2, [[0, 1, 4, 1]]],
  prefill: [4, 1.5, [[1, 0, 1, 4]]],
  lost: [8, 1.2, [[-1, 9, 9, -1], [-1, 1, 1, -1], [7, 9, 9, 7]]],
};
const TINTS = {prefill: 0.32, tool: 0.5, lost: 0.06};

class Paint {
  constructor() {
    this.widths = new Map();
    this.refresh();
  }

  // Reads the colours again, after a change between light and dark.
  refresh() {
    this.hue = Array.from({length: HUES}, (_, i) => colour(`m${i}`));
    this.ink = Object.fromEntries(INKS.map((name) => [name, colour(name)]));
    this.tiles = new Map();
  }

  of(model) {
    return model < 0 ? this.ink.neutral : this.hue[model % HUES];
  }

  // Fills a stretch as its activity looks: decode solid, the others a pattern over a tint.
  fill(ctx, look, hue, left, top, wide, high) {
    ctx.fillStyle = hue;
    if (look === "decode" || look === "call") {
      ctx.fillRect(left, top, wide, high);
      return;
    }
    const alpha = ctx.globalAlpha;
    ctx.globalAlpha = alpha * (TINTS[look] ?? 0.12);
    ctx.fillRect(left, top, wide, high);
    ctx.globalAlpha = alpha;
    if (look === "tool") return;
    ctx.fillStyle = this.tile(ctx, look, hue);
    ctx.fillRect(left, top, wide, high);
    if (look === "prefill" || look === "lost" || wide < 3) return;
    ctx.strokeStyle = hue;
    ctx.lineWidth = 1;
    ctx.strokeRect(left + 0.5, top + 0.5, wide - 1, high - 1);
  }

  tile(ctx, look, hue) {
    const key = look + hue;
    const known = this.tiles.get(key);
    if (known) return known;
    const [side, pen, lines] = HATCHES[look];
    const scale = 2, tile = document.createElement("canvas");
    tile.width = tile.height = side * scale;
    const draw = tile.getContext("2d");
    draw.scale(scale, scale);
    draw.strokeStyle = hue;
    draw.lineWidth = pen;
    for (const [x, y, u, v] of lines) {
      draw.beginPath();
      draw.moveTo(x, y);
      draw.lineTo(u, v);
      draw.stroke();
    }
    const pattern = ctx.createPattern(tile, "repeat");
    pattern.setTransform(new DOMMatrix().scale(1 / scale));
    this.tiles.set(key, pattern);
    return pattern;
  }

  width(ctx, text) {
    const key = ctx.font + text;
    let width = this.widths.get(key);
    if (width === undefined) {
      width = ctx.measureText(text).width;
      if (this.widths.size > 5000) this.widths.clear();
      this.widths.set(key, width);
    }
    return width;
  }

  // Cuts a text to a width; nothing is left where hardly anything would be.
  fitted(ctx, text, width) {
    if (width < 18) return "";
    const whole = this.width(ctx, text);
    if (whole <= width) return text;
    const keep = Math.floor((width / whole) * text.length) - 1;
    return keep >= 5 ? `${text.slice(0, keep)}\u2026` : "";
  }
}
