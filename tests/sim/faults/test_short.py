"""The short form of faults: every kind with every option can be written and read back; what cannot is refused."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect as typing_of

from sim.errors import ScenarioError
from sim.faults import KINDS, Crash, DiskFull, Fault, Flapping, Groups, Halves, Isolate, Lossy, OneWay, RandomCut, Slow
from sim.faults.short import parse_crash, parse_disk_full, parse_fault, parse_partition, spec_of


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("halves@30-60", Halves(30, 60)),
        ("isolate:2@10-40", Isolate(10, 40, 2)),
        ("isolate@10-40", Isolate(10, 40, 1)),
        ("oneway:3@0.5-1.25", OneWay(0.5, 1.25, 3)),
        ("  halves@1-2 ", Halves(1, 2)),
        ("oneway@1-2,nodes=n0,to=n1+n2", OneWay(1, 2, nodes=("n0",), to=("n1", "n2"))),
        ("random@1-2,p=0.25,symmetric=false", RandomCut(1, 2, p=0.25, symmetric=False)),
        ("groups@1-2,groups=n0+n1/n2", Groups(1, 2, groups=(("n0", "n1"), ("n2",)))),
        ("flapping@1-2,sides=link,salt=7", Flapping(1, 2, sides="link", salt=7)),
    ],
)
def test_partitions_are_read(spec: str, fault: Fault) -> None:
    assert parse_partition(spec) == parse_fault(spec) == fault
    assert parse_partition(spec_of(fault)) == fault


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("crash:3@20-35", Crash(20, 35, 3)),
        ("3@20-35", Crash(20, 35, 3)),
        ("crash@20-35", Crash(20, 35, 1)),
        ("3@20", Crash(20, None, 3)),
    ],
)
def test_crashes_are_read(spec: str, fault: Fault) -> None:
    assert parse_crash(spec) == fault
    assert parse_crash(spec_of(fault)) == parse_fault(spec_of(fault)) == fault


@pytest.mark.parametrize("spec", ["2@20-40", "diskfull:2@20-40"])
def test_full_disks_are_read(spec: str) -> None:
    assert parse_disk_full(spec) == DiskFull(20, 40, 2)


def test_a_fault_may_last_until_all_are_over() -> None:
    assert parse_fault("lossy:2@5,loss=0.125") == Lossy(5, None, 2, loss=0.125)


NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True)
TIMES = st.floats(0, 1e6).map(lambda seconds: round(seconds, 6))


def values(wanted: typing_of.Type) -> st.SearchStrategy[Any]:
    """Values that a field of a fault may have."""
    match wanted:
        case typing_of.BoolType():
            return st.booleans()
        case typing_of.IntType():
            return st.integers(0, 10**8)
        case typing_of.FloatType():
            return st.floats(0, 1e9)
        case typing_of.StrType():
            return NAMES
        case typing_of.LiteralType(values=choices):
            return st.sampled_from(choices)
        case typing_of.VarTupleType(item_type=inner):
            return st.lists(values(inner), min_size=1, max_size=3).map(tuple)
        case typing_of.UnionType(types=types):
            return st.one_of(st.none(), *(values(each) for each in types if not isinstance(each, typing_of.NoneType)))
    raise AssertionError(f"no strategy for {wanted}")


@given(st.data(), st.sampled_from(sorted(KINDS)))
def test_every_kind_with_every_option_is_written_and_read_back(data: st.DataObject, kind: str) -> None:
    info = typing_of.type_info(KINDS[kind])
    assert isinstance(info, typing_of.StructType)
    options = {
        field.name: data.draw(values(field.type))
        for field in info.fields
        if field.name not in ("start_s", "end_s") and data.draw(st.booleans())
    }
    fault = KINDS[kind](data.draw(TIMES), data.draw(st.none() | TIMES), **options)
    assert parse_fault(spec_of(fault)) == fault


@given(st.text(max_size=40))
def test_whatever_else_is_typed_is_an_error_with_a_next_step(text: str) -> None:
    with pytest.raises(ScenarioError, match=r"as in halves@30-60|Did you mean|Valid:|no option"):
        parse_fault(text)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("halfs@30-60", "Did you mean 'halves'?"),
        ("isolated@30-60", "Did you mean 'isolate'?"),
        ("crash@30-60", "Valid: halves, isolate, oneway, bridge, majorities-ring, random"),
        ("halves@30", "never heals"),
        ("halves:3@30-60", "the kind 'halves' takes no count. Leave out ':3'."),
        ("halves", "as in halves@30-60"),
        ("halves@30-60-90", "Cannot read"),
        ("halves@-3-60", "Cannot read"),
        ("halves@１-60", "Cannot read"),
        ("", "Cannot read"),
    ],
)
def test_partitions_that_cannot_be_read_say_what_was_probably_meant(spec: str, says: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(says)):
        parse_partition(spec)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("crush@1-2", "Did you mean 'crash'?"),
        ("lossy@1-2,los=0.5", "Did you mean 'loss'?"),
        ("lossy@1-2,loss", "loss needs a value. Written name=value, as in loss=0.3."),
        ("groups@1-2,groups", "as in groups=n0/n1."),
        ("isolate@1-2,nodes", "as in nodes=n0+n1."),
        ("lossy@1-2,loss=much", ": loss must be a number, as in loss=0.3."),
        ("random@1-2,symmetric=maybe", ": symmetric must be true or false, as in symmetric=true."),
        ("lossy@1-2,salt=0.5", ": salt must be a whole number, as in salt=0."),
        ("lossy@1-2,way=up", "there is no way 'up'. Valid: both, in, out."),
        ("crash:2@1-2,moment=savin", "no moment 'savin'. Did you mean 'saving'? Valid: any, saved, saving."),
        ("upgrade:2@1-2", "takes no count. Leave out ':2', or name the nodes, as in nodes=n0+n1."),
        ("lossy@1-2,loss=0.1,loss=0.2", "loss is given twice"),
        ("lossy:2@1-2,count=3", "count is given twice"),
        ("lossy@1-2,start_s=3", "no option 'start_s'"),
        ("slow@1-2," + "x" * 20_000, "Cannot read"),
        ("slow@1e3-2e3", "Cannot read"),
    ],
)
def test_faults_that_cannot_be_read_say_why(spec: str, says: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(says)):
        parse_fault(spec)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_an_option_without_a_value_is_told_can_be_written(kind: str) -> None:
    info = typing_of.type_info(KINDS[kind])
    assert isinstance(info, typing_of.StructType)
    for name in {field.name for field in info.fields} - {"start_s", "end_s"}:
        with pytest.raises(ScenarioError, match=f"{name} needs a value") as caught:
            parse_fault(f"{kind}@1-2,{name}")
        example = str(caught.value).rpartition("as in ")[2].removesuffix(".")
        assert parse_fault(f"{kind}@1-2,{example}").kind() == kind


@pytest.mark.parametrize("spec", ["", "x@1-2", "crush:1@2-3", "@1-2", "1@", "crash:1@2-", "halves@1-2"])
def test_crashes_that_cannot_be_read_are_refused(spec: str) -> None:
    with pytest.raises(ScenarioError):
        parse_crash(spec)


@pytest.mark.parametrize("spec", ["", "2@20", "diskful:2@20-30"])
def test_full_disks_that_cannot_be_read_are_refused(spec: str) -> None:
    with pytest.raises(ScenarioError):
        parse_disk_full(spec)


def test_numbers_are_written_exactly_and_without_exponents() -> None:
    assert spec_of(Slow(1234567.125, 2e6, add_ms_min=1e-05)) == "slow:1@1234567.125-2000000,add_ms_min=0.00001"
    assert msgspec.json.encode(parse_fault("slow:1@0.1-0.3")) == msgspec.json.encode(Slow(0.1, 0.3))
