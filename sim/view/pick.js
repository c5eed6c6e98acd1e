// What lies under the pointer: events first, then violations, bars of faults, messages, and nodes that are down.

const REACH = 8;

function pick(state, layout, mode, x, y) {
  if (x < layout.left) return null;
  if (y < layout.top) return pickTrack(state, layout, x, y);
  return pickEvent(state, layout, x, y)
    ?? pickViolation(state, layout, x)
    ?? (mode === "arrows" ? pickMessage(state, layout, x, y) : null)
    ?? pickDown(state, layout, x, y);
}

function pickTrack(state, layout, x, y) {
  const { faults, cuts } = state.recording;
  const time = layout.timeAt(x);
  const slack = layout.timeAt(x + 3) - time;
  const holds = ({ begin, end }) => begin - slack <= time && time <= end + slack;
  if (y >= layout.flagTop) return pickViolation(state, layout, x);
  if (y >= layout.cutTop) return asPicked("cut", cuts.findIndex(holds));
  const track = Math.floor((y - AXIS_HEIGHT) / TRACK_HEIGHT);
  return asPicked("fault", faults.findIndex((fault, index) => holds(fault) && Math.min(layout.tracks[index], layout.faultTracks - 1) === track));
}

function asPicked(kind, index) {
  return index < 0 ? null : { kind, index };
}

function pickEvent(state, layout, x, y) {
  const { events } = state.recording;
  let best = -1;
  let bestDistance = REACH;
  const last = firstFrom(events.at, layout.timeAt(x + REACH));
  for (let i = firstFrom(events.at, layout.timeAt(x - REACH)); i < last; i++) {
    if (!isEventShown(state, i) || layout.laneOf[events.node[i]] < 0) continue;
    const distance = Math.hypot(layout.x(events.at[i]) - x, layout.y(events.node[i]) - y);
    if (distance < bestDistance) [best, bestDistance] = [i, distance];
  }
  return asPicked("event", best);
}

function pickViolation(state, layout, x) {
  let best = -1;
  let bestDistance = 5;
  state.recording.violations.forEach((violation, index) => {
    const distance = Math.abs(layout.x(violation.at) - x);
    if (distance < bestDistance) [best, bestDistance] = [index, distance];
  });
  return asPicked("violation", best);
}

function pickMessage(state, layout, x, y) {
  const { messages } = state.recording;
  let best = -1;
  let bestDistance = REACH;
  eachMessageWithin(messages, layout.timeAt(x - 4 * REACH), layout.timeAt(x + REACH), (i) => {
    if (!isMessageShown(state, i)) return;
    const distance = distanceToSegment(x, y, endsOf(layout, messages, i));
    if (distance < bestDistance) [best, bestDistance] = [i, distance];
  });
  return asPicked("message", best);
}

function distanceToSegment(x, y, [x1, y1, x2, y2]) {
  const [dx, dy] = [x2 - x1, y2 - y1];
  const length = dx * dx + dy * dy;
  const part = length === 0 ? 0 : Math.min(1, Math.max(0, ((x - x1) * dx + (y - y1) * dy) / length));
  return Math.hypot(x - x1 - part * dx, y - y1 - part * dy);
}

function pickDown(state, layout, x, y) {
  const time = layout.timeAt(x);
  for (const node of layout.nodes) {
    if (Math.abs(layout.y(node) - y) > layout.lane * 0.38) continue;
    const index = state.recording.down[node].findIndex(({ begin, end }) => begin <= time && time <= end);
    if (index >= 0) return { kind: "down", node, index };
  }
  return null;
}
