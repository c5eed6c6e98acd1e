// One frame of the diagram, from the ground up. What it drew is returned as counts.

const TYPE_COLOURS = 8;
const SIDES = ["a", "b", "c", "d", "e", "f"];
const COLOUR_NAMES = [
  "paper", "ground", "ink", "soft", "faint", "line", "focus", "lost", "down", "down-ink", "good", "doubt", "bad",
  "change", "owner", "plain", "violation", "violation-ground", "fault", "fault-line", "fault-ink", "density",
  "side-alone", ...SIDES.map((side) => `side-${side}`),
];
const FONT = '11px system-ui, "Segoe UI", "DejaVu Sans", sans-serif';
const FONT_BOLD = `600 ${FONT}`;

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const colours = Object.fromEntries(COLOUR_NAMES.map((name) => [name, colour(name)]));
  colours.types = Array.from({ length: TYPE_COLOURS }, (_, index) => colour(`type-${index}`));
  return colours;
}

function typeColour(colours, type) {
  return colours.types[type % TYPE_COLOURS];
}

function drawFrame(context, state, layout, colours) {
  const pen = { context, state, layout, colours, recording: state.recording };
  context.fillStyle = colours.paper;
  context.fillRect(0, 0, layout.width, layout.height);
  context.font = FONT;
  context.textBaseline = "middle";
  const counts = inside(context, layout.left, layout.top, layout.width, layout.height, () => drawLanes(pen));
  drawTracks(pen);
  drawGutter(pen);
  return { ...counts, lanes: layout.nodes.length };
}

function drawLanes(pen) {
  drawFaultBands(pen);
  drawSides(pen);
  const down = drawDown(pen);
  drawLaneLines(pen);
  const messages = drawMessages(pen);
  const events = drawEvents(pen);
  const violations = drawViolations(pen);
  drawOutside(pen);
  return { down, events, violations, ...messages };
}

// Draws with everything outside of the rectangle left alone.
function inside(context, left, top, right, bottom, draw) {
  context.save();
  context.beginPath();
  context.rect(left, top, right - left, bottom - top);
  context.clip();
  const result = draw();
  context.restore();
  return result;
}

function isLaneVisible(layout, y) {
  return y > layout.top - layout.lane && y < layout.height + layout.lane;
}

function drawSides({ context, state, layout, colours, recording }) {
  for (const cut of recording.cuts) {
    if (cut.end < state.from || cut.begin > state.to) continue;
    const left = layout.x(Math.max(cut.begin, state.from));
    const right = layout.x(Math.min(cut.end, state.to));
    for (const node of layout.nodes) {
      const y = layout.y(node);
      if (!isLaneVisible(layout, y)) continue;
      context.fillStyle = sideColour(colours, cut.letters[node]);
      context.fillRect(left, y - layout.lane / 2, Math.max(right - left, 1), layout.lane);
    }
    edge(context, layout, layout.x(cut.begin), colours["fault-line"], []);
    edge(context, layout, layout.x(cut.end), colours["fault-line"], []);
  }
}

function sideColour(colours, letter) {
  const side = letter.charCodeAt(0) - "a".charCodeAt(0);
  return letter === "." ? colours["side-alone"] : colours[`side-${SIDES[side % SIDES.length]}`];
}

function drawFaultBands({ context, state, layout, colours, recording }) {
  for (const fault of recording.faults) {
    if (fault.end < state.from || fault.begin > state.to) continue;
    const left = Math.max(layout.x(fault.begin), layout.left);
    const right = Math.min(layout.x(fault.end), layout.width);
    context.fillStyle = colours.fault;
    context.globalAlpha = 0.35;
    context.fillRect(left, layout.top, Math.max(right - left, 1), layout.bottom - layout.top);
    context.globalAlpha = 1;
    edge(context, layout, layout.x(fault.begin), colours["fault-line"], [3, 4]);
    edge(context, layout, layout.x(fault.end), colours["fault-line"], [3, 4]);
  }
}

function edge(context, layout, x, colour, dash) {
  if (x < layout.left || x > layout.width) return;
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.setLineDash(dash);
  context.beginPath();
  context.moveTo(x, layout.top);
  context.lineTo(x, layout.bottom);
  context.stroke();
  context.setLineDash([]);
}

function drawDown(pen) {
  const { context, state, layout, colours, recording } = pen;
  let drawn = 0;
  for (const node of layout.nodes) {
    const y = layout.y(node);
    if (!isLaneVisible(layout, y)) continue;
    for (const { begin, end, text } of recording.down[node]) {
      if (end < state.from || begin > state.to) continue;
      const left = Math.max(layout.x(begin), layout.left);
      const right = Math.min(layout.x(end), layout.width);
      const half = Math.min(layout.lane * 0.38, 20);
      context.fillStyle = colours.down;
      context.fillRect(left, y - half, Math.max(right - left, 1), 2 * half);
      label(pen, text, left + 11, y + half - 8, colours["down-ink"], right - left - 14);
      drawn++;
    }
  }
  return drawn;
}

function drawLaneLines({ context, layout, colours }) {
  context.strokeStyle = colours.line;
  context.lineWidth = 1;
  context.beginPath();
  for (const node of layout.nodes) {
    const y = Math.round(layout.y(node)) + 0.5;
    if (!isLaneVisible(layout, y)) continue;
    context.moveTo(layout.left, y);
    context.lineTo(layout.width, y);
  }
  context.stroke();
}

// What lies before the first and behind the last instant of the recording.
function drawOutside({ context, layout, colours, recording }) {
  const begin = layout.x(recording.begin);
  const end = layout.x(recording.end);
  context.fillStyle = colours.ground;
  if (begin > layout.left) context.fillRect(layout.left, layout.top, begin - layout.left, layout.height);
  if (end < layout.width) context.fillRect(end, layout.top, layout.width - end, layout.height);
}

// Text that stays readable on whatever lies below it.
function haloed({ context, colours }, text, x, y, colour) {
  context.strokeStyle = colours.paper;
  context.lineWidth = 3;
  context.lineJoin = "round";
  context.globalAlpha = 0.85;
  context.strokeText(text, x, y);
  context.globalAlpha = 1;
  context.fillStyle = colour;
  context.fillText(text, x, y);
}

// `text` from `x` on, cut to `room` pixels; nothing where there is no room for three letters.
function label({ context }, text, x, y, colour, room = Infinity) {
  const shown = fitted(context, text, room);
  if (!shown) return;
  context.fillStyle = colour;
  context.fillText(shown, x, y);
}

function fitted(context, text, room) {
  if (room === Infinity || context.measureText(text).width <= room) return text;
  const letters = Math.floor(room / 6.2) - 1;
  return letters >= 3 ? `${text.slice(0, letters)}…` : "";
}
