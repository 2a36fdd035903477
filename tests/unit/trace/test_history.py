# SPDX-License-Identifier: GPL-2.0-or-later
"""The history of an address: of a driver's life by hand, and of events that are made up."""

from __future__ import annotations

import pytest

from smmu_emu.trace.codec import TraceError
from smmu_emu.trace.events import Event, Finding, Mapping, Origin, TableWrite
from smmu_emu.trace.history import Subject, history
from smmu_emu.trace.tracer import Tracer
from tests.unit.smmuv3.rig import (
    CD_AT,
    GUEST,
    NG,
    RAM,
    RW,
    SID,
    Bench,
    cmd,
    nested_bench,
    stage1_bench,
)

IOVA, OUT = 0x203000, RAM + 0x20_0000
PTE = OUT | RW | NG | 3


class Story:
    """A traced bench whose history is asked for."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.events: list[Event] = []
        self.tracer = Tracer(bench.smmu, self.events.append)

    def write(self, pa: int, value: int) -> None:
        """Software writes a descriptor, and is watched."""
        old = self.bench.memory.read_u64(pa)
        assert old is not None
        self.bench.write64(pa, value)
        cause = self.tracer.causes.find()
        self.tracer.add(TableWrite(0, 0, "machine", cause, "core", "descriptor", pa, old, value))

    def lines(self, iova: int = IOVA, stream_id: int = SID) -> list[str]:
        """What happened, without numbers, times and causes."""
        return [line[22:].split("  by ")[0] for line in self.told(iova, stream_id)]

    def told(self, iova: int = IOVA, stream_id: int = SID) -> list[str]:
        """Whole lines."""
        return list(history(lambda: self.events, Subject(stream_id, iova)))

    def words(self, iova: int = IOVA, stream_id: int = SID) -> list[str]:
        """The first word of each line about the address, the trace's own aside."""
        words = [line.split(":")[0].split(" by")[0] for line in self.lines(iova, stream_id)]
        return [word for word in words if word != "begin"]


def _story() -> tuple[Story, int]:
    bench, tree = stage1_bench()
    where = tree.at(IOVA, 3)
    return Story(bench), where


def test_a_life_is_told_in_order() -> None:
    story, where = _story()
    bench = story.bench
    story.write(where, PTE)
    bench.pa(IOVA)
    bench.pa(IOVA + 0x10)
    story.write(where, 0)
    bench.do(cmd("TLBI_NH_VA", ASID=3, Address=IOVA, Leaf=1))
    bench.go(IOVA)
    assert story.words() == [
        "mapped",
        "STE fetched from 0x40000200, cached as #1",
        "CD fetched from 0x40060000, cached as #2",
        "walked",
        "filled",
        "answered",
        "hit",
        "unmapped",
        "invalidated",
        "synced",
        "walked",
        "recorded in the event queue",
        "fault",
    ]


def test_a_hit_of_what_was_unmapped_is_stale() -> None:
    story, where = _story()
    story.write(where, PTE)
    story.bench.pa(IOVA)
    story.write(where, 0)
    story.bench.pa(IOVA)
    unmapped = next(e for e in story.events if isinstance(e, TableWrite) and not e.new)
    assert story.lines()[-1].startswith("hit: ")
    assert story.lines()[-1].endswith(f"STALE: what #3 came from changed in {unmapped.seq}")


def test_a_hit_after_the_same_was_written_again_is_not_stale() -> None:
    story, where = _story()
    story.write(where, PTE)
    story.bench.pa(IOVA)
    story.write(where, PTE)
    story.bench.pa(IOVA)
    assert "STALE" not in story.lines()[-1]


def test_an_invalidation_of_another_asid_is_told_with_its_reason() -> None:
    story, where = _story()
    story.write(where, PTE)
    story.bench.pa(IOVA)
    story.bench.do(cmd("TLBI_NH_VA", ASID=9, Address=IOVA))
    (line,) = (line for line in story.lines() if line.startswith("invalidated"))
    assert line.endswith("left #3 (asid)")


def test_an_invalidation_of_another_page_is_not_told() -> None:
    story, where = _story()
    story.write(where, PTE)
    story.bench.pa(IOVA)
    story.bench.do(cmd("TLBI_NH_VA", ASID=3, Address=IOVA + 0x1000))
    assert "invalidated" not in story.words()


def test_an_invalidation_that_found_nothing_is_told() -> None:
    story, where = _story()
    story.write(where, PTE)
    story.bench.pa(IOVA)
    for _ in range(2):
        story.bench.do(cmd("TLBI_NH_VA", ASID=3, Address=IOVA))
    lines = [line for line in story.lines() if line.startswith("invalidated")]
    assert lines[0].endswith("removed #3")
    assert lines[1].endswith("found nothing of it cached")


def test_without_watched_writes_walks_tell_of_changes() -> None:
    story, where = _story()
    story.bench.write64(where, PTE)
    story.bench.pa(IOVA)
    story.bench.write64(where, 0)
    story.bench.do(cmd("TLBI_NH_ALL"))
    story.bench.go(IOVA)
    (line,) = (line for line in story.lines() if line.startswith("unmapped"))
    assert line == f"unmapped since: {where:#x} {PTE:#x} -> 0x0 (nobody watched who wrote)"


def test_what_software_declares_makes_a_hit_stale_as_well() -> None:
    story, where = _story()
    story.bench.write64(where, PTE)
    # fmt: off
    mapped = Mapping(0, 0, "smmu0", 0, SID, None, None, None, IOVA, OUT, 0x1000, True, True, True)
    # fmt: on
    story.tracer.add(mapped)
    story.bench.pa(IOVA)
    number = story.tracer.add(mapped._replace(mapped=False, pa=None))
    story.bench.pa(IOVA)
    assert story.lines()[-1].endswith(f"STALE: software unmapped it in {number}")


def test_other_pages_and_other_streams_are_left_out() -> None:
    story, where = _story()
    story.bench.write64(where, PTE)
    story.bench.write64(where + 8, PTE + 0x1000)
    story.bench.ste(9, V=1, Config=0b100, SHCFG=1)
    story.bench.pa(IOVA + 0x1000)
    story.bench.pa(IOVA, sid=9)
    story.bench.pa(IOVA)
    assert [word for word in story.words() if "fetched" not in word] == [
        "walked",
        "filled",
        "answered",
    ]


def test_a_stream_that_shares_the_tag_shares_the_history() -> None:
    story, where = _story()
    bench = story.bench
    bench.write64(where, PTE)
    bench.ste(9, V=1, Config=0b101, S1ContextPtr=CD_AT, SHCFG=1)
    bench.pa(IOVA)
    bench.pa(IOVA, sid=9)
    bench.do(cmd("TLBI_NH_ASID", ASID=3))
    lines = story.lines(stream_id=9)
    assert any(line.startswith("filled: #3") for line in lines)
    assert any(line.startswith("hit: ") for line in lines)
    assert any(line.endswith("removed #3") for line in lines)


def test_a_nested_address_follows_both_stages() -> None:

    bench, first, second = nested_bench()
    first.page(IOVA, GUEST + OUT, RW | NG)
    story = Story(bench)
    bench.pa(IOVA)
    block = second.at(GUEST + OUT, 2)
    story.write(block, 0)
    bench.pa(IOVA)
    lines = story.lines()
    assert any(line.startswith(f"unmapped by core: {block:#x}") for line in lines)
    assert "STALE" in lines[-1]


def test_findings_about_the_address_are_told() -> None:
    story, where = _story()
    story.bench.write64(where, PTE)
    story.bench.pa(IOVA)
    # fmt: off
    finding = Finding(0, 0, "smmu0", 0, "stale-tlb-hit", "error", "text", "rule", "do", SID,
                      IOVA + 8, ())
    # fmt: on
    story.tracer.add(finding)
    story.tracer.add(finding._replace(iova=0x9000))
    assert story.lines()[-1] == "error stale-tlb-hit: text"
    assert sum(line.startswith("error") for line in story.lines()) == 1


def test_lines_name_who_is_behind() -> None:
    story, where = _story()
    story.write(where, PTE)
    story.bench.pa(IOVA)
    first = next(line for line in story.told() if "mapped by core" in line)
    assert "by test_history.py:" in first
    origin = next(e for e in story.events if isinstance(e, Origin))
    assert origin.pc is None


def test_a_stream_that_did_nothing_is_refused() -> None:
    story, where = _story()
    story.bench.write64(where, PTE)
    story.bench.pa(IOVA)
    with pytest.raises(TraceError, match="no access of stream 0x63 in the trace; streams: 0x8"):
        story.lines(stream_id=99)
    with pytest.raises(TraceError, match="no access of stream 0x8 iova 0x9000"):
        story.lines(iova=0x9000)


def test_an_empty_trace_is_refused() -> None:
    with pytest.raises(TraceError, match="streams: none"):
        list(history(list, Subject(8, 0)))
