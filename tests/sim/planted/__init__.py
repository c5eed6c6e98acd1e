"""Planted bugs: the protocol, or its driver, broken in one place, to prove that a named checker sees it.

One file a family. A sample is proven by the tests, all by `scripts/soak`.
"""
