// Everything around the diagram: the header, the details, the list of violations, the filters. All text is set as text.

function byId(id) {
  return document.getElementById(id);
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const grouped = (number) => number.toLocaleString("en");

function fillHeader(recording) {
  byId("title").textContent = recording.title;
  byId("seed").textContent = recording.seed;
  byId("hash").textContent = recording.hash;
  byId("words").textContent = recording.words;
  const outcome = byId("outcome");
  const count = recording.violations.length;
  outcome.textContent = count ? `${grouped(count)} violation${count > 1 ? "s" : ""}` : "held";
  outcome.classList.toggle("violated", count > 0);
  const { messages, events } = recording;
  byId("extent").textContent = `${grouped(messages.count)} messages, ${grouped(events.count)} other events, ${extentOf(recording)}`;
  fillForgotten(recording);
}

function extentOf({ begin, end, runEnd }) {
  const whole = begin === 0 && end === runEnd;
  return whole ? `the whole run, ${seconds(runEnd, 1)}` : `${seconds(begin, 1)} to ${seconds(end, 1)} of a run of ${seconds(runEnd, 1)}`;
}

function fillForgotten({ forgotten, begin }) {
  const notice = byId("forgotten");
  notice.hidden = forgotten === 0;
  notice.textContent =
    `${grouped(forgotten)} earlier events are not shown: the recording is bounded and begins at ${seconds(begin, 3)}. ` +
    "Record fewer seconds (--from, --to) or more events (--limit).";
}

function fillDetails(recording, picked) {
  if (picked === null) return;
  const { what, rows } = tellOf(recording, picked);
  const list = element("dl");
  for (const [name, text] of rows) list.append(element("dt", {}, name), element("dd", {}, text));
  byId("details").replaceChildren(element("p", { class: "what" }, what), list);
}

function fillViolations(state, changed) {
  const { recording } = state;
  const { violations } = recording;
  byId("violations-box").hidden = violations.length === 0;
  byId("violation-steps").hidden = violations.length === 0;
  byId("violations-count").textContent = `(${grouped(violations.length)})`;
  byId("violations").replaceChildren(...violations.map((violation, index) => {
    const where = violation.node < 0 ? "" : ` at ${nodeName(recording, violation.node)}`;
    const button = element("button", { type: "button" }, `${violation.property}, ${seconds(violation.at, 3)}${where}`);
    button.append(element("span", { class: "how" }, violation.text));
    if (isWithin(recording, violation.at)) {
      button.addEventListener("click", () => { selectViolation(state, index); changed(); });
    } else {
      button.disabled = true;
      button.append(" (outside of what is shown)");
    }
    return element("li", {}, button);
  }));
}

function showCurrentViolation(state) {
  document.querySelectorAll("#violations button").forEach((button, index) => {
    button.setAttribute("aria-current", String(isSelected(state, "violation", index)));
  });
}

// Filters: a list of checkboxes over one array of flags.

function fillFilters(state, colours, changed) {
  fillMessageFilters(state, colours, changed);
  fillEventFilters(state, changed);
  fillNodeFilters(state, changed);
  byId("only-lost").addEventListener("change", (event) => {
    state.onlyLost = event.target.checked;
    changed();
  });
}

function fillMessageFilters(state, colours, changed) {
  const { messages } = state.recording;
  const sent = new Uint32Array(messages.types.length);
  const lost = new Uint32Array(messages.types.length);
  for (let i = 0; i < messages.count; i++) {
    sent[messages.type[i]]++;
    lost[messages.type[i]] += messages.lost[i];
  }
  const rows = messages.types.map((name, type) => ({
    name, count: sent[type], lost: lost[type], swatch: `type-${type % TYPE_COLOURS}`, look: "swatch",
  }));
  fillChecks("message", rows, state.typeShown, changed);
}

function fillEventFilters(state, changed) {
  const { events } = state.recording;
  const counts = new Uint32Array(events.sorts.length);
  for (let i = 0; i < events.count; i++) counts[events.sort[i]]++;
  const rows = events.sorts.map(({ kind, what }, sort) => ({ name: sortName(kind, what), count: counts[sort] }));
  fillChecks("event", rows, state.sortShown, changed);
}

function sortName(kind, what) {
  const plain = { boot: "starts", crash: "crashes", durable: "records on disk", start: "bodies started" };
  return plain[kind] ?? (kind === "reply" ? `answer ${what}` : what);
}

function fillNodeFilters(state, changed) {
  const { messages, names } = state.recording;
  const counts = new Uint32Array(names.length);
  for (let i = 0; i < messages.count; i++) {
    counts[messages.from[i]]++;
    if (messages.to[i] >= 0) counts[messages.to[i]]++;
  }
  fillChecks("node", names.map((name, node) => ({ name, count: counts[node] })), state.nodeShown, changed);
}

function fillChecks(kind, rows, flags, changed) {
  const boxes = rows.map((row, index) => checkbox(row, flags, index, changed));
  byId(`${kind}-filters`).replaceChildren(...boxes.map(({ item }) => item));
  const setAll = (value) => {
    flags.fill(value);
    for (const { box } of boxes) box.checked = value === 1;
    changed();
  };
  byId(`${kind}s-all`).addEventListener("click", () => setAll(1));
  byId(`${kind}s-none`).addEventListener("click", () => setAll(0));
}

function checkbox(row, flags, index, changed) {
  const box = element("input", { type: "checkbox" });
  box.checked = flags[index] === 1;
  box.addEventListener("change", () => { flags[index] = box.checked ? 1 : 0; changed(); });
  const number = element("span", { class: "number" }, grouped(row.count));
  if (row.lost) number.append(" ", element("span", { class: "lost" }, `(${grouped(row.lost)} lost)`));
  const parts = [box];
  if (row.swatch) {
    const swatch = element("span", { class: row.look });
    swatch.style.background = `var(--${row.swatch})`;
    parts.push(swatch);
  }
  const label = element("label", {}, ...parts, element("span", { class: "name" }, row.name), number);
  return { box, item: element("li", {}, label) };
}

function fillToolbar(state, counts) {
  byId("range").textContent = rangeText(state);
  byId("mode").textContent = counts.mode === "bars"
    ? `${grouped(counts.messages)} messages in sight, as bars: zoom in to see each of them`
    : `${grouped(counts.messages)} messages in sight, ${grouped(counts.lost)} of them lost`;
}

function rangeText({ from, to }) {
  const digits = Math.min(6, Math.max(1, Math.ceil(2 - Math.log10((to - from) / NANOS_PER_S))));
  return `${seconds(Math.max(0, from), digits)} – ${seconds(to, digits)}`;
}
