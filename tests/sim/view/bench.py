"""How long the view takes to draw: `python -m tests.sim.view.bench`. Prints figures and judges nothing.

A frame is a redraw of the diagram and the strip, until its pixels can be read back; 20 nodes, software rendering.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.sim.view.browser import Opened, opened_browser
from tests.sim.view.recordings import many

NODES = 20
COUNTS = (10_000, 100_000)
FRAMES = 15
MEASURE = f"""
(() => {{
  const context = document.getElementById("canvas").getContext("2d");
  const times = [];
  for (let i = 0; i < {FRAMES}; i++) {{
    const begun = performance.now();
    meshsim.redraw();
    context.getImageData(0, 0, 1, 1);
    times.push(performance.now() - begun);
  }}
  times.sort((a, b) => a - b);
  return [times[{FRAMES // 2}], times[{FRAMES - 1}]];
}})()
"""


def tell_frames(view: Opened, what: str) -> None:
    """Print the median and the worst of some frames of what is in sight."""
    median, worst = view.ask(MEASURE)
    drawn = view.drawn()
    print(f"  {what}: median {median:.1f} ms, worst {worst:.1f} ms, {drawn['messages']:,} messages as {drawn['mode']}")


def main() -> None:
    """Draw each size at three zooms."""
    with opened_browser() as browser, tempfile.TemporaryDirectory() as folder:
        for count in COUNTS:
            recording = many(NODES, count)
            begun = time.perf_counter()
            view = Opened(browser, recording, Path(folder))
            opened_s = time.perf_counter() - begun
            size_mb = view.file.stat().st_size / 1e6
            print(f"{NODES} nodes, {count:,} messages: {size_mb:.1f} MB, rendered and opened in {opened_s:.2f} s")
            tell_frames(view, "all of it")
            view.press("+", "+")
            tell_frames(view, "zoomed")
            while view.drawn()["mode"] == "bars":
                view.press("+")
            tell_frames(view, "arrows")
            view.close()


if __name__ == "__main__":
    main()
