// The strip below: the whole recording, how much is said when, what is lost, broken and violated, and what is in sight.

const OVERVIEW_BAR = 2;

function drawOverview(context, state, width, height, colours, cache) {
  const key = `${width}x${height}/${state.version}/${colours.paper}`;
  if (cache.key !== key) {
    cache.key = key;
    cache.counts = overviewCounts(state, Math.ceil(width / OVERVIEW_BAR));
  }
  const x = (at) => ((at - state.recording.begin) / (state.recording.end - state.recording.begin)) * width;
  context.fillStyle = colours.paper;
  context.fillRect(0, 0, width, height);
  drawOverviewFaults(context, state, height, colours, x);
  drawOverviewBars(context, cache.counts, height, colours);
  for (const violation of state.recording.violations) {
    context.fillStyle = colours.violation;
    context.fillRect(x(violation.at) - 1, 0, 2.5, height);
  }
  drawWindow(context, x(state.from), x(state.to), width, height, colours);
}

function overviewCounts(state, columns) {
  const { messages, begin, end } = state.recording;
  const sent = new Uint32Array(columns);
  const lost = new Uint32Array(columns);
  const scale = columns / (end - begin + 1);
  for (let i = 0; i < messages.count; i++) {
    if (!isMessageShown(state, i)) continue;
    const column = Math.min(columns - 1, Math.floor((messages.at[i] - begin) * scale));
    sent[column]++;
    lost[column] += messages.lost[i];
  }
  return { sent, lost, most: sent.reduce((a, b) => Math.max(a, b), 1) };
}

function drawOverviewFaults(context, state, height, colours, x) {
  context.fillStyle = colours.fault;
  for (const { begin, end } of state.recording.faults) context.fillRect(x(begin), 0, Math.max(1, x(end) - x(begin)), height);
}

function drawOverviewBars(context, { sent, lost, most }, height, colours) {
  const scale = (height - 6) / most;
  context.fillStyle = colours.density;
  sent.forEach((count, k) => { if (count) context.fillRect(k * OVERVIEW_BAR, height - count * scale, OVERVIEW_BAR, count * scale); });
  context.fillStyle = colours.lost;
  lost.forEach((count, k) => { if (count) context.fillRect(k * OVERVIEW_BAR, height - Math.max(1, count * scale), OVERVIEW_BAR, Math.max(1, count * scale)); });
}

function drawWindow(context, left, right, width, height, colours) {
  context.fillStyle = colours.ground;
  context.globalAlpha = 0.65;
  context.fillRect(0, 0, Math.max(0, left), height);
  context.fillRect(right, 0, Math.max(0, width - right), height);
  context.globalAlpha = 1;
  context.strokeStyle = colours.focus;
  context.lineWidth = 2;
  const from = Math.max(1, left);
  context.strokeRect(from, 1, Math.max(3, Math.min(right, width - 1) - from), height - 2);
}
