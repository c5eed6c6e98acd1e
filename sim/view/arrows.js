// Messages: arrows where they can be told apart, else bars that say how many leave each node.

const ARROWS_MAX = 2500;
const PIXELS_PER_ARROW = 1.2; // fewer pixels of time for each shown message, and bars say more than arrows
const LABELLED_MAX = 60;
const NAMED_AT = [0.5, 0.3, 0.7, 0.4, 0.6];
const BAR_WIDTH = 4;
const STUB_X = 7;
const CROSS = 4;

function drawMessages(pen) {
  const { layout, recording } = pen;
  let count = 0;
  let lost = 0;
  eachShownMessage(pen, (i) => {
    count++;
    lost += recording.messages.lost[i];
  });
  const asArrows = count <= ARROWS_MAX && count * PIXELS_PER_ARROW <= layout.width - layout.left;
  if (asArrows) drawArrows(pen);
  else drawBars(pen);
  return { mode: asArrows ? "arrows" : "bars", messages: count, lost };
}

function eachShownMessage({ state, recording }, visit) {
  const { passes } = state;
  eachMessageWithin(recording.messages, state.from, state.to, (i) => { if (passes[i]) visit(i); });
}

function drawArrows(pen) {
  const { recording, layout } = pen;
  const { messages } = recording;
  const shown = [];
  eachShownMessage(pen, (i) => shown.push(i));
  const byType = messages.types.map(() => []);
  const lost = [];
  for (const i of shown) {
    if (!isAnyLaneVisible(layout, messages, i)) continue;
    if (messages.lost[i] || messages.waiting[i]) lost.push(i);
    else byType[messages.type[i]].push(i);
  }
  const heads = shown.length < 800;
  byType.forEach((group, type) => strokeArrows(pen, group, typeColour(pen.colours, type), heads));
  for (const i of lost) drawLost(pen, i, shown.length <= LABELLED_MAX * 2);
  if (shown.length <= LABELLED_MAX) for (const i of shown) nameArrow(pen, i);
  const { selected, hovered } = pen.state;
  for (const picked of [hovered, selected]) if (picked?.kind === "message") emphasize(pen, picked.index);
}

function isAnyLaneVisible(layout, messages, i) {
  const from = layout.y(messages.from[i]);
  const to = messages.to[i] < 0 ? from : layout.y(messages.to[i]);
  return Math.max(from, to) > layout.top && Math.min(from, to) < layout.height;
}

function strokeArrows({ context, layout, recording }, group, colour, heads) {
  if (group.length === 0) return;
  const { messages } = recording;
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = 1.1;
  context.beginPath();
  for (const i of group) {
    context.moveTo(layout.x(messages.at[i]), layout.y(messages.from[i]));
    context.lineTo(layout.x(messages.until[i]), layout.y(messages.to[i]));
  }
  context.stroke();
  if (!heads) return;
  context.beginPath();
  for (const i of group) addHead(context, ...endsOf(layout, messages, i));
  context.fill();
}

// [x, y of the sending, x, y of the arrival], or of where a lost message dies.
function endsOf(layout, messages, i) {
  const x = layout.x(messages.at[i]);
  const y = layout.y(messages.from[i]);
  const known = messages.to[i] >= 0 && layout.laneOf[messages.to[i]] >= 0;
  const towards = known ? Math.sign(layout.y(messages.to[i]) - y) : 1;
  const diesAtOnce = messages.lost[i] && messages.until[i] <= messages.at[i];
  if (diesAtOnce || !known) return [x, y, x + STUB_X, y + towards * Math.min(layout.lane * 0.36, 18)];
  const short = messages.lost[i] || messages.waiting[i] ? Math.min(layout.lane * 0.2, 9) : 0;
  return [x, y, layout.x(messages.until[i]), layout.y(messages.to[i]) - towards * short];
}

function addHead(context, x1, y1, x2, y2) {
  const angle = Math.atan2(y2 - y1, x2 - x1);
  context.moveTo(x2, y2);
  context.lineTo(x2 - 7 * Math.cos(angle - 0.35), y2 - 7 * Math.sin(angle - 0.35));
  context.lineTo(x2 - 7 * Math.cos(angle + 0.35), y2 - 7 * Math.sin(angle + 0.35));
  context.closePath();
}

function drawLost(pen, i, named) {
  const { context, layout, colours, recording } = pen;
  const { messages } = recording;
  const [x1, y1, x2, y2] = endsOf(layout, messages, i);
  context.strokeStyle = messages.lost[i] ? colours.lost : colours.soft;
  context.lineWidth = 1.2;
  context.setLineDash([4, 3]);
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
  context.setLineDash([]);
  if (!messages.lost[i]) return;
  cross(context, x2, y2);
  if (named) haloed(pen, messages.why(i), x2 + 7, y2, colours.lost);
}

function cross(context, x, y) {
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(x - CROSS, y - CROSS);
  context.lineTo(x + CROSS, y + CROSS);
  context.moveTo(x + CROSS, y - CROSS);
  context.lineTo(x - CROSS, y + CROSS);
  context.stroke();
}

function nameArrow(pen, i) {
  const { layout, colours, recording } = pen;
  const { messages } = recording;
  const [x1, y1, x2, y2] = endsOf(layout, messages, i);
  const name = messages.types[messages.type[i]];
  const part = NAMED_AT[i % NAMED_AT.length]; // arrows that run side by side get their names at different heights
  const x = x1 + (x2 - x1) * part + 5;
  const y = messages.lost[i] ? y1 + Math.sign(y2 - y1) * -7 : y1 + (y2 - y1) * part;
  haloed(pen, name, x, y, messages.lost[i] ? colours.lost : typeColour(colours, messages.type[i]));
}

function emphasize({ context, layout, colours, recording }, i) {
  const { messages } = recording;
  if (layout.laneOf[messages.from[i]] < 0 || (messages.to[i] >= 0 && layout.laneOf[messages.to[i]] < 0)) return;
  const ends = endsOf(layout, messages, i);
  context.strokeStyle = context.fillStyle = colours.focus;
  context.lineWidth = 3;
  context.beginPath();
  context.moveTo(ends[0], ends[1]);
  context.lineTo(ends[2], ends[3]);
  context.stroke();
  if (messages.lost[i]) {
    cross(context, ends[2], ends[3]);
    return;
  }
  context.beginPath();
  addHead(context, ...ends);
  context.fill();
}

// Bars: per lane and few pixels of time, how many messages are sent (the root of it, so that a burst does not flatten
// the rest); the part of them that is lost in red.
function drawBars(pen) {
  const { context, layout, colours, recording } = pen;
  const { messages } = recording;
  const columns = Math.max(1, Math.ceil((layout.width - layout.left) / BAR_WIDTH));
  const sent = new Uint32Array(columns * layout.nodes.length);
  const lost = new Uint32Array(sent.length);
  eachShownMessage(pen, (i) => {
    const column = Math.floor((layout.x(messages.at[i]) - layout.left) / BAR_WIDTH);
    if (column < 0 || column >= columns) return;
    const cell = layout.laneOf[messages.from[i]] * columns + column;
    sent[cell]++;
    lost[cell] += messages.lost[i];
  });
  const most = sent.reduce((a, b) => Math.max(a, b), 1);
  const scale = (layout.lane * 0.44) / Math.sqrt(most);
  fillBars(context, layout, columns, colours.density, sent, (cell) => Math.sqrt(sent[cell]) * scale);
  fillBars(context, layout, columns, colours.lost, lost, (cell) => Math.sqrt(sent[cell]) * scale * (lost[cell] / sent[cell]));
}

function fillBars(context, layout, columns, colour, present, heightOf) {
  context.fillStyle = colour;
  layout.nodes.forEach((node, lane) => {
    const y = layout.y(node);
    if (!isLaneVisible(layout, y)) return;
    for (let column = 0; column < columns; column++) {
      const cell = lane * columns + column;
      if (!present[cell]) continue;
      const height = Math.max(1.5, heightOf(cell));
      context.fillRect(layout.left + column * BAR_WIDTH, y - height, BAR_WIDTH - 1, height);
    }
  });
}
