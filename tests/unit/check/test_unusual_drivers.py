# SPDX-License-Identifier: GPL-2.0-or-later
"""Correct sequences that few drivers have, and that look like mistakes at first sight."""

from __future__ import annotations

import pytest

from tests.unit.check.bench import ASID, PAGE, PAGE_PA, Bench

RUN, CONTIGUOUS = 16, 1 << 52
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
