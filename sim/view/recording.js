// The recording as the page works with it: typed columns, sorted by time. The other half of payload.py.

const NANOS_PER_S = 1e9;
const BLOCK = 256;

function readRecording() {
  const raw = JSON.parse(document.getElementById("recording").textContent);
  const strings = raw.strings;
  return {
    title: raw.title,
    words: raw.words,
    seed: raw.seed,
    hash: raw.hash,
    begin: raw.begin,
    end: Math.max(raw.end, raw.begin + 1),
    runEnd: raw.run_end,
    forgotten: raw.forgotten,
    names: raw.names,
    messages: readMessages(raw.messages, strings, raw.run_end),
    events: readEvents(raw.events, strings),
    down: raw.down.map((node) => node.map((row) => readStretch(row, strings))),
    faults: raw.faults.map((row) => readStretch(row, strings)),
    cuts: raw.cuts.map((row) => ({ ...readStretch(row, strings), letters: row[3] })),
    violations: raw.violations.map(([at, node, property, text]) => ({
      at, node, property: strings[property], text: strings[text],
    })),
  };
}

function readStretch([begin, end, text], strings) {
  return { begin, end, text: strings[text] };
}

function readMessages(raw, strings, runEnd) {
  const count = raw.at.length;
  const at = timesFrom(raw.at);
  const until = new Float64Array(count);
  const lost = new Uint8Array(count);
  const waiting = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    waiting[i] = raw.took[i] < 0 ? 1 : 0;
    until[i] = waiting[i] ? runEnd : at[i] + raw.took[i];
    lost[i] = raw.lost[i] >= 0 ? 1 : 0;
  }
  const types = numbered(raw.type);
  return {
    count, at, until, lost, waiting,
    latest: latestByBlock(until),
    from: Int32Array.from(raw.from),
    to: Int32Array.from(raw.to),
    type: types.column,
    types: types.keys.map((key) => strings[key]),
    why: (i) => (lost[i] ? strings[raw.lost[i]] : ""),
    note: (i) => (i in raw.notes ? strings[raw.notes[i]] : ""),
  };
}

function readEvents(raw, strings) {
  const text = (column) => (i) => strings[raw[column][i]];
  return {
    count: raw.at.length,
    at: timesFrom(raw.at),
    node: Int32Array.from(raw.node),
    peer: Int32Array.from(raw.peer),
    sort: Uint16Array.from(raw.sort),
    sorts: raw.sorts.map(([kind, what]) => ({ kind, what })),
    what: text("what"),
    text: text("text"),
    label: text("label"),
    tone: text("tone"),
  };
}

function timesFrom(differences) {
  const times = new Float64Array(differences.length);
  let time = 0;
  for (let i = 0; i < differences.length; i++) times[i] = time += differences[i];
  return times;
}

// Any numbers as 0, 1, 2, …, the most frequent first, so that colours go to what is seen most.
function numbered(values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  const keys = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a) || a - b);
  const numbers = new Map(keys.map((key, number) => [key, number]));
  return { keys, column: Uint16Array.from(values, (value) => numbers.get(value)) };
}

function latestByBlock(until) {
  const latest = new Float64Array(Math.ceil(until.length / BLOCK));
  for (let i = 0; i < until.length; i++) {
    const block = Math.floor(i / BLOCK);
    latest[block] = Math.max(latest[block], until[i]);
  }
  return latest;
}

// The first index whose time is at least `time`.
function firstFrom(times, time) {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Calls `visit(i)` for every message any part of which lies within [from, to]. What was said before `from` is found
// by blocks: one that is over by then is skipped whole.
function eachMessageWithin(messages, from, to, visit) {
  const first = firstFrom(messages.at, from);
  for (let begin = 0; begin < first; begin += BLOCK) {
    if (messages.latest[begin / BLOCK] < from) continue;
    const end = Math.min(begin + BLOCK, first);
    for (let i = begin; i < end; i++) if (messages.until[i] >= from) visit(i);
  }
  const last = firstFrom(messages.at, to);
  for (let i = first; i < last; i++) visit(i);
}
