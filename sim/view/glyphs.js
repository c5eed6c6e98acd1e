// What happens at a node, on its lane; and what was violated, across all of them.

const GLYPH = 5;
const GLYPH_OWNER = 3.5; // there are many of these, and they tell less
const GLYPH_GAP = 6; // closer than this to one of the same look, a glyph would only hide it
const LABELS_MAX = 400;
const TONES = { good: "good", doubt: "doubt", bad: "bad", change: "change", owner: "owner" };

function drawEvents(pen) {
  const { state, layout, recording } = pen;
  const { events } = recording;
  const placed = layout.nodes.map(() => []);
  const first = firstFrom(events.at, state.from);
  const last = firstFrom(events.at, state.to);
  let shown = 0;
  for (let i = first; i < last; i++) {
    if (!isEventShown(state, i)) continue;
    shown++;
    const lane = layout.laneOf[events.node[i]];
    if (lane >= 0 && isLaneVisible(layout, layout.y(events.node[i]))) placeGlyph(placed[lane], pen, i);
  }
  for (const lane of placed) for (const glyph of lane) if (glyph.look === "owner") drawGlyph(pen, glyph);
  for (const lane of placed) for (const glyph of lane) if (glyph.look !== "owner") drawGlyph(pen, glyph);
  if (placed.reduce((count, lane) => count + lane.length, 0) <= LABELS_MAX) for (const lane of placed) nameGlyphs(pen, lane);
  markSelected(pen);
  return shown;
}

// Of glyphs of one look that would lie on each other, the first is kept.
function placeGlyph(lane, { layout, recording }, i) {
  const look = lookOf(recording.events, i);
  const x = layout.x(recording.events.at[i]);
  for (let k = lane.length - 1; k >= 0 && x - lane[k].x < GLYPH_GAP; k--) if (lane[k].look === look) return;
  lane.push({ i, x, y: layout.y(recording.events.node[i]), look });
}

// The kind, and for marks the tone: what decides shape and colour.
function lookOf(events, i) {
  const { kind } = events.sorts[events.sort[i]];
  return kind === "mark" ? (TONES[events.tone(i)] ?? "change") : kind;
}

function drawGlyph({ context, colours }, { x, y, look }) {
  context.lineWidth = 1;
  context.strokeStyle = colours.paper;
  context.fillStyle = glyphColour(colours, look);
  context.beginPath();
  addGlyph(context, look, x, y);
  context.fill();
  context.stroke();
  if (look !== "crash") return;
  context.strokeStyle = colours.bad;
  cross(context, x, y);
}

function glyphColour(colours, look) {
  if (look in TONES) return colours[look];
  return { boot: colours.good, crash: colours.paper, start: colours.owner }[look] ?? colours.plain;
}

function addGlyph(context, look, x, y) {
  switch (look) {
    case "boot": polygon(context, [x - 4, y - 6, x + 7, y, x - 4, y + 6]); break;
    case "crash": context.arc(x, y, 7, 0, 2 * Math.PI); break;
    case "fact": context.arc(x, y, 3, 0, 2 * Math.PI); break;
    case "reply": context.arc(x, y, 3.5, 0, Math.PI, true); break;
    case "durable": context.rect(x - 2.5, y - 2.5, 5, 5); break;
    case "start": polygon(context, [x - 3, y - 4, x + 4, y, x - 3, y + 4]); break;
    default: diamond(context, x, y, look === "owner" ? GLYPH_OWNER : GLYPH);
  }
}

function diamond(context, x, y, half) {
  polygon(context, [x, y - half, x + half, y, x, y + half, x - half, y]);
}

function polygon(context, points) {
  context.moveTo(points[0], points[1]);
  for (let k = 2; k < points.length; k += 2) context.lineTo(points[k], points[k + 1]);
  context.closePath();
}

// Labels above the lane, where the next one leaves room for the whole of it.
function nameGlyphs(pen, lane) {
  const { context, layout, colours, recording } = pen;
  const named = lane.filter(({ i }) => nameOf(recording.events, i));
  named.forEach(({ i, x, y, look }, k) => {
    const next = k + 1 < named.length ? named[k + 1].x : layout.width;
    const name = nameOf(recording.events, i);
    if (next - x - GLYPH < context.measureText(name).width) return;
    haloed(pen, name, x + 3, y - 13, look === "crash" ? colours.bad : glyphColour(colours, look));
  });
}

function nameOf(events, i) {
  const { kind } = events.sorts[events.sort[i]];
  if (kind === "crash") return "crash";
  if (kind === "boot") return "start";
  if (kind === "mark") return events.label(i);
  return kind === "durable" ? "" : events.what(i);
}

function markSelected({ context, state, layout, colours, recording }) {
  const { events } = recording;
  for (const picked of [state.hovered, state.selected]) {
    if (picked?.kind !== "event" || layout.laneOf[events.node[picked.index]] < 0) continue;
    context.strokeStyle = colours.focus;
    context.lineWidth = 2.5;
    context.beginPath();
    context.arc(layout.x(events.at[picked.index]), layout.y(events.node[picked.index]), 10, 0, 2 * Math.PI);
    context.stroke();
  }
}

// A line over all lanes at the instant, and a ring on the lane of the node at which it shows.
function drawViolations({ context, state, layout, colours, recording }) {
  let drawn = 0;
  recording.violations.forEach((violation, index) => {
    if (violation.at < state.from || violation.at > state.to) return;
    const x = layout.x(violation.at);
    const strong = isSelected(state, "violation", index);
    context.strokeStyle = colours.violation;
    context.lineWidth = strong ? 2.5 : 1.2;
    context.beginPath();
    context.moveTo(x, layout.top);
    context.lineTo(x, layout.bottom);
    context.stroke();
    if (violation.node >= 0 && layout.laneOf[violation.node] >= 0) {
      context.lineWidth = 3;
      context.beginPath();
      context.arc(x, layout.y(violation.node), 9, 0, 2 * Math.PI);
      context.stroke();
    }
    drawn++;
  });
  return drawn;
}
