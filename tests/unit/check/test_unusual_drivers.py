# SPDX-License-Identifier: GPL-2.0-or-later
"""Correct sequences that few drivers have, and that look like mistakes at first sight."""

from __future__ import annotations

import pytest

from smmu_emu.devices.ats_endpoint import AtsEndpoint
from smmu_emu.smmuv3.spec.ste import AtsMode
from tests.unit.check.bench import ASID, IOVA, PAGE, PAGE_PA, SID, Bench

RUN, CONTIGUOUS, NOT_GLOBAL = 16, 1 << 52, 1 << 11
RUN_AT = 0x1_0000


@pytest.mark.parametrize("policy", [None, "merge,seed=1", "merge,table-pointers,seed=1"])
def test_contiguous_run_that_is_cached_as_one_and_goes_as_one_is_clean(policy: str | None) -> None:
    bench = Bench(policy=policy)
    places = [RUN_AT + PAGE * number for number in range(RUN)]
    for number, iova in enumerate(places):
        bench.domain.map(iova, PAGE_PA + PAGE * number, PAGE)
    for iova in places:
        where = bench.descriptor(iova)
        bench.store(where, bench.word(where) | CONTIGUOUS)
    assert bench.dma(RUN_AT)
    assert bench.dma(RUN_AT + 3 * PAGE)
    for iova in places:
        bench.clear(iova)
    bench.tlbi(RUN_AT, ASID=ASID, TG=1, TTL=3, NUM=RUN - 1, SCALE=0)
    bench.sync()
    assert not bench.dma(RUN_AT)
    assert bench.found() == {}


def test_endpoint_that_keeps_pages_of_its_streams_last_domain_is_found() -> None:
    """The new STE leads to another CD, which no access has had to fetch yet."""
    bench = Bench()
    bench.driver.attach(SID, bench.domain, ats=True)
    endpoint = AtsEndpoint(bench.memory, bench.smmu.ats, SID, bench.machine.clock)
    bench.domain.map(IOVA, PAGE_PA, PAGE)
    assert endpoint.write(IOVA, b"mine")
    other = bench.driver.domain()
    ste = other.ste().replace(EATS=AtsMode.FULL)
    bench.driver.write_ste(SID, ste)
    assert endpoint.write(IOVA, b"not mine")
    assert set(bench.found()) & {"stale-atc-hit", "missing-atc-invalidate"}


def test_page_that_becomes_global_in_one_write_is_found() -> None:
    """Its old entry is under an ASID, and both would match. Spec: DDI 0487 D8.17.1."""
    bench = Bench()
    bench.map_and_use()
    where = bench.descriptor()
    bench.store(where, bench.word(where) & ~NOT_GLOBAL)
    bench.tlbi()
    bench.sync()
    assert "break-before-make" in bench.found()


def test_page_that_becomes_global_by_the_book_is_clean() -> None:
    bench = Bench()
    bench.map_and_use()
    where = bench.descriptor()
    value = bench.word(where)
    bench.clear()
    bench.tlbi()
    bench.sync()
    bench.store(where, value & ~NOT_GLOBAL)
    assert bench.dma()
    assert bench.found() == {}
