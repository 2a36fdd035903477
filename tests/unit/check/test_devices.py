# SPDX-License-Identifier: GPL-2.0-or-later
"""What devices do and cache: isolation, ATCs, walks past the caches."""

from __future__ import annotations

import pytest

from smmu_emu.check.findings import Found
from smmu_emu.check.rules.coherency import Coherency
from smmu_emu.devices.ats_endpoint import AtsEndpoint
from smmu_emu.smmuv3.spec.cd import CD
from smmu_emu.smmuv3.spec.command import AtcInvalidate, Opcode
from smmu_emu.trace.events import ConfigFetch
from tests.unit.check.bench import FAR_IOVA, IOVA, OTHER_PA, PAGE, PAGE_PA, SID, Bench

# -- isolation-breach


def test_landing_outside_what_the_driver_mapped_is_found() -> None:
    bench = Bench()
    bench.checker.follow(bench.driver)
    bench.driver.detach(SID)
    domain = bench.driver.domain()
    bench.driver.attach(SID, domain)
    domain.map(IOVA, PAGE_PA, PAGE)
    assert bench.dma()
    assert bench.found() == {}
    bench.domain = domain
    where = bench.descriptor()
    bench.store(where, bench.word(where) & 0xFFF | OTHER_PA)
    bench.tlbi(ASID=domain.asid)
    bench.sync()
    assert bench.dma()
    finding = bench.found()["isolation-breach"]
    assert f"at pa {OTHER_PA:#x} through iova {IOVA:#x}" in finding.text


def test_unmap_of_a_followed_driver_is_due_when_it_returns() -> None:
    bench = Bench()
    bench.checker.follow(bench.driver)
    domain = bench.driver.domain()
    bench.driver.attach(SID, domain)
    domain.map(IOVA, PAGE_PA, PAGE)
    assert bench.dma()
    domain.unmap(IOVA, PAGE)
    assert bench.checker.findings == []
    domain.map(IOVA, PAGE_PA, PAGE)
    assert bench.dma()
    domain.invalidate = False
    domain.unmap(IOVA, PAGE)
    [finding] = bench.checker.findings
    assert "software says that the addresses are not mapped" in finding.text


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("queue", "the queue at CMDQ_BASE"),
        ("ste", "the STE of stream 0x8"),
        ("streams", "the stream table at STRTAB_BASE"),
    ],
)
def test_device_that_writes_the_smmus_own_memory_is_found(name: str, says: str) -> None:
    bench = Bench()
    bench.map_and_use()
    targets = {
        "queue": bench.smmu.commands.queue.address(0),
        "ste": bench.ste_at,
        "streams": bench.ste_at + PAGE,
    }
    target = targets[name]
    bench.domain.map(FAR_IOVA, target & -PAGE, PAGE)
    assert bench.dma(FAR_IOVA + target % PAGE + 8)
    assert says in bench.found()["isolation-breach"].text


# -- stale-atc-hit


class Endpoint(Bench):
    """With an endpoint that caches."""

    def __init__(self) -> None:
        super().__init__()
        self.driver.attach(SID, self.domain, ats=True)
        self.domain.map(IOVA, PAGE_PA, PAGE)
        machine = self.machine
        self.endpoint = AtsEndpoint(
            machine.memory, self.smmu.ats, SID, machine.clock, translator=self.smmu, name="endpoint"
        )
        assert self.endpoint.write(IOVA, b"first")

    def tell_endpoint(self, iova: int) -> None:
        made = AtcInvalidate.make(Opcode=Opcode.ATC_INV, StreamID=SID, Address=iova)
        self.driver.commands.issue(made.value)


def test_unmap_that_tells_the_endpoint_is_clean() -> None:
    bench = Endpoint()
    bench.domain.unmap(IOVA, PAGE)
    assert not bench.endpoint.write(IOVA, b"later")
    assert bench.found() == {}


def test_endpoint_that_nobody_told_is_found() -> None:
    bench = Endpoint()
    bench.clear()
    bench.tlbi()
    bench.sync()
    assert bench.found().keys() == {"missing-atc-invalidate"}


def test_endpoint_that_uses_what_it_should_have_forgotten_is_found() -> None:
    bench = Endpoint()
    bench.clear()
    bench.tlbi()
    bench.sync()
    bench.sync()
    assert bench.endpoint.write(IOVA, b"stale")
    assert "used page 0x50000000" in bench.found()["stale-atc-hit"].text


def test_invalidation_of_another_page_does_not_count() -> None:
    bench = Endpoint()
    bench.clear()
    bench.tlbi()
    bench.sync()
    bench.tell_endpoint(IOVA + PAGE)
    bench.sync()
    assert [one.name for one in bench.checker.findings] == ["missing-atc-invalidate"]


def test_endpoint_before_the_sync_of_the_tlb_is_found() -> None:
    bench = Endpoint()
    bench.clear()
    bench.tlbi()
    bench.tell_endpoint(IOVA)
    bench.sync()
    assert "its endpoint was asked to forget it" in bench.found()["missing-sync"].text


# -- non-coherent-table-write


def _fetched(cd: CD) -> ConfigFetch:
    return ConfigFetch(1, 0, "smmu0", 0, "CD", SID, None, 0x4800_0000, cd.to_bytes(), 7)


@pytest.mark.parametrize(
    ("cd", "caches", "says"),
    [
        (CD.make(V=1, EPD1=1, IR0=1), True, ""),
        (CD.make(V=1, EPD1=1), True, "walks of TTB0 are non-cacheable"),
        (CD.make(V=1, EPD0=1, IR1=1), True, ""),
        (CD.make(V=1, IR0=1), True, "walks of TTB1 are non-cacheable"),
        (CD.make(V=1, EPD1=1), False, ""),
    ],
)
def test_walks_past_the_caches_are_told_while_the_core_has_some(
    cd: CD, caches: bool, says: str
) -> None:
    found: list[Found] = []
    rule = Coherency(Bench().smmu, lambda: caches, found.append)
    rule.fetched(_fetched(cd))
    rule.fetched(_fetched(cd))
    assert [says in one.text for one in found] == ([True] if says else [])


# -- advice


def test_invalidation_of_everything_for_one_page_is_advised_against() -> None:
    bench = Bench()
    bench.map_and_use()
    bench.map_and_use(FAR_IOVA, OTHER_PA)
    bench.clear()
    bench.tlbi(Opcode=Opcode.TLBI_NH_ASID, Address=0, Leaf=0)
    bench.sync()
    assert bench.dma(FAR_IOVA)
    assert bench.found() == {}
    text = bench.advice()["over-invalidate"].text
    assert text == "TLBI_NH_ASID dropped 1 translations that came back unchanged"


def test_mapping_the_same_page_again_is_no_waste() -> None:
    bench = Bench()
    for _ in range(3):
        bench.map_and_use()
        bench.domain.unmap(IOVA, PAGE)
    assert "over-invalidate" not in bench.advice()


def test_invalidation_of_what_never_was_is_advised_against() -> None:
    bench = Bench()
    bench.tlbi()
    bench.sync()
    assert bench.advice()["idle-invalidate"].text == "1 of 1 TLBI_NH_VA found nothing"


def test_sync_after_a_sync_is_advised_against() -> None:
    bench = Bench()
    bench.sync()
    bench.sync()
    assert "redundant-sync" in bench.advice()
