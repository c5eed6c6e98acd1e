// Where things are: the gutter with the names, the tracks above the lanes, one lane per shown node. Pixels of the page.

const AXIS_HEIGHT = 22;
const TRACK_HEIGHT = 17;
const FAULT_TRACKS_MAX = 5;
const LANE_MIN = 20;
const LANE_MAX = 130;
const LANES_PADDING = 8;
const GUTTER_MIN = 64;
const GUTTER_MAX = 160;
const NAMES_MEASURED = 500;

// What does not change with the window or the filters. `textWidth` measures a text in the font of the names.
function fixedLayout(recording, textWidth) {
  const tracks = assignTracks(recording.faults);
  const faultTracks = Math.min(FAULT_TRACKS_MAX, tracks.reduce((most, track) => Math.max(most, track + 1), 0));
  const cutTop = AXIS_HEIGHT + faultTracks * TRACK_HEIGHT;
  const flagTop = cutTop + (recording.cuts.length ? TRACK_HEIGHT : 0);
  const top = flagTop + (recording.violations.length ? TRACK_HEIGHT : 0);
  const widest = recording.names.slice(0, NAMES_MEASURED).reduce((most, name) => Math.max(most, textWidth(name)), 0);
  const left = Math.min(Math.max(widest + 20, GUTTER_MIN), GUTTER_MAX);
  return { tracks, faultTracks, cutTop, flagTop, top, left };
}

function layoutOf(state, fixed, width, height) {
  const { top, left } = fixed;
  const nodes = shownNodes(state);
  const room = Math.max(height - top - 2 * LANES_PADDING, 0);
  const lane = Math.min(Math.max(room / Math.max(nodes.length, 1), LANE_MIN), LANE_MAX);
  const scrollMax = Math.max(0, nodes.length * lane + 2 * LANES_PADDING - (height - top));
  state.scroll = Math.min(Math.max(state.scroll, 0), scrollMax);
  const laneOf = lanesOf(nodes, state.nodeShown.length);
  const firstLane = top + LANES_PADDING - state.scroll + lane / 2;
  const { from } = state;
  const scale = (width - left) / (state.to - state.from);
  return {
    ...fixed, width, height, nodes, lane, laneOf, scrollMax,
    bottom: Math.min(height, firstLane + (nodes.length - 0.5) * lane + LANES_PADDING),
    x: (at) => left + (at - from) * scale,
    y: (node) => firstLane + laneOf[node] * lane,
    timeAt: (x) => from + (x - left) / scale,
  };
}

function shownNodes(state) {
  const nodes = [];
  for (let node = 0; node < state.nodeShown.length; node++) if (state.nodeShown[node]) nodes.push(node);
  return nodes;
}

// Node → lane, −1 for none.
function lanesOf(nodes, count) {
  const lanes = new Int32Array(count).fill(-1);
  nodes.forEach((node, lane) => { lanes[node] = lane; });
  return lanes;
}

// Faults that overlap get tracks of their own, from the top.
function assignTracks(faults) {
  const free = [];
  return faults.map(({ begin, end }) => {
    let track = free.findIndex((from) => from <= begin);
    if (track < 0) track = free.length;
    free[track] = Math.max(end, begin + 1);
    return track;
  });
}
