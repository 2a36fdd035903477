# SPDX-License-Identifier: GPL-2.0-or-later
"""STEs and CDs that change: told and untold, at once and by steps."""

from __future__ import annotations

import pytest

from smmu_emu.smmuv3.spec.cd import CD
from smmu_emu.smmuv3.spec.command import Opcode
from smmu_emu.smmuv3.spec.ste import STE, Config
from smmu_emu.trace.events import TableWrite
from tests.unit.check.bench import IOVA, OTHER_IOVA, OTHER_PA, PAGE, PAGE_PA, SID, Bench

ABORT = STE.make(V=1, Config=Config.ABORT)


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.map_and_use()
    return made


def test_stale_ste_in_use_is_found(bench: Bench) -> None:
    bench.store_ste(ABORT)
    bench.sync()
    assert bench.dma()
    finding = bench.found()["stale-config-hit"]
    assert finding.text.startswith("stream 0x8 wrote through 0x1000")
    assert "whose Config changed" in finding.text


def test_use_before_the_invalidation_is_legal(bench: Bench) -> None:
    bench.store_ste(ABORT)
    assert bench.dma()
    bench.cfgi_ste()
    bench.sync()
    assert not bench.dma()
    assert bench.found() == {}


def test_invalidation_of_another_stream_does_not_count(bench: Bench) -> None:
    bench.store_ste(ABORT)
    bench.cfgi_ste(SID + 1)
    bench.sync()
    assert bench.dma()
    assert "CFGI_STE of stream 0x9" in bench.found()["stale-config-hit"].text


def test_stale_structure_is_found_at_the_end(bench: Bench) -> None:
    bench.store_ste(ABORT)
    bench.sync()
    assert bench.found()["missing-config-invalidate"].severity == "error"


def test_bits_that_nobody_looks_at_are_no_change(bench: Bench) -> None:
    ste = STE(int.from_bytes(bench.memory.read(bench.ste_at, 64) or b"", "little"))
    bench.store_ste(ste.replace(S2TTB=0x4000_0000, SW_RESERVED=5))
    bench.sync()
    assert bench.dma()
    assert bench.found() == {}


def test_change_after_the_invalidation_is_found(bench: Bench) -> None:
    second = bench.driver.domain()
    second.map(OTHER_IOVA, OTHER_PA, PAGE)
    bench.cfgi_ste()
    bench.sync()
    bench.store_ste(second.ste())
    assert bench.dma(OTHER_IOVA)
    assert "was changed after CFGI_STE" in bench.found()["missing-config-invalidate"].text


def test_stream_used_before_the_sync_is_found(bench: Bench) -> None:
    bench.store_ste(bench.driver.domain().ste())
    bench.cfgi_ste()
    bench.dma()
    assert "was fetched after CFGI_STE" in bench.found()["missing-sync"].text


def test_stale_cd_in_use_is_found(bench: Bench) -> None:
    at = bench.domain.cd_address
    bench.store(at + 8, bench.driver.domain().cd.TTB0)
    bench.sync()
    assert bench.dma()
    assert "the CD of stream 0x8" in bench.found()["stale-config-hit"].text


# -- config-not-hitless


def test_two_doublewords_that_change_at_once_are_found(bench: Bench) -> None:
    other = bench.driver.domain(ias=39).cd
    bench.memory.write(bench.domain.cd_address, other.to_bytes())
    bench.cfgi_cd()
    bench.sync()
    assert "2 doublewords of the CD" in bench.found()["config-not-hitless"].text


def test_change_through_an_invalid_cd_is_clean(bench: Bench) -> None:
    at, other = bench.domain.cd_address, bench.driver.domain(ias=39).cd
    for cd in (bench.domain.cd.replace(V=0), other.replace(V=0), other):
        bench.memory.write(at, cd.to_bytes())
        bench.cfgi_cd()
        bench.sync()
    assert bench.found() == {}


def test_change_of_one_doubleword_is_clean(bench: Bench) -> None:
    bench.store(bench.domain.cd_address + 8, bench.driver.domain().cd.TTB0)
    bench.cfgi_cd()
    bench.sync()
    bench.tlbi(Opcode=Opcode.TLBI_NH_ASID, Address=0, Leaf=0)
    bench.sync()
    assert bench.found() == {}


def test_drivers_own_updates_are_clean() -> None:
    bench = Bench()
    second, host = bench.driver.domain(), bench.driver.stage2(ias=40)
    for space in (bench.domain, second, host):
        space.map(IOVA, PAGE_PA, PAGE)
    for enter in (
        lambda: bench.driver.attach(SID, second),
        lambda: bench.driver.attach(SID, host),
        lambda: bench.driver.bypass(SID),
        lambda: bench.driver.attach(SID, bench.domain),
        lambda: bench.driver.detach(SID),
    ):
        enter()
        bench.dma()
    assert bench.found() == {}


def test_half_an_update_that_somebody_saw_being_written_is_found(bench: Bench) -> None:
    """From abort to stage 1 one doubleword matters; written first, the pointer is not there yet."""
    bench.store_ste(ABORT)
    bench.cfgi_ste()
    bench.sync()
    target = STE.make(V=1, Config=Config.STAGE1, S1ContextPtr=bench.domain.cd_address, SHCFG=1)
    old = ABORT.value
    for word in range(8):
        shift = 64 * word
        before, after = (value >> shift & (1 << 64) - 1 for value in (old, target.value))
        if before != after:
            bench.store(bench.ste_at + 8 * word, after)
            write = TableWrite(
                0, 0, "smmu0", 0, "core", "STE", bench.ste_at + 8 * word, before, after
            )
            bench.checker.tracer.add(write)
    bench.cfgi_ste()
    bench.sync()
    finding = bench.found()["config-not-hitless"]
    assert "between two writes" in finding.text
    assert any(isinstance(event, TableWrite) for event in finding.story)


def test_cd_of_a_stream_that_left_is_memory_like_any_other(bench: Bench) -> None:
    bench.driver.detach(SID)
    bench.memory.write(bench.domain.cd_address, CD.make(V=1, T0SZ=5, ASID=9).to_bytes())
    bench.cfgi_ste()
    bench.sync()
    assert bench.found() == {}
