"""Many seeds of one scenario: in this process, over processes (`local.py`), or over a Dask cluster (`dask.py`).

A seed is a whole run in one process and nothing is shared, so where it runs cannot change a result. Reports come in the
order of the seeds, whatever finishes first. What all of them together say is `coverage.py`.

`sim.sweep.dask` is imported only by who wants a cluster: it needs the extra `meshnode[dask]`.
"""

from __future__ import annotations

from sim.sweep.coverage import Coverage
from sim.sweep.local import SweepInterrupted, sweep, usable_cores
from sim.sweep.seed import run_seed

__all__ = ["Coverage", "SweepInterrupted", "run_seed", "sweep", "usable_cores"]
