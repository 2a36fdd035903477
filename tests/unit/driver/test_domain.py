# SPDX-License-Identifier: GPL-2.0-or-later
"""Address spaces: what streams reach through them, and the invalidations that changes cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgtable import NotMappedError, Prot, TableFreedError
from smmu_emu.driver import DriverError
from smmu_emu.smmuv3 import IdRegisters
from smmu_emu.smmuv3.spec.command import Opcode, TlbInvalidate
from smmu_emu.transaction import Transaction
from tests.unit.driver.rig import QEMU, SID, SMALL_ASIDS, TARGET, WITHOUT_RANGES, Rig

GRANULES = [12, 14, 16]
BLOCK_LG2 = {12: 21, 14: 25, 16: 29}
F_TRANSLATION, F_PERMISSION = 0x10, 0x13


def bytes_at(rig: Rig, address: int, size: int) -> bytes:
    data = rig.machine.memory.read(address, size)
    assert data is not None
    return data


@pytest.mark.parametrize("granule_lg2", GRANULES)
@pytest.mark.parametrize("ias", [25, 32, 39, 42, 48])
def test_stream_reaches_what_is_mapped(granule_lg2: int, ias: int) -> None:
    rig = Rig()
    domain = rig.driver.domain(granule_lg2=granule_lg2, ias=ias)
    rig.driver.attach(SID, domain)
    page = 1 << granule_lg2
    last = (1 << ias) - page
    dma = rig.machine.dma(SID)
    for iova, paddr in ((page, TARGET), (last, TARGET + 16 * page)):
        domain.map(iova, paddr, page)
        assert dma.write(iova + 0x123, b"hello")
        assert bytes_at(rig, paddr + 0x123, 5) == b"hello"
        assert dma.read(iova + 0x123, 5) == b"hello"
    assert not dma.write(0, b"x")
    assert dma.last_fault.code == F_TRANSLATION
    if ias < 48:
        assert not dma.write(1 << ias, b"x")
        assert dma.last_fault.code == F_TRANSLATION


@pytest.mark.parametrize("granule_lg2", GRANULES)
def test_blocks_and_pages_mix(granule_lg2: int) -> None:
    rig = Rig()
    domain = rig.driver.domain(granule_lg2=granule_lg2)
    rig.driver.attach(SID, domain)
    page, block = 1 << granule_lg2, 1 << BLOCK_LG2[granule_lg2]
    domain.map(block, block, block)
    domain.map(2 * block, TARGET, page)
    smmu, dma = rig.smmu, rig.machine.dma(SID)
    assert dma.write(2 * block, b"x")
    assert smmu.tlb is not None
    whole = smmu.translate(_write(block + 0x1234))
    assert (whole.pa, whole.size_lg2) == (block + 0x1234, BLOCK_LG2[granule_lg2])
    small = smmu.translate(_write(2 * block + 0x12))
    assert (small.pa, small.size_lg2) == (TARGET + 0x12, granule_lg2)


def _write(iova: int) -> Transaction:
    return Transaction(SID, iova, True)


def test_read_only_mapping_refuses_writes() -> None:
    rig = Rig()
    domain = rig.driver.domain()
    rig.driver.attach(SID, domain)
    domain.map(0x1000, TARGET, 0x1000, Prot.READ)
    dma = rig.machine.dma(SID)
    assert dma.read(0x1000, 4) == bytes(4)
    assert not dma.write(0x1000, b"x")
    assert dma.last_fault.code == F_PERMISSION


def test_streams_share_a_domain_and_domains_are_apart() -> None:
    rig = Rig()
    first, second = rig.driver.domain(), rig.driver.domain()
    for stream_id, domain in ((1, first), (2, first), (3, second)):
        rig.driver.attach(stream_id, domain)
    first.map(0x1000, TARGET, 0x1000)
    second.map(0x1000, TARGET + 0x1000, 0x1000)
    for stream_id in (1, 2, 3):
        assert rig.machine.dma(stream_id).write(0x1000 + stream_id, b"!")
    assert bytes_at(rig, TARGET, 4) == b"\0!!\0"
    assert bytes_at(rig, TARGET + 0x1000, 4) == b"\0\0\0!"


def test_stream_moves_from_one_state_to_another() -> None:
    rig = Rig()
    driver, dma = rig.driver, rig.machine.dma(SID)
    first, second = driver.domain(), driver.domain()
    first.map(0x1000, TARGET, 0x1000)
    second.map(0x1000, TARGET + 0x1000, 0x1000)
    for enter, reached in (
        (lambda: driver.attach(SID, first), TARGET),
        (lambda: driver.attach(SID, second), TARGET + 0x1000),
        (lambda: driver.bypass(SID), None),
        (lambda: driver.attach(SID, first), TARGET),
        (lambda: driver.detach(SID), None),
    ):
        enter()
        rig.machine.memory.write(TARGET, bytes(0x2000))
        passed = dma.write(0x1000, b"x")
        assert passed == (reached is not None)
        if reached is not None:
            assert bytes_at(rig, reached, 1) == b"x"
    assert driver.events.drain() == []


def test_bypass_is_physical_and_detach_is_silent() -> None:
    rig = Rig()
    dma = rig.machine.dma(SID)
    rig.driver.bypass(SID)
    assert dma.write(TARGET, b"raw")
    assert bytes_at(rig, TARGET, 3) == b"raw"
    rig.driver.detach(SID)
    assert not dma.write(TARGET, b"x")
    assert rig.driver.events.drain() == []


# -- invalidation


def unmapped(rig: Rig, granule_lg2: int, size: int) -> dict[str, int]:
    """Map ``size`` bytes, touch each page, unmap, see that nothing stays; the commands it took."""
    domain = rig.driver.domain(granule_lg2=granule_lg2)
    rig.driver.attach(SID, domain)
    start = 1 << BLOCK_LG2[granule_lg2] + 2
    domain.map(start, start, size)
    pages = range(start, start + size, 1 << granule_lg2)
    for iova in (*pages[:64], pages[-1]):
        rig.smmu.translate(_write(iova))
    rig.mark()
    domain.unmap(start, size)
    counts = rig.counts
    for iova in (*pages[:64], pages[-1]):
        assert rig.smmu.translate(_write(iova)).code == F_TRANSLATION
    return counts


@pytest.mark.parametrize("granule_lg2", GRANULES)
@pytest.mark.parametrize(("pages", "commands"), [(1, 1), (2, 1), (3, 1), (32, 1), (33, 2), (63, 2)])
def test_unmapped_pages_cost_a_few_range_commands(
    granule_lg2: int, pages: int, commands: int
) -> None:
    """(NUM + 1) << SCALE pages each: 33 are 1 and 32, 63 are 31 and 32. IHI 0070 4.4.1.1."""
    rig = Rig()
    assert unmapped(rig, granule_lg2, pages << granule_lg2) == {
        "TLBI_NH_VA": commands,
        "SYNC": 1,
    }


@pytest.mark.parametrize("granule_lg2", GRANULES)
@pytest.mark.parametrize("pages", [1, 2, 3, 32, 63])
def test_without_range_commands_it_costs_one_a_page(granule_lg2: int, pages: int) -> None:
    counts = unmapped(Rig(WITHOUT_RANGES), granule_lg2, pages << granule_lg2)
    assert counts == {"TLBI_NH_VA": pages, "SYNC": 1}


@pytest.mark.parametrize("ids", [QEMU, WITHOUT_RANGES], ids=["ranges", "single"])
@pytest.mark.parametrize("granule_lg2", GRANULES)
def test_block_costs_one_command(ids: IdRegisters, granule_lg2: int) -> None:
    counts = unmapped(Rig(ids), granule_lg2, 1 << BLOCK_LG2[granule_lg2])
    assert counts == {"TLBI_NH_VA": 1, "SYNC": 1}


def test_range_command_of_pages_is_this_word() -> None:
    """35 pages at 0x800000: NUM 2, then NUM 0 and SCALE 5; TG 1, TTL 3, leaves, ASID 1."""
    rig = Rig()
    before = rig.driver.commands.prod
    unmapped(rig, 12, 35 << 12)
    words = _commands_since(rig, before)
    leaves_of_level_3 = 1 << 64 | 3 << 72 | 1 << 74
    assert words[-3:] == [
        0x12 | 2 << 12 | 1 << 48 | leaves_of_level_3 | 0x80_0000 << 64,
        0x12 | 5 << 20 | 1 << 48 | leaves_of_level_3 | 0x80_3000 << 64,
        0x46 | 2 << 12,
    ]


def _commands_since(rig: Rig, index: int) -> list[int]:
    queue = rig.driver.commands
    mask = (1 << queue.size_lg2) - 1
    words = []
    while index != queue.prod:
        data = bytes_at(rig, queue.base + 16 * (index & mask), 16)
        words.append(int.from_bytes(data, "little"))
        index = (index + 1) & (2 << queue.size_lg2) - 1
    return words


def test_long_run_without_ranges_drops_the_whole_asid() -> None:
    rig = Rig(WITHOUT_RANGES)
    domain = rig.driver.domain()
    rig.driver.attach(SID, domain)
    domain.map(0, TARGET + 0x1000, 600 * 0x1000)  # no block fits
    assert rig.smmu.translate(_write(0x1000)).pa == TARGET + 0x2000
    rig.mark()
    domain.unmap(0x1000, 0x1000 * 598)
    assert rig.counts == {"TLBI_NH_ASID": 1, "SYNC": 1}
    assert rig.smmu.translate(_write(0x1000)).code == F_TRANSLATION


def test_removed_table_is_flushed_with_what_it_led_to() -> None:
    """A block over a table that held pages: walks through the old table must not survive."""
    rig = Rig()
    domain = rig.driver.domain()
    rig.driver.attach(SID, domain)
    domain.map(0x20_0000, TARGET, 0x20_0000 - 0x1000)
    domain.map(0x3F_F000, TARGET, 0x1000)
    assert rig.smmu.translate(_write(0x20_1000)).pa == TARGET + 0x1000
    domain.unmap(0x20_0000, 0x20_0000 - 0x1000)
    domain.unmap(0x3F_F000, 0x1000)
    domain.map(0x20_0000, TARGET, 0x20_0000)
    found = rig.smmu.translate(_write(0x20_1000))
    assert (found.pa, found.size_lg2) == (TARGET + 0x1000, 21)


def test_forgotten_invalidation_leaves_access_until_it_is_made_up_for() -> None:
    rig = Rig()
    domain = rig.driver.domain()
    rig.driver.attach(SID, domain)
    dma = rig.machine.dma(SID)
    domain.map(0x10000, TARGET, 0x1000)
    assert dma.write(0x10000, b"before")
    rig.mark()
    domain.invalidate = False
    domain.unmap(0x10000, 0x1000)
    assert rig.counts == {}
    assert dma.write(0x10000, b"after!")
    assert bytes_at(rig, TARGET, 6) == b"after!"
    domain.invalidate = True
    domain.tlb_flush_all()
    assert rig.counts == {"TLBI_NH_ASID": 1, "SYNC": 1}
    assert not dma.write(0x10000, b"x")


def test_forgotten_invalidation_does_not_matter_where_nobody_looked() -> None:
    rig = Rig()
    domain = rig.driver.domain()
    rig.driver.attach(SID, domain)
    domain.invalidate = False
    domain.map(0x10000, TARGET, 0x1000)
    domain.unmap(0x10000, 0x1000)
    assert not rig.machine.dma(SID).write(0x10000, b"x")


class Recording:
    """Stands for a driver's command queue: keeps range commands instead of issuing them."""

    def __init__(self) -> None:
        self.words: list[TlbInvalidate] = []

    def issue(self, command: int) -> None:
        self.words.append(TlbInvalidate(command))

    def sync(self) -> None:
        pass


@settings(max_examples=300)
@given(st.data())
def test_range_commands_cover_the_range_and_nothing_else(data: st.DataObject) -> None:
    """The spans of the commands, computed here from their words, are the range piece by piece."""
    granule_lg2 = data.draw(st.sampled_from(GRANULES))
    pages = data.draw(st.integers(1, 1 << 36 - (granule_lg2 - 12)))
    start = data.draw(st.integers(0, 1 << 20)) << granule_lg2
    rig = Rig()
    domain = rig.driver.domain(granule_lg2=granule_lg2)
    recording = Recording()
    rig.driver.commands = recording  # type: ignore[assignment]
    domain._flush(start, pages << granule_lg2, 1 << granule_lg2, leaf=True)
    at = start
    for word in recording.words:
        assert (word.Opcode, word.ASID, word.Leaf) == (Opcode.TLBI_NH_VA, domain.asid, 1)
        assert word.Address == at
        granule, level = word.TG, word.TTL
        assert (granule, level) == ({12: 1, 14: 2, 16: 3}[granule_lg2], 3)
        at += (word.NUM + 1) << word.SCALE + granule_lg2
    assert at == start + (pages << granule_lg2)


# -- life and limits


def test_closed_domain_gives_everything_back() -> None:
    rig = Rig()
    used = rig.arena.used
    domain = rig.driver.domain()
    rig.driver.attach(SID, domain)
    domain.map(0x1000, TARGET, 0x1000)
    assert rig.machine.dma(SID).write(0x1000, b"x")
    domain.close()
    domain.close()
    assert rig.arena.used == used
    assert SID not in rig.driver.domains
    assert not rig.machine.dma(SID).write(0x1000, b"x")
    with pytest.raises(TableFreedError):
        domain.map(0x1000, TARGET, 0x1000)


def test_successor_of_a_closed_domain_sees_nothing_of_it() -> None:
    rig = Rig()
    old = rig.driver.domain()
    rig.driver.attach(SID, old)
    old.map(0x1000, TARGET, 0x1000)
    assert rig.machine.dma(SID).write(0x1000, b"x")
    old.close()
    new = rig.driver.domain()
    assert new.asid == old.asid
    rig.driver.attach(SID, new)
    assert not rig.machine.dma(SID).write(0x1000, b"x")


def test_attaching_again_and_again_costs_no_memory() -> None:
    rig = Rig()
    domain = rig.driver.domain()
    used = rig.arena.used
    for _ in range(1000):
        rig.driver.attach(SID, domain)
        rig.driver.detach(SID)
    assert rig.arena.used == used


def test_asids_run_out_in_one_line_and_come_back() -> None:
    rig = Rig(SMALL_ASIDS)
    domains = [rig.driver.domain() for _ in range(255)]
    assert {domain.asid for domain in domains} == set(range(1, 256))
    with pytest.raises(DriverError, match="all 255 ASIDs are in use; close a domain"):
        rig.driver.domain()
    domains[77].close()
    assert rig.driver.domain().asid == 78


@pytest.mark.parametrize("granule_lg2", [0, 13, 21, -1])
def test_granule_that_does_not_exist(granule_lg2: int) -> None:
    with pytest.raises(DriverError, match=f"granule_lg2 {granule_lg2}: the device has 12, 14, 16"):
        Rig().driver.domain(granule_lg2=granule_lg2)


def test_granule_that_the_device_lacks() -> None:
    rig = Rig(replace(QEMU, idr5=0x14))  # 4K alone
    with pytest.raises(DriverError, match="granule_lg2 16: the device has 12"):
        rig.driver.domain(granule_lg2=16)
    assert rig.driver.domain().asid == 1


@pytest.mark.parametrize("ias", [0, 24, 49, 64])
def test_input_size_that_no_context_descriptor_takes(ias: int) -> None:
    rig = Rig()
    used = rig.arena.used
    with pytest.raises(DriverError, match=f"ias {ias}: input sizes go from 25 to 48 bits"):
        rig.driver.domain(ias=ias)
    assert rig.arena.used == used
    assert rig.driver.domain().asid == 1


@pytest.mark.parametrize("stream_id", [256, 1 << 16, -1])
def test_stream_outside_the_table(stream_id: int) -> None:
    rig = Rig()
    domain = rig.driver.domain()
    with pytest.raises(DriverError, match="raise stream_bits"):
        rig.driver.attach(stream_id, domain)
    assert rig.driver.domains == {}


def test_unmap_of_nothing_is_pgtables_own_error() -> None:
    with pytest.raises(NotMappedError):
        Rig().driver.domain().unmap(0x1000, 0x1000)
