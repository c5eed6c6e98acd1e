"""Settings of the whole suite."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# How long an example takes is the machine's business, not the property's. Elsewhere than here Hypothesis thinks so only
# where it sees CI.
settings.register_profile("unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it puts into the background with SIGINT ignored, and children inherit that: the many tests
    # that interrupt a process would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
