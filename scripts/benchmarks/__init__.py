"""Figures: how fast and how small this is, each beside its peer, measured on the machine at hand.

`python -m scripts.benchmarks` (or `scripts/bench`, which sets itself up first). One file per benchmark; `runner.py` has
the command line, `figures.py` the vocabulary, `mesh.py` real daemons, `peers.py` the software that we compare with.
"""
