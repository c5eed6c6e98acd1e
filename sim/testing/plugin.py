"""The pytest plugin: options, the report of a failing seed, and how much was run.

It does nothing to tests that are not simulated.

Loaded by the entry point `pytest11` wherever the package is installed, so importing it must stay cheap: what runs
simulations is imported by the tests that use it.

    --sim-seed=N       replay one seed
    --sim-seeds=A..B   run these seeds in place of the tests' own (B is not included)
    --sim-jobs=N       run the seeds of each test over N processes (0: one per core)
    sim_seeds, sim_jobs   in the ini file: seeds of a test that does not say how many, and the usual jobs
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Generator
from contextvars import Token
from pathlib import Path
from typing import Any

import pytest

from sim.errors import ScenarioError
from sim.seeds import JOBS_MAX, SEED_MAX, SEEDS_MAX, parse_seeds
from sim.testing.options import SEEDS, Options, options

BASE = pytest.StashKey[Options]()
RAN = "sim_seeds"
"""A property of a test's report, which travels between processes and into JUnit's: how many seeds were run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sim", "simulated meshes (sim_test)")
    group.addoption("--sim-seed", metavar="N", help="Replay one seed of every simulated test.")
    group.addoption("--sim-seeds", metavar="A..B", help="Run these seeds, B not included, in place of the tests' own.")
    group.addoption("--sim-jobs", metavar="N", help="Processes for the seeds of each test; 0: one per core.")
    parser.addini("sim_seeds", "Seeds of a simulated test that does not say how many.", default=str(SEEDS))
    parser.addini("sim_jobs", "Processes for the seeds of each simulated test; 0: one per core.", default="1")


def pytest_configure(config: pytest.Config) -> None:
    try:
        config.stash[BASE] = asked_for(
            config.getoption("--sim-seed"),
            config.getoption("--sim-seeds"),
            config.getoption("--sim-jobs") or config.getini("sim_jobs"),
            config.getini("sim_seeds"),
        )
    except ScenarioError as error:
        raise pytest.UsageError(str(error)) from None


def asked_for(seed: str | None, seeds: str | None, jobs: str, usually: str) -> Options:
    """The options, read. Raises `ScenarioError`."""
    if seed is not None and seeds is not None:
        raise ScenarioError("--sim-seed replays one seed, --sim-seeds runs many: give one of them.")
    return Options(
        seed=None if seed is None else _number("--sim-seed", seed, 0, SEED_MAX, "as in --sim-seed=17"),
        seeds=None if seeds is None else parse_seeds("--sim-seeds=", seeds, 0),
        seeds_usually=_number("sim_seeds", usually, 1, SEEDS_MAX, "as in sim_seeds = 50"),
        jobs=_number("--sim-jobs", jobs, 0, JOBS_MAX, "or 0 for one per core") or _cores(),
    )


def _cores() -> int:
    from sim.sweep.local import usable_cores  # here, for it brings the whole simulator along

    return usable_cores()


def _number(option: str, text: str, least: int, most: int, example: str) -> int:
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and least <= int(digits) <= most):
        raise ScenarioError(f"{option} {text[:80]!r}: it must be a number from {least} to {most}, {example}.")
    return int(digits)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    token: Token[Options] = options.set(_options_for(item))
    try:
        return (yield)
    finally:
        options.reset(token)


def _options_for(item: pytest.Item) -> Options:
    base = item.config.stash[BASE]
    here = item.config.invocation_params.dir
    file = Path(os.path.relpath(item.path, here)).as_posix()
    name = item.nodeid.partition("::")[2]
    return Options(
        seed=base.seed,
        seeds=base.seeds,
        seeds_usually=base.seeds_usually,
        jobs=base.jobs,
        test=shlex.quote(f"{file}::{name}" if name else file),
        file=file,
        ran=lambda seeds: item.user_properties.append((RAN, seeds)),
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    error = None if call.excinfo is None else call.excinfo.value
    text, repro = getattr(error, "sim_report", ""), getattr(error, "sim_repro", "")
    if text and report.failed:
        report.sections.append(("simulation", text))
        item.user_properties.append(("sim_repro", repro))  # JUnit's report has these, and no sections
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for each in terminalreporter.stats.values() for report in each]
    ran = [
        seeds
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, seeds in report.user_properties
        if name == RAN and isinstance(seeds, int)
    ]
    if ran and terminalreporter.verbosity >= 0:
        terminalreporter.write_line(f"meshsim: {_counted(len(ran), 'test')}, {_counted(sum(ran), 'seed')}")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
