// Puts the page together: one state, one frame per change at most, and a read-only look at both for tests.

const THEMES = ["system", "light", "dark"];

function start() {
  const recording = readRecording();
  const state = newState(recording);
  const canvas = byId("canvas");
  const overview = byId("overview");
  const context = canvas.getContext("2d");
  const overviewContext = overview.getContext("2d");
  const cache = { key: "" };
  let colours = readColours();
  let counts = {};
  let frames = 0;
  let frameMs = 0;
  let asked = false;

  context.font = FONT_BOLD;
  const fixed = fixedLayout(recording, (text) => context.measureText(text).width);
  const layout = () => layoutOf(state, fixed, canvas.clientWidth, canvas.clientHeight);

  function redraw() {
    const begun = performance.now();
    asked = false;
    fitToScreen(canvas, context);
    fitToScreen(overview, overviewContext);
    counts = drawFrame(context, state, layout(), colours);
    drawOverview(overviewContext, state, overview.clientWidth, overview.clientHeight, colours, cache);
    fillToolbar(state, counts);
    frames++;
    frameMs = performance.now() - begun;
    return frameMs;
  }

  function changed() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(redraw);
  }

  function told() {
    fillDetails(recording, state.selected);
    showCurrentViolation(state);
    changed();
  }

  function filtered() {
    refilter(state);
    changed();
  }

  const page = {
    canvas, overview, state, layout, tip: byId("tip"), changed: told,
    pick: (x, y) => pick(state, layout(), counts.mode, x, y),
  };
  if (state.selected === null) showAll(state);
  canvas.setAttribute("aria-label", `${recording.title}: ${recording.names.length} nodes, ${recording.messages.count} messages`);
  fillHeader(recording);
  fillViolations(state, told);
  fillFilters(state, colours, filtered);
  listen(page);
  listenToTheme(() => { colours = readColours(); changed(); });
  new ResizeObserver(changed).observe(canvas);
  told();
  redraw();
  expose(state, layout, redraw, () => ({ counts, frames, frameMs }));
}

function fitToScreen(canvas, context) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * ratio);
  const height = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
}

// Light and dark follow the system until the button is pressed.
function listenToTheme(changed) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let theme = 0;
  const apply = () => {
    const isDark = THEMES[theme] === "system" ? dark.matches : THEMES[theme] === "dark";
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
    byId("theme-name").textContent = theme === 0 ? "as the system" : THEMES[theme];
    changed();
  };
  dark.addEventListener("change", apply);
  byId("theme").addEventListener("click", () => { theme = (theme + 1) % THEMES.length; apply(); });
  apply();
}

// `window.meshsim`: what is shown and what the last frame drew, for tests and for the curious. Nothing can be set.
function expose(state, layout, redraw, drawn) {
  const { recording } = state;
  const api = {
    get from() { return state.from / NANOS_PER_S; },
    get to() { return state.to / NANOS_PER_S; },
    get selected() { return state.selected === null ? null : { ...state.selected, ...tellOf(recording, state.selected) }; },
    get hovered() { return state.hovered === null ? null : { ...state.hovered, ...tellOf(recording, state.hovered) }; },
    get drawn() { return { ...drawn().counts }; },
    get frames() { return drawn().frames; },
    get frameMs() { return drawn().frameMs; },
    placeOf: (at, node) => ({ x: layout().x(at * NANOS_PER_S), y: layout().y(node) }),
    redraw,
  };
  Object.defineProperty(window, "meshsim", { value: Object.freeze(api) });
}

start();
