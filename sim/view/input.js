// Mouse, touch and keyboard. Each changes the state and says `changed`.

const ZOOM_STEP = 1.6;
const PAN_STEP = 0.2;
const CLICK_PIXELS = 4;

function listen(page) {
  listenToButtons(page);
  listenToKeys(page);
  listenToPointer(page);
  listenToOverview(page);
}

function listenToButtons({ state, changed }) {
  const actions = {
    "zoom-in": () => zoom(state, 1 / ZOOM_STEP),
    "zoom-out": () => zoom(state, ZOOM_STEP),
    "zoom-all": () => showAll(state),
    "pan-left": () => pan(state, -PAN_STEP),
    "pan-right": () => pan(state, PAN_STEP),
    "lost-previous": () => stepLost(state, -1),
    "lost-next": () => stepLost(state, 1),
    "violation-previous": () => stepViolation(state, -1),
    "violation-next": () => stepViolation(state, 1),
  };
  for (const [id, act] of Object.entries(actions)) byId(id).addEventListener("click", () => { act(); changed(); });
}

function keyActions(state) {
  const { begin, end } = state.recording;
  return {
    "+": () => zoom(state, 1 / ZOOM_STEP),
    "=": () => zoom(state, 1 / ZOOM_STEP),
    "-": () => zoom(state, ZOOM_STEP),
    "0": () => showAll(state),
    ArrowLeft: () => pan(state, -PAN_STEP),
    ArrowRight: () => pan(state, PAN_STEP),
    ArrowUp: () => { state.scroll -= LANE_MAX; },
    ArrowDown: () => { state.scroll += LANE_MAX; },
    Home: () => centreOn(state, begin),
    End: () => centreOn(state, end),
    ".": () => stepShown(state, 1),
    ",": () => stepShown(state, -1),
    l: () => stepLost(state, 1),
    L: () => stepLost(state, -1),
    v: () => stepViolation(state, 1),
    V: () => stepViolation(state, -1),
    Escape: () => select(state, null),
  };
}

function listenToKeys({ canvas, state, changed }) {
  const actions = keyActions(state);
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(actions, event.key)) return;
    event.preventDefault();
    actions[event.key]();
    changed();
  });
}

function listenToPointer(page) {
  const { canvas, state, changed } = page;
  let drag = null;
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); wheel(page, event); changed(); }, { passive: false });
  canvas.addEventListener("dblclick", (event) => { zoom(state, 0.25, page.layout().timeAt(event.offsetX)); changed(); });
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    drag = { x: event.offsetX, y: event.offsetY, from: state.from, to: state.to, scroll: state.scroll, moved: false };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (drag === null) { hover(page, event.offsetX, event.offsetY); return; }
    dragTo(page, drag, event.offsetX, event.offsetY);
    changed();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (drag !== null && !drag.moved) { select(state, page.pick(event.offsetX, event.offsetY)); changed(); }
    drag = null;
    canvas.classList.remove("dragging");
  });
  canvas.addEventListener("pointercancel", () => { drag = null; canvas.classList.remove("dragging"); });
  canvas.addEventListener("pointerleave", () => hover(page, -1, -1));
}

// The wheel zooms where the pointer is; sideways, or with Shift, it pans.
function wheel({ state, layout }, event) {
  const sideways = event.shiftKey ? event.deltaY : event.deltaX;
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(state, sideways / 1000);
  else zoom(state, Math.exp(Math.max(-100, Math.min(100, event.deltaY)) / 240), layout().timeAt(event.offsetX));
}

function dragTo({ canvas, state, layout }, drag, x, y) {
  if (!drag.moved && Math.hypot(x - drag.x, y - drag.y) < CLICK_PIXELS) return;
  drag.moved = true;
  canvas.classList.add("dragging");
  const { left, width } = layout();
  const by = ((x - drag.x) / (width - left)) * (drag.to - drag.from);
  show(state, drag.from - by, drag.to - by);
  state.scroll = drag.scroll - (y - drag.y);
}

function hover(page, x, y) {
  const { state, tip } = page;
  const picked = x < 0 ? null : page.pick(x, y);
  const same = picked?.kind === state.hovered?.kind && picked?.index === state.hovered?.index;
  state.hovered = picked;
  tip.hidden = picked === null;
  if (picked !== null) {
    tip.textContent = sentenceOf(tellOf(state.recording, picked));
    placeTip(page, x, y);
  }
  if (!same) page.changed();
}

function placeTip({ tip, layout }, x, y) {
  const { width, height } = layout();
  tip.style.left = `${Math.max(0, Math.min(x + 14, width - tip.offsetWidth - 6))}px`;
  tip.style.top = `${y + 18 + tip.offsetHeight > height ? Math.max(0, y - tip.offsetHeight - 10) : y + 18}px`;
}

function listenToOverview({ overview, state, changed }) {
  const moveTo = (event) => {
    const { begin, end } = state.recording;
    centreOn(state, begin + (event.offsetX / overview.clientWidth) * (end - begin));
    changed();
  };
  overview.addEventListener("pointerdown", (event) => { overview.setPointerCapture(event.pointerId); moveTo(event); });
  overview.addEventListener("pointermove", (event) => { if (event.buttons & 1) moveTo(event); });
}
