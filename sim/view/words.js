// What is said of a thing, in words: for the tip, the details, and who listens instead of looking.

const WHY = {
  cut: "the network was cut between them",
  loss: "the link lost it",
  down: "the receiver was down when it got there",
  refused: "the receiver was down: no connection",
  reset: "its stream was reset with the message under way or waiting",
  clogged: "too many waited in a clogged link already",
  "socket full": "the receiver was stopped and its socket full",
  "nobody there": "there is nobody at that address",
};
const KIND_WORDS = {
  boot: "starts", crash: "crashes", mark: "", fact: "", durable: "on disk", start: "starts a body", reply: "answers a caller",
};

function seconds(at, digits = 6) {
  return `${(at / NANOS_PER_S).toFixed(digits)} s`;
}

// A length of time in the unit that suits it.
function duration(nanos) {
  if (nanos < 1e3) return `${nanos} ns`;
  if (nanos < 1e6) return `${trimmed(nanos / 1e3)} µs`;
  if (nanos < 1e9) return `${trimmed(nanos / 1e6)} ms`;
  return `${trimmed(nanos / 1e9)} s`;
}

function trimmed(number) {
  return String(Number(number.toPrecision(4)));
}

function nodeName(recording, node) {
  return node < 0 ? "nobody" : recording.names[node];
}

// {what, rows: [[name, text], …]} of anything that can be picked.
function tellOf(recording, picked) {
  switch (picked.kind) {
    case "message": return tellMessage(recording, picked.index);
    case "event": return tellEvent(recording, picked.index);
    case "violation": return tellViolation(recording, recording.violations[picked.index]);
    case "fault": return tellStretch("fault", recording.faults[picked.index]);
    case "cut": return tellStretch("cut", recording.cuts[picked.index]);
    default: return tellDown(recording, picked);
  }
}

function tellMessage(recording, i) {
  const { messages } = recording;
  const from = nodeName(recording, messages.from[i]);
  const to = nodeName(recording, messages.to[i]);
  const rows = [["sent", seconds(messages.at[i])]];
  const took = duration(messages.until[i] - messages.at[i]);
  if (messages.lost[i]) {
    const why = messages.why(i);
    rows.push(["lost", messages.until[i] > messages.at[i] ? `${seconds(messages.until[i])} (${took} later)` : "at once"]);
    rows.push(["why", WHY[why] ? `${why}: ${WHY[why]}` : why]);
  } else if (messages.waiting[i]) {
    rows.push(["arrives", "never: it still waits when the run ends, on a stalled stream or in a clogged link"]);
  } else {
    rows.push(["arrives", `${seconds(messages.until[i])} (${took} later)`]);
  }
  if (messages.note(i)) rows.push(["note", messages.note(i) === "duplicate" ? "second copy of a doubled packet" : messages.note(i)]);
  const receiver = from === to ? "itself" : to;
  return { what: `${messages.types[messages.type[i]]}: ${from} → ${receiver}${messages.lost[i] ? " (lost)" : ""}`, rows };
}

function tellEvent(recording, i) {
  const { events } = recording;
  const { kind } = events.sorts[events.sort[i]];
  const words = kind === "mark" || kind === "fact" ? events.text(i) : `${KIND_WORDS[kind]} ${events.text(i)}`;
  const what = `${nodeName(recording, events.node[i])} ${words}`.trim();
  const rows = [["time", seconds(events.at[i])]];
  if (kind !== "boot" && kind !== "crash" && kind !== "durable") rows.push([kind, events.what(i)]);
  return { what, rows };
}

function tellViolation(recording, violation) {
  const rows = [["time", seconds(violation.at)], ["at", violation.node < 0 ? "the mesh as a whole" : nodeName(recording, violation.node)]];
  return { what: `Violated: ${violation.property}`, rows: [...rows, ["how", violation.text]] };
}

function tellStretch(kind, stretch) {
  const rows = [["from", seconds(stretch.begin)], ["to", seconds(stretch.end)], ["for", duration(stretch.end - stretch.begin)]];
  return { what: `${kind}: ${stretch.text}`, rows };
}

function tellDown(recording, { node, index }) {
  const stretch = recording.down[node][index];
  return tellStretch(nodeName(recording, node), stretch);
}

function sentenceOf({ what, rows }) {
  return `${what}\n${rows.map(([name, text]) => `${name} ${text}`).join("\n")}`;
}
