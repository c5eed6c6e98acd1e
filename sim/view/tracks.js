// Above the lanes: the axis of time, the faults and the cuts as bars with their words, the flags of violations. Beside
// them: the names of the nodes.

const TICK_PIXELS = 90;

function drawTracks(pen) {
  const { context, layout, colours } = pen;
  context.fillStyle = colours.paper;
  context.fillRect(0, 0, layout.width, layout.top);
  inside(context, layout.left, 0, layout.width, layout.top, () => {
    drawAxis(pen);
    drawFaults(pen);
    drawCuts(pen);
    drawFlags(pen);
  });
}

function drawAxis({ context, state, layout, colours }) {
  const step = tickStep((state.to - state.from) / ((layout.width - layout.left) / TICK_PIXELS));
  const digits = Math.max(0, Math.ceil(-Math.log10(step / NANOS_PER_S) - 1e-9));
  context.strokeStyle = colours.line;
  context.fillStyle = colours.soft;
  context.lineWidth = 1;
  context.beginPath();
  for (let tick = Math.ceil(Math.max(0, state.from) / step) * step; tick <= state.to; tick += step) {
    const x = Math.round(layout.x(tick)) + 0.5;
    context.moveTo(x, AXIS_HEIGHT - 6);
    context.lineTo(x, AXIS_HEIGHT);
    context.fillText(seconds(tick, digits), x + 4, AXIS_HEIGHT - 10);
  }
  context.moveTo(layout.left, AXIS_HEIGHT + 0.5);
  context.lineTo(layout.width, AXIS_HEIGHT + 0.5);
  context.stroke();
}

// 1, 2 or 5 times a power of ten.
function tickStep(wanted) {
  const power = 10 ** Math.floor(Math.log10(wanted));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= wanted);
}

function drawFaults(pen) {
  const { layout, colours, recording } = pen;
  recording.faults.forEach((fault, index) => {
    const track = Math.min(layout.tracks[index], layout.faultTracks - 1);
    bar(pen, { kind: "fault", index }, fault, AXIS_HEIGHT + track * TRACK_HEIGHT, colours.fault, colours["fault-ink"]);
  });
}

function drawCuts(pen) {
  const { layout, colours, recording } = pen;
  recording.cuts.forEach((cut, index) => {
    bar(pen, { kind: "cut", index }, cut, layout.cutTop, colours["side-a"], colours.ink);
  });
}

// The words stay in sight as long as any of the bar does.
function bar(pen, { kind, index }, stretch, top, ground, ink) {
  const { context, state, layout, colours } = pen;
  if (stretch.end < state.from || stretch.begin > state.to) return;
  const left = Math.max(layout.x(stretch.begin), layout.left);
  const right = Math.max(Math.min(layout.x(stretch.end), layout.width), left + 2);
  context.fillStyle = ground;
  context.fillRect(left, top + 1, right - left, TRACK_HEIGHT - 2);
  context.strokeStyle = isSelected(state, kind, index) ? colours.focus : colours["fault-line"];
  context.lineWidth = isSelected(state, kind, index) ? 2 : 1;
  context.strokeRect(left + 0.5, top + 1.5, right - left - 1, TRACK_HEIGHT - 3);
  label(pen, stretch.text, left + 5, top + TRACK_HEIGHT / 2 + 0.5, ink, right - left - 8);
}

function drawFlags(pen) {
  const { context, state, layout, colours, recording } = pen;
  const y = layout.flagTop;
  let free = -Infinity;
  recording.violations.forEach((violation, index) => {
    if (violation.at < state.from || violation.at > state.to) return;
    const x = layout.x(violation.at);
    if (x < free && !isSelected(state, "violation", index)) return;
    context.font = FONT_BOLD;
    const text = `violated: ${violation.property}`;
    const width = context.measureText(text).width + 12;
    const left = Math.min(x, layout.width - width);
    context.fillStyle = colours.violation;
    context.fillRect(left, y + 1, width, TRACK_HEIGHT - 1);
    context.fillStyle = colours.paper;
    context.fillText(text, left + 6, y + TRACK_HEIGHT / 2 + 1);
    context.font = FONT;
    free = left + width + 4;
  });
}

function drawGutter(pen) {
  const { context, layout, colours } = pen;
  context.fillStyle = colours.ground;
  context.fillRect(0, 0, layout.left, layout.height);
  inside(context, 0, layout.top, layout.left, layout.height, () => drawNames(pen));
  context.fillStyle = colours.soft;
  if (layout.faultTracks) context.fillText("faults", 8, AXIS_HEIGHT + TRACK_HEIGHT / 2);
  if (layout.flagTop > layout.cutTop) context.fillText("sides", 8, layout.cutTop + TRACK_HEIGHT / 2);
  context.strokeStyle = colours.line;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(layout.left + 0.5, 0);
  context.lineTo(layout.left + 0.5, layout.height);
  context.stroke();
}

function drawNames(pen) {
  const { context, layout, colours, recording } = pen;
  context.font = FONT_BOLD;
  for (const node of layout.nodes) {
    const y = layout.y(node);
    if (isLaneVisible(layout, y)) label(pen, recording.names[node], 8, y, colours.ink, layout.left - 14);
  }
  context.font = FONT;
}
