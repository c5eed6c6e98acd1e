// What is shown: the stretch of time, the filters, what is selected. Knows no pixels but the width of the diagram.

const SPAN_MIN = 1e3; // 1 µs: latencies are longer
const MESSAGES_AROUND = 90; // about so many on each side of a violation when the page opens on it
const AROUND_MIN = 0.02 * NANOS_PER_S;
const AROUND_MAX = 5 * NANOS_PER_S;
const QUIET_KINDS = new Set(["fact", "durable", "start", "reply"]); // not shown until asked for

function newState(recording) {
  const state = {
    recording,
    from: recording.begin,
    to: recording.end,
    scroll: 0,
    nodeShown: new Uint8Array(recording.names.length).fill(1),
    typeShown: new Uint8Array(recording.messages.types.length).fill(1),
    sortShown: Uint8Array.from(recording.events.sorts, (sort) => (QUIET_KINDS.has(sort.kind) ? 0 : 1)),
    onlyLost: false,
    passes: new Uint8Array(recording.messages.count), // which messages the filters let through
    selected: null, // {kind: "message" | "event" | "violation" | "fault" | "cut", index}
    hovered: null,
    version: 0, // of the filters: whoever keeps what was computed from them compares it
  };
  refilter(state);
  const first = recording.violations.findIndex((violation) => isWithin(recording, violation.at));
  if (first >= 0) selectViolation(state, first);
  return state;
}

function isWithin(recording, at) {
  return at >= recording.begin && at <= recording.end;
}

// Whoever changes a filter calls this.
function refilter(state) {
  const { count, from, to, type, lost } = state.recording.messages;
  const { passes, nodeShown, typeShown, onlyLost } = state;
  for (let i = 0; i < count; i++) {
    const shown = typeShown[type[i]] && nodeShown[from[i]] && (to[i] < 0 || nodeShown[to[i]]);
    passes[i] = shown && (!onlyLost || lost[i]) ? 1 : 0;
  }
  state.version++;
}

function isMessageShown(state, i) {
  return state.passes[i] === 1;
}

function isEventShown(state, i) {
  const { node, sort } = state.recording.events;
  return state.sortShown[sort[i]] === 1 && (node[i] < 0 || state.nodeShown[node[i]] === 1);
}

// The stretch of time.

// Half a stretch may lie beyond either end, so that anything can be brought to the middle.
function show(state, from, to) {
  const { begin, end } = state.recording;
  const span = Math.min(Math.max(to - from, SPAN_MIN), 2 * (end - begin));
  const middle = Math.min(Math.max((from + to) / 2, begin), end);
  state.from = middle - span / 2;
  state.to = middle + span / 2;
}

function showAll(state) {
  const { begin, end } = state.recording;
  const margin = (end - begin) * 0.01;
  state.from = begin - margin;
  state.to = end + margin;
}

function zoom(state, factor, around = (state.from + state.to) / 2) {
  const { begin, end } = state.recording;
  const span = state.to - state.from;
  const wanted = Math.min(Math.max(span * factor, SPAN_MIN), (end - begin) * 1.02);
  const left = around - ((around - state.from) * wanted) / span;
  show(state, left, left + wanted);
}

function pan(state, part) {
  const by = (state.to - state.from) * part;
  show(state, state.from + by, state.to + by);
}

function centreOn(state, at) {
  const half = (state.to - state.from) / 2;
  show(state, at - half, at + half);
}

// So much time around `at` that single messages can be told apart.
function showAround(state, at) {
  const times = state.recording.messages.at;
  const here = firstFrom(times, at);
  const before = here >= MESSAGES_AROUND ? at - times[here - MESSAGES_AROUND] : AROUND_MIN;
  const after = here + MESSAGES_AROUND < times.length ? times[here + MESSAGES_AROUND] - at : AROUND_MIN;
  const half = Math.min(Math.max(before, after, AROUND_MIN), AROUND_MAX);
  show(state, at - half, at + half);
}

// Selecting.

function select(state, picked) {
  state.selected = picked;
}

function isSelected(state, kind, index) {
  return state.selected !== null && state.selected.kind === kind && state.selected.index === index;
}

function timeOf(state, picked) {
  const { messages, events, violations, faults, cuts } = state.recording;
  switch (picked.kind) {
    case "message": return messages.at[picked.index];
    case "event": return events.at[picked.index];
    case "violation": return violations[picked.index].at;
    case "fault": return faults[picked.index].begin;
    default: return cuts[picked.index].begin;
  }
}

function selectViolation(state, index) {
  const violation = state.recording.violations[index];
  select(state, { kind: "violation", index });
  showAround(state, violation.at);
}

// The next (step 1) or previous (−1) violation that lies within the recording, around from the end to the beginning.
function stepViolation(state, step) {
  const { recording } = state;
  const inside = recording.violations.map((_, index) => index).filter((index) => isWithin(recording, recording.violations[index].at));
  if (inside.length === 0) return;
  const here = state.selected?.kind === "violation" ? inside.indexOf(state.selected.index) : step > 0 ? -1 : inside.length;
  selectViolation(state, inside[(here + step + inside.length) % inside.length]);
}

function stepLost(state, step) {
  const { messages } = state.recording;
  const start = state.selected?.kind === "message"
    ? state.selected.index + step
    : firstFrom(messages.at, (state.from + state.to) / 2) - (step > 0 ? 0 : 1);
  for (let i = start; i >= 0 && i < messages.count; i += step) {
    if (messages.lost[i] && isMessageShown(state, i)) {
      select(state, { kind: "message", index: i });
      showAround(state, messages.at[i]);
      return;
    }
  }
}

// The next (step 1) or previous (−1) message or event that passes the filters. Of one instant, messages come first.
function stepShown(state, step) {
  const { messages, events } = state.recording;
  const now = state.selected === null ? (state.from + state.to) / 2 : timeOf(state, state.selected);
  const message = nextShown(
    messages, stepFrom(state, "message", step, firstFrom(messages.at, now + 1)), step, (i) => isMessageShown(state, i));
  const event = nextShown(
    events, stepFrom(state, "event", step, firstFrom(events.at, now)), step, (i) => isEventShown(state, i));
  if (message < 0 && event < 0) return;
  const picked = comesFirst(messages.at[message], events.at[event], step)
    ? { kind: "message", index: message }
    : { kind: "event", index: event };
  select(state, picked);
  const at = timeOf(state, picked);
  if (at < state.from || at > state.to) centreOn(state, at);
}

// Where to look from: beside what is selected, or at the `boundary` between what lies before and behind it.
function stepFrom(state, kind, step, boundary) {
  if (state.selected?.kind === kind) return state.selected.index + step;
  return step > 0 ? boundary : boundary - 1;
}

function nextShown(column, start, step, isShown) {
  let i = start;
  while (i >= 0 && i < column.count && !isShown(i)) i += step;
  return i >= 0 && i < column.count ? i : -1;
}

// Whether the message comes before the event in the direction of `step`; undefined is never.
function comesFirst(messageAt, eventAt, step) {
  if (messageAt === undefined) return false;
  if (eventAt === undefined) return true;
  return step > 0 ? messageAt <= eventAt : messageAt > eventAt;
}
