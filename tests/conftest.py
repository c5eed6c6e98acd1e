"""Settings of the whole suite."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# How long an example takes is the machine's business, not the property's. Elsewhere than here Hypothesis thinks so only
# where it sees CI.
settings.register_profile("unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# Who starts the suite may have a narrow terminal, want colours, or have a node of his own: no business of a test's.
for name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "PY_COLORS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(name, None)
for name in [name for name in os.environ if name.startswith("MESHNODE_")]:
    del os.environ[name]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it puts into the background with SIGINT ignored, and children inherit that: the many tests
    # that interrupt a process would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
