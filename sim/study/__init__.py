"""Studies: what the protocols do, measured over many seeds and held against goals and closed forms (DESIGN 4).

An experiment is a file: its trials (arm, size of the mesh, seed), what one trial measures, and what all of them
together say, as tables, plots and goals. A trial is a function of the code and of its seed alone, so a study is too;
where and in how many processes it runs changes nothing. `plan.py` says which experiments there are, `pool.py` runs
their trials, `report/` tells the result.
"""
