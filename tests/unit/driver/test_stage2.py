# SPDX-License-Identifier: GPL-2.0-or-later
"""Stage-2 domains, and guests on them: what the SMMU is told, and where traffic goes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgtable import Arena
from smmu_emu.driver import DriverError, GuestDomain, Stage2Domain
from smmu_emu.smmuv3 import PRESETS
from tests.unit.driver.rig import QEMU, RAM, SID, TARGET, Rig

IPA, IOVA = 0x8000_0000, 0x20_0000
GUEST_RAM, GUEST_SIZE = 0x10_0000_0000, 1 << 20  # as the guest knows it
GUEST_AT = 0x4A00_0000  # where it is
S2P = 1


def commands_since(rig: Rig, first: int) -> list[int]:
    """The words of the commands from an index on, as they are in the queue."""
    driver = rig.driver
    words = []
    for index in range(first, driver.commands.prod):
        data = rig.machine.memory.read(driver.commands.slot(index), 16)
        assert data is not None
        words.append(int.from_bytes(data, "little"))
    return words


def guest_on(rig: Rig) -> tuple[Stage2Domain, GuestDomain]:
    """A guest whose RAM and target pages are mapped, attached as `SID`."""
    parent = rig.driver.stage2()
    parent.map(GUEST_RAM, GUEST_AT, GUEST_SIZE)
    parent.map(IPA, TARGET, 0x4000)
    memory = Arena(GUEST_RAM, GUEST_SIZE, rig.machine.ram.view[GUEST_AT - RAM :])
    guest = rig.driver.guest(parent, memory, asid=5)
    guest.map(IOVA, IPA, 0x2000)
    rig.driver.attach(SID, guest)
    return parent, guest


@pytest.mark.parametrize("granule_lg2", [12, 14, 16])
@pytest.mark.parametrize("ias", [0, 36, 40])
def test_stream_reaches_what_is_mapped(granule_lg2: int, ias: int) -> None:
    rig = Rig()
    page = 1 << granule_lg2
    domain = rig.driver.stage2(granule_lg2=granule_lg2, ias=ias)
    domain.map(IPA, TARGET, 3 * page)
    rig.driver.attach(SID, domain)
    dma = rig.machine.dma(SID)
    assert dma.write(IPA + page - 4, b"\x01" * 8)
    assert rig.machine.memory.read(TARGET + page - 4, 8) == b"\x01" * 8
    assert not dma.write(IPA + 3 * page, b"x")
    (fault,) = rig.driver.faults.run()
    assert (fault.name, fault.ipa, fault.iova) == ("F_TRANSLATION", IPA + 3 * page, IPA + 3 * page)


def test_stream_table_entry_of_stage_2_is_this() -> None:
    """Spec 5.2: Config 6, SHCFG 1; S2VMID 1, S2T0SZ 20, SL0 2, IR0/OR0 1, SH0 3, S2PS 4 ..."""
    rig = Rig()
    domain = rig.driver.stage2()
    words = [domain.ste().value >> 64 * i & (1 << 64) - 1 for i in range(8)]
    root = domain.table.regs.vttbr
    assert words[0] == 0b1101
    assert words[1] == 1 << 44
    low = 1 | 20 << 32 | 2 << 38 | 1 << 40 | 1 << 42 | 3 << 44 | 0 << 46 | 4 << 48
    assert words[2] == low | 1 << 51 | 1 << 54 | 1 << 58  # S2AA64, S2PTW, S2R
    assert words[3] == root
    assert words[4:] == [0] * 4


def test_unmapping_costs_one_command_by_intermediate_address() -> None:
    rig = Rig()
    domain = rig.driver.stage2()
    domain.map(IPA, TARGET, 0x1000)
    rig.driver.attach(SID, domain)
    assert rig.machine.dma(SID).write(IPA, b"x")
    first = rig.driver.commands.prod
    domain.unmap(IPA, 0x1000)
    words = commands_since(rig, first)
    # TLBI_S2_IPA, VMID 1; Leaf, TTL 3, TG 4K, one page; then SYNC.
    assert words == [0x2A | 1 << 32 | (IPA | 1 << 10 | 3 << 8 | 1) << 64, 0x46 | 2 << 12]
    assert not rig.machine.dma(SID).write(IPA, b"x")


def test_domains_have_vmids_of_their_own_and_give_them_back() -> None:
    rig = Rig()
    used = rig.arena.used
    first, second = rig.driver.stage2(), rig.driver.stage2()
    assert (first.vmid, second.vmid) == (1, 2)
    first.close()
    first.close()
    assert rig.driver.stage2().vmid == 1
    second.close()
    assert rig.driver.vmids == {1}
    assert rig.arena.used > used


def test_vmids_run_out_in_one_line() -> None:
    rig = Rig(replace(QEMU, idr0=QEMU.idr0 & ~(1 << 18)))
    rig.driver.vmids.update(range(1, 256))
    with pytest.raises(DriverError, match="all 255 VMIDs are in use; close a domain"):
        rig.driver.stage2()


def test_device_without_stage_2() -> None:
    rig = Rig(PRESETS["qemu-stage1"])
    with pytest.raises(DriverError, match="the device has no stage 2"):
        rig.driver.stage2()


# -- guests


def test_guest_reaches_what_both_stages_map() -> None:
    rig = Rig()
    guest_on(rig)
    dma = rig.machine.dma(SID)
    assert dma.write(IOVA + 0xFFC, b"\x02" * 8)
    assert rig.machine.memory.read(TARGET + 0xFFC, 8) == b"\x02" * 8
    assert not dma.write(IOVA + 0x2000, b"x")
    (fault,) = rig.driver.faults.run()
    assert (fault.name, fault.ipa) == ("F_TRANSLATION", None)


def test_guest_that_maps_what_its_host_does_not_faults_at_stage_2() -> None:
    rig = Rig()
    _, guest = guest_on(rig)
    guest.map(IOVA + 0x10_0000, IPA + 0x10_0000, 0x1000)
    assert not rig.machine.dma(SID).write(IOVA + 0x10_0010, b"x")
    (fault,) = rig.driver.faults.run()
    assert (fault.name, fault.iova, fault.ipa) == (
        *("F_TRANSLATION", IOVA + 0x10_0010, IPA + 0x10_0000),
    )


def test_structures_of_a_guest_hold_guest_addresses_alone() -> None:
    rig = Rig()
    _, guest = guest_on(rig)
    entry = rig.machine.memory.read(rig.driver.streams.entry(SID), 64)
    assert entry is not None
    assert int.from_bytes(entry[:8], "little") >> 6 << 6 & (1 << 56) - 1 == guest.cd_address
    assert GUEST_RAM <= guest.cd_address < GUEST_RAM + GUEST_SIZE
    assert GUEST_RAM <= guest.table.regs.ttbr < GUEST_RAM + GUEST_SIZE


def test_guests_invalidations_carry_its_vmid_and_asid() -> None:
    rig = Rig()
    _, guest = guest_on(rig)
    assert rig.machine.dma(SID).write(IOVA, b"x")
    first = rig.driver.commands.prod
    guest.unmap(IOVA, 0x1000)
    (command, sync) = commands_since(rig, first)
    assert command == 0x12 | 1 << 32 | 5 << 48 | (IOVA | 1 << 10 | 3 << 8 | 1) << 64
    assert sync == 0x46 | 2 << 12
    assert not rig.machine.dma(SID).write(IOVA, b"x")


def test_hosts_unmapping_reaches_what_a_guest_has_cached() -> None:
    """Spec 4.4.3.1: TLBI_S2_IPA leaves combined entries; TLBI_NH_ALL of the VMID drops them."""
    rig = Rig()
    parent, _ = guest_on(rig)
    dma = rig.machine.dma(SID)
    assert dma.write(IOVA, b"x")
    first = rig.driver.commands.prod
    parent.unmap(IPA, 0x1000)
    words = commands_since(rig, first)
    assert [word & 0xFF for word in words] == [0x2A, 0x10, 0x46]
    assert words[1] == 0x10 | 1 << 32
    assert not dma.write(IOVA, b"x")
    assert dma.write(IOVA + 0x1000, b"x")


def test_two_guests_with_one_asid_are_apart() -> None:
    rig = Rig()
    guest_on(rig)
    other = rig.driver.stage2()
    other.map(GUEST_RAM, GUEST_AT + GUEST_SIZE, GUEST_SIZE)
    other.map(IPA, TARGET + 0x10_0000, 0x2000)
    at = GUEST_AT + GUEST_SIZE - RAM
    guest = rig.driver.guest(other, Arena(GUEST_RAM, GUEST_SIZE, rig.machine.ram.view[at:]), asid=5)
    guest.map(IOVA, IPA, 0x1000)
    rig.driver.attach(SID + 1, guest)
    assert rig.machine.dma(SID).write(IOVA, b"\x05")
    assert rig.machine.dma(SID + 1).write(IOVA, b"\x06")
    assert rig.machine.memory.read(TARGET, 1) == b"\x05"
    assert rig.machine.memory.read(TARGET + 0x10_0000, 1) == b"\x06"


def test_closing_the_host_closes_its_guests() -> None:
    rig = Rig()
    parent, guest = guest_on(rig)
    parent.close()
    assert guest.table.freed
    assert rig.driver.domains == {}
    assert rig.driver.vmids == set()
    assert not rig.machine.dma(SID).write(IOVA, b"x")
    assert rig.driver.faults.run() == []
