# SPDX-License-Identifier: GPL-2.0-or-later
"""Mistakes that the checker was not made for, and correct drivers that look like mistakes.

Unlike the seeded bugs these were written down with what should be found, before the checker saw
them. In `MISTAKES` each says which findings would name it rightly; one of them is enough. `CORRECT`
must stay clean, by itself and whatever the SMMU makes of its freedoms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pgtable import Arena
from smmu_emu.check import Checker
from smmu_emu.devices.ats_endpoint import AtsEndpoint
from smmu_emu.driver import Smmuv3Driver
from smmu_emu.driver.domain import Domain, GuestDomain, Stage2Domain
from smmu_emu.driver.faults import FaultEvent
from smmu_emu.machine import Machine
from smmu_emu.policy.sweep import choices
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.smmuv3.spec.cd import CD
from smmu_emu.smmuv3.spec.command import (
    AtcInvalidate,
    ConfigInvalidate,
    ConfigInvalidateRange,
    Opcode,
    Resume,
    Sync,
    SyncSignal,
    TlbInvalidate,
)
from smmu_emu.smmuv3.spec.ste import STE, Config

RAM, TABLES, SIZE = 0x4000_0000, 0x4800_0000, 8 << 20
PAGE, BLOCK, BUFFER = 0x1000, 0x20_0000, 0x5000_0000
SID, IOVA = 0x8, 0x1000
ADDRESS = 0xFFFF_FFFF_F000
READ_ONLY, NOT_GLOBAL, CONTIGUOUS, NO_WRITES_BELOW = 1 << 7, 1 << 11, 1 << 52, 1 << 62


class Scene:
    """A machine, a driver that is right, the checker, and what it takes to go past the driver."""

    def __init__(self, policy: str | None = None, **options: Any) -> None:
        self.machine = Machine.virt(smmu_ids=PRESETS["full"], devices=(), policy=policy)
        self.memory, self.smmu = self.machine.memory, self.machine.smmu
        self.checker = Checker(self.machine)
        self.arena = Arena(TABLES, SIZE, self.machine.ram.view[TABLES - RAM :])
        self.driver = Smmuv3Driver(self.smmu, self.arena, idle=self.idle, **options)

    def idle(self) -> None:
        clock = self.machine.clock
        clock.advance(clock.now + 1000)

    def found(self) -> set[str]:
        self.checker.finish()
        return {one.name for one in self.checker.findings if one.severity != "advice"}

    def attached(self, **options: Any) -> Domain:
        domain = self.driver.domain(**options)
        self.driver.attach(SID, domain)
        return domain

    def used(self, iova: int = IOVA, pa: int = BUFFER, size: int = PAGE) -> Domain:
        domain = self.attached()
        domain.map(iova, pa, size)
        assert self.dma(iova)
        return domain

    def dma(self, iova: int = IOVA, stream_id: int = SID, substream_id: int | None = None) -> bool:
        return self.machine.dma(stream_id).write(iova, b"data", substream_id=substream_id)

    def word(self, pa: int) -> int:
        value = self.memory.read_u64(pa)
        assert value is not None
        return value

    def store(self, pa: int, value: int) -> None:
        assert self.memory.write_u64(pa, value)

    def at(self, domain: Domain, iova: int = IOVA, level: int = 3) -> int:
        """Address of a descriptor of a table with 4 KiB pages and 48 bits."""
        table = domain.table.regs.ttbr & ADDRESS
        for above in range(level):
            table = self.word(table + 8 * (iova >> 39 - 9 * above & 511)) & ADDRESS
        return int(table + 8 * (iova >> 39 - 9 * level & 511))

    def split(self, domain: Domain, iova: int) -> int:
        """A block becomes a table of the same pages in one write; the table's address."""
        where = self.at(domain, iova, 2)
        block, table = self.word(where), self.driver.structures.allocate(PAGE)
        for number in range(512):
            self.store(table + 8 * number, block + PAGE * number | 2)
        self.store(where, table | 3)
        return table

    def tlbi(self, opcode: Opcode = Opcode.TLBI_NH_VA, **fields: int) -> None:
        self.driver.commands.issue(TlbInvalidate.make(Opcode=opcode, **fields).value)

    def page(self, iova: int = IOVA, **fields: int) -> None:
        """Invalidate a page of ASID 1, and wait."""
        self.tlbi(**{"ASID": 1, "Address": iova, "Leaf": 1} | fields)
        self.sync()

    def cfgi(self, opcode: Opcode = Opcode.CFGI_STE, stream_id: int = SID, **fields: int) -> None:
        made = ConfigInvalidate.make(Opcode=opcode, StreamID=stream_id, Leaf=1, **fields)
        self.driver.commands.issue(made.value)
        self.sync()

    def cd(self, domain: Domain, cd: CD, told: bool = True) -> None:
        """Write a CD as it is."""
        assert self.memory.write(domain.cd_address, cd.to_bytes())
        if told:
            self.cfgi(Opcode.CFGI_CD)

    def ste(self, ste: STE, stream_id: int = SID) -> None:
        """Write an STE as it is, and tell nobody."""
        assert self.memory.write(self.driver.streams.entry(stream_id), ste.to_bytes())

    def sync(self) -> None:
        self.driver.commands.sync()

    def enable(self, value: int) -> None:
        self.driver.registers.update("CR0", "CR0ACK", value)

    def nested(self) -> tuple[Stage2Domain, GuestDomain]:
        """A guest whose IPA 0x5000 is at IOVA, and used."""
        host, ram, start = self.driver.stage2(ias=40), 1 << 32, BUFFER + 4 * BLOCK
        host.map(ram, start, BLOCK)
        guest = self.driver.guest(host, Arena(ram, BLOCK, self.machine.ram.view[start - RAM :]))
        self.driver.attach(SID, guest)
        host.map(0x5000, BUFFER, PAGE)
        guest.map(IOVA, 0x5000, PAGE)
        assert self.dma()
        return host, guest

    def endpoint(self, substream_id: int | None = None) -> tuple[AtsEndpoint, Domain]:
        """A device with a cache that has IOVA."""
        domain = self.driver.domain()
        if substream_id is None:
            self.driver.attach(SID, domain, ats=True)
        else:
            table = self.driver.substreams(bits=4)
            table[substream_id] = domain
            self.driver.attach_substreams(SID, table, ats=True)
        endpoint = AtsEndpoint(self.memory, self.smmu.ats, SID, self.machine.clock)
        domain.map(IOVA, BUFFER, PAGE)
        assert endpoint.write(IOVA, b"data", substream_id=substream_id)
        return endpoint, domain


ON, WITHOUT_TRANSLATION = 0x1F, 0x1E
Script = Callable[[Scene], object]
MISTAKES: dict[str, tuple[Script, set[str]]] = {}
CORRECT: dict[str, Script] = {}
STALE = {"stale-tlb-hit", "missing-invalidate", "wrong-scope-invalidate"}
STALE_CONFIG = {"stale-config-hit", "missing-config-invalidate"}


def mistake(*names: str) -> Callable[[Script], Script]:
    def keep(script: Script) -> Script:
        MISTAKES[script.__name__] = (script, set(names))
        return script

    return keep


def correct(script: Script) -> Script:
    CORRECT[script.__name__] = script
    return script


# -- translations


@mistake("wrong-scope-invalidate")
def page_of_a_split_block_goes_with_the_pages_level(scene: Scene) -> None:
    domain = scene.used(BLOCK, BUFFER, BLOCK)
    scene.store(scene.split(domain, BLOCK) + 8 * 5, 0)
    scene.page(BLOCK + 5 * PAGE, TG=1, TTL=3)


@mistake("stale-tlb-hit")
def dirty_state_is_cleared_and_nobody_told(scene: Scene) -> None:
    domain = scene.attached(dirty=True)
    domain.map(IOVA, BUFFER, PAGE)
    assert scene.dma()
    domain.invalidate = False
    domain.collect_dirty(IOVA, PAGE)
    scene.sync()
    assert scene.dma()
    scene.sync()


@mistake("wrong-scope-invalidate")
def page_number_of_64k_for_an_address(scene: Scene) -> None:
    domain = scene.attached(granule_lg2=16)
    domain.map(0x3_0000, BUFFER, 0x1_0000)
    assert scene.dma(0x3_0000)
    domain.invalidate = False
    domain.unmap(0x3_0000, 0x1_0000)
    scene.page(0x3000)
    scene.dma(0x3_0000)


@mistake(*STALE)
def odd_page_of_a_range_is_forgotten(scene: Scene) -> None:
    domain = scene.attached()
    for number in range(33):
        domain.map(BLOCK + number * PAGE, BUFFER + number * PAGE, PAGE)
        assert scene.dma(BLOCK + number * PAGE)
    domain.invalidate = False
    domain.unmap(BLOCK, 33 * PAGE)
    scene.page(BLOCK, TG=1, TTL=3, NUM=31)


@mistake("wrong-scope-invalidate")
def upper_half_is_named_without_its_sign(scene: Scene) -> None:
    domain, kernel = scene.driver.domain(), scene.driver.domain()
    upper = {"EPD1": 0, "T1SZ": 16, "TG1": 2, "IR1": 1, "OR1": 1, "SH1": 3}
    scene.cd(domain, domain.cd.replace(**upper, TTB1=kernel.cd.TTB0), told=False)
    scene.driver.attach(SID, domain)
    kernel.map(IOVA, BUFFER, PAGE)
    assert scene.dma(0xFFFF << 48 | IOVA)
    scene.store(scene.at(kernel), 0)
    scene.page()
    scene.dma(0xFFFF << 48 | IOVA)


@mistake("wrong-scope-invalidate")
def global_page_goes_with_its_asid(scene: Scene) -> None:
    domain = scene.attached()
    domain.map(IOVA, BUFFER, PAGE)
    scene.store(scene.at(domain), scene.word(scene.at(domain)) & ~NOT_GLOBAL)
    assert scene.dma()
    scene.store(scene.at(domain), 0)
    scene.tlbi(Opcode.TLBI_NH_ASID, ASID=1)
    scene.sync()


@mistake("break-before-make")
def page_becomes_global_at_once(scene: Scene) -> None:
    domain = scene.used()
    scene.store(scene.at(domain), scene.word(scene.at(domain)) & ~NOT_GLOBAL)
    scene.page()


@mistake("stale-tlb-hit")
def table_takes_the_right_to_write_away(scene: Scene) -> None:
    where = scene.at(scene.used(), level=2)
    scene.store(where, scene.word(where) | NO_WRITES_BELOW)
    scene.sync()
    assert scene.dma()


@mistake("missing-invalidate", "leaf-only-after-table-change", "table-use-after-free")
def only_the_first_of_a_subtree_is_named(scene: Scene) -> None:
    domain = scene.used(1 << 30)
    domain.map((1 << 30) + 5 * BLOCK, BUFFER + PAGE, PAGE)
    assert scene.dma((1 << 30) + 5 * BLOCK)
    table = scene.word(scene.at(domain, (1 << 30) + 5 * BLOCK, 2)) & ADDRESS
    scene.store(scene.at(domain, 1 << 30, 1), 0)
    scene.page(1 << 30, Leaf=0)
    assert scene.memory.write(table, b"\xa4" * PAGE)
    scene.sync()


@mistake(*STALE)
def illegal_invalidation_is_replaced_and_lost(scene: Scene) -> None:
    """A range of one page needs TTL; the driver's recovery puts CMD_SYNC in its place."""
    scene.driver.commands.recover = scene.driver.recovery.handle
    domain = scene.used()
    scene.store(scene.at(domain), 0)
    scene.page(TG=1)
    scene.dma()


@mistake(*STALE, "break-before-make")
def space_quietened_by_epd_is_not_invalidated(scene: Scene) -> None:
    domain = scene.used()
    scene.cd(domain, domain.cd.replace(EPD0=1))
    scene.dma()
    scene.sync()


@mistake(*STALE)
def stream_of_el2_gets_commands_for_el1(scene: Scene) -> None:
    domain = scene.driver.domain()
    scene.ste(domain.ste().replace(STRW=2))
    scene.cfgi()
    domain.map(IOVA, BUFFER, PAGE)
    assert scene.dma()
    domain.unmap(IOVA, PAGE)
    scene.dma()


# -- tags


@mistake("missing-invalidate")
def stage_2_takes_another_vmid_and_the_old_is_used_again(scene: Scene) -> None:
    first, second = scene.driver.stage2(ias=40), scene.driver.stage2(ias=40)
    scene.driver.attach(SID, first)
    first.map(IOVA, BUFFER, PAGE)
    assert scene.dma()
    scene.ste(first.ste().replace(S2VMID=77))
    scene.cfgi()
    assert scene.dma()
    second.vmid = first.vmid
    second.map(2 * PAGE, BUFFER + PAGE, PAGE)
    scene.driver.attach(SID + 1, second)
    assert scene.dma(2 * PAGE, SID + 1)
    scene.sync()


@mistake("missing-invalidate")
def asid_is_renamed_and_the_old_is_used_again(scene: Scene) -> None:
    domain = scene.used()
    scene.cd(domain, domain.cd.replace(ASID=55))
    assert scene.dma()
    scene.driver.asids.clear()
    other = scene.driver.domain()
    other.map(2 * PAGE, BUFFER + PAGE, PAGE)
    scene.driver.attach(SID + 1, other)
    assert scene.dma(2 * PAGE, SID + 1)
    scene.sync()
    scene.sync()


@mistake("wrong-scope-invalidate")
def guests_unmap_is_passed_on_without_its_vmid(scene: Scene) -> None:
    _, guest = scene.nested()
    guest.invalidate = False
    guest.unmap(IOVA, PAGE)
    scene.page(ASID=guest.asid)
    scene.dma()


@mistake("wrong-scope-invalidate")
def hosts_unmap_names_the_guests_address(scene: Scene) -> None:
    host, guest = scene.nested()
    host.invalidate = False
    host.unmap(0x5000, PAGE)
    scene.tlbi(Opcode.TLBI_S2_IPA, VMID=host.vmid, Address=IOVA)
    scene.page(0x5000, ASID=guest.asid, VMID=host.vmid)
    scene.dma()


# -- structures


@mistake(*STALE_CONFIG)
def input_size_changes_untold(scene: Scene) -> None:
    domain = scene.used()
    scene.cd(domain, domain.cd.replace(T0SZ=25), told=False)
    scene.sync()
    scene.dma()


@mistake(*STALE_CONFIG)
def default_substream_changes_untold(scene: Scene) -> None:
    table = scene.driver.substreams(bits=4)
    table[0] = domain = scene.driver.domain()
    scene.driver.attach_substreams(SID, table)
    domain.map(IOVA, BUFFER, PAGE)
    assert scene.dma()
    scene.ste(table.table.ste().replace(S1DSS=0))
    scene.sync()
    scene.dma()


@mistake(*STALE_CONFIG)
def other_contexts_are_told_as_a_changed_context(scene: Scene) -> None:
    scene.used()
    scene.ste(scene.driver.domain().ste())
    scene.cfgi(Opcode.CFGI_CD)
    scene.dma()


@mistake(*STALE_CONFIG)
def range_of_streams_ends_too_early(scene: Scene) -> None:
    domain = scene.used()
    scene.driver.attach(SID + 2, domain)
    assert scene.dma(IOVA, SID + 2)
    for stream_id in (SID, SID + 2):
        scene.ste(STE.make(V=1, Config=Config.ABORT), stream_id)
    made = ConfigInvalidateRange.make(Opcode=Opcode.CFGI_STE_RANGE, StreamID=SID, Range=0)
    scene.driver.commands.issue(made.value)
    scene.sync()
    scene.dma(IOVA, SID + 2)


@mistake(*STALE_CONFIG)
def one_of_two_streams_with_a_context_is_told(scene: Scene) -> None:
    domain = scene.used()
    scene.driver.attach(SID + 1, domain)
    assert scene.dma(IOVA, SID + 1)
    scene.cd(domain, CD())
    scene.dma(IOVA, SID + 1)


@mistake(*STALE_CONFIG, "config-not-hitless")
def context_of_two_streams_goes_with_one(scene: Scene) -> None:
    domain = scene.used()
    scene.driver.attach(SID + 1, domain)
    assert scene.dma(IOVA, SID + 1)
    scene.driver.detach(SID)
    scene.cd(domain, CD.from_bytes(b"\x5a" * 64), told=False)
    scene.sync()


@mistake(*STALE_CONFIG)
def everything_changes_while_off_untold(scene: Scene) -> None:
    scene.used()
    scene.enable(WITHOUT_TRANSLATION)
    scene.ste(scene.driver.domain().ste())
    scene.enable(ON)
    scene.dma()
    scene.sync()


@mistake(*STALE)
def tables_change_while_off_untold(scene: Scene) -> None:
    domain = scene.used()
    scene.enable(WITHOUT_TRANSLATION)
    scene.store(scene.at(domain), 0)
    made = ConfigInvalidateRange.make(Opcode=Opcode.CFGI_STE_RANGE, Range=31)
    scene.driver.commands.issue(made.value)
    scene.sync()
    scene.enable(ON)
    scene.dma()
    scene.sync()


# -- endpoints, stalls, queues


@mistake("missing-atc-invalidate")
def endpoint_is_asked_by_another_pasid(scene: Scene) -> None:
    _, domain = scene.endpoint(substream_id=3)
    scene.store(scene.at(domain), 0)
    scene.page()
    made = AtcInvalidate.make(
        Opcode=Opcode.ATC_INV, StreamID=SID, SSV=1, SubstreamID=2, Address=IOVA
    )
    scene.driver.commands.issue(made.value)
    scene.sync()


@mistake("missing-atc-invalidate")
def span_of_an_endpoint_is_not_aligned(scene: Scene) -> None:
    endpoint, domain = scene.endpoint()
    for number in range(4):
        domain.map((3 + number) * PAGE, BUFFER + number * PAGE, PAGE)
        assert endpoint.write((3 + number) * PAGE, b"data")
    for number in range(4):
        scene.store(scene.at(domain, (3 + number) * PAGE), 0)
        scene.page((3 + number) * PAGE)
    made = AtcInvalidate.make(Opcode=Opcode.ATC_INV, StreamID=SID, Size=2, Address=3 * PAGE)
    scene.driver.commands.issue(made.value)
    scene.sync()


def _stalled(scene: Scene) -> FaultEvent:
    scene.attached(stall=True)
    scene.machine.dma(SID).start_write(IOVA, b"waits")
    [record] = scene.driver.events.drain()
    return FaultEvent.decode(record)


@mistake("stall-unresolved")
def stall_is_resumed_by_a_wrong_tag(scene: Scene) -> None:
    stag = _stalled(scene).stag + 1
    resume = Resume.make(Opcode=Opcode.RESUME, StreamID=SID, STAG=stag, Ab=1)
    scene.driver.commands.issue(resume.value)
    scene.sync()


@mistake("stall-unresolved")
def stalls_are_ended_before_the_stream(scene: Scene) -> None:
    _stalled(scene)
    scene.cfgi(Opcode.STALL_TERM)
    scene.machine.dma(SID).start_write(2 * PAGE, b"waits")
    scene.driver.write_ste(SID, STE.make(V=1, Config=Config.ABORT))


@mistake("event-queue-lost")
def overflow_is_acknowledged_inverted(scene: Scene) -> None:
    scene.attached()
    for number in range(200):
        scene.dma(BLOCK + number)
    prod = scene.driver.registers.read("EVENTQ_PROD")
    scene.driver.registers.write("EVENTQ_CONS", prod ^ 1 << 31)
    scene.dma()


@mistake("gerror-unacknowledged")
def message_of_a_sync_goes_nowhere(scene: Scene) -> None:
    sync = Sync.make(Opcode=Opcode.SYNC, CS=SyncSignal.IRQ, MSIAddress=0x8_0000_0000)
    scene.driver.commands.issue(sync.value)


@mistake("missing-invalidate", "table-use-after-free", "break-before-make")
def message_of_a_sync_lands_in_a_table(scene: Scene) -> None:
    where = scene.at(scene.used())
    sync = Sync.make(Opcode=Opcode.SYNC, CS=SyncSignal.IRQ, MSIAddress=where)
    scene.driver.commands.issue(sync.value)
    scene.sync()


# -- correct, and unusual


@correct
def block_is_split_and_merged_with_bbml_2(scene: Scene) -> None:
    domain = scene.used(BLOCK, BUFFER, BLOCK)
    where = scene.at(domain, BLOCK, 2)
    block = scene.word(where)
    scene.split(domain, BLOCK)
    scene.page(BLOCK)
    assert scene.dma(BLOCK + 5 * PAGE)
    scene.store(where, block)
    scene.tlbi(Opcode.TLBI_NH_ASID, ASID=1)
    scene.sync()
    assert scene.dma(BLOCK + 5 * PAGE)


@correct
def many_pages_go_with_one_command(scene: Scene) -> None:
    domain = scene.attached()
    for first in (0, 5):
        for number in range(8):
            pa = BUFFER + (first + number) * PAGE
            domain.map(BLOCK + number * PAGE, pa, PAGE)
            assert scene.dma(BLOCK + number * PAGE)
        domain.invalidate = False
        domain.unmap(BLOCK, 8 * PAGE)
        domain.invalidate = True
        scene.tlbi(Opcode.TLBI_NH_ASID, ASID=1)
        scene.sync()


@correct
def every_stream_configuration_follows_every_other(scene: Scene) -> None:
    _, guest = scene.nested()
    table, domains = scene.driver.substreams(bits=4), [scene.driver.domain() for _ in range(2)]
    table[0] = domains[1]
    stage2 = scene.driver.stage2(ias=40)
    for space in (*domains, stage2):
        space.map(IOVA, BUFFER, PAGE)
    stes = [STE(), STE.make(V=1), STE.make(V=1, Config=Config.BYPASS, SHCFG=1), guest.ste()]
    stes += [domains[0].ste(), table.table.ste(), stage2.ste()]
    for old in stes:
        for new in stes:
            for ste in (old, new):
                scene.driver.write_ste(SID, ste)
                scene.dma()
                scene.driver.events.drain()


@correct
def streams_share_tables_and_leave_one_by_one(scene: Scene) -> None:
    domain = scene.used()
    scene.driver.attach(SID + 1, domain)
    assert scene.dma(IOVA, SID + 1)
    scene.driver.detach(SID)
    assert scene.dma(IOVA, SID + 1)
    domain.close()


@correct
def two_asids_share_tables_and_go_together(scene: Scene) -> None:
    domain, other = scene.used(), scene.driver.domain()
    scene.cd(other, other.cd.replace(TTB0=domain.cd.TTB0), told=False)
    scene.driver.attach(SID + 1, other)
    assert scene.dma(IOVA, SID + 1)
    scene.store(scene.at(domain), 0)
    scene.tlbi(Opcode.TLBI_NH_VAA, Address=IOVA, Leaf=1)
    scene.sync()
    domain.map(IOVA, BUFFER + PAGE, PAGE)
    assert scene.dma(IOVA, SID + 1)


@correct
def stream_is_taken_away_with_events_pending(scene: Scene) -> None:
    domain = scene.attached()
    for number in range(20):
        scene.dma(BLOCK + number * PAGE)
    scene.driver.detach(SID)
    domain.close()
    scene.used()
    scene.driver.events.drain()


@correct
def vmid_is_used_again_after_all_of_it_went(scene: Scene) -> None:
    for number in range(3):
        space = scene.driver.stage2(ias=40)
        scene.driver.attach(SID, space)
        space.map(IOVA, BUFFER + number * PAGE, PAGE)
        assert scene.dma()
        scene.driver.detach(SID)
        scene.tlbi(Opcode.TLBI_S12_VMALL, VMID=space.vmid)
        scene.sync()
        scene.driver.vmids.clear()


@correct
def everything_changes_while_off_and_is_told(scene: Scene) -> None:
    domain = scene.used()
    scene.enable(0)
    domain.invalidate = False
    domain.unmap(IOVA, PAGE)
    domain.map(IOVA, BUFFER + PAGE, PAGE)
    domain.invalidate = True
    scene.driver.commands.prod = 0
    scene.driver._bring_up()
    assert scene.dma()


@correct
def driver_begins_anew_with_other_structures(scene: Scene) -> None:
    scene.used()
    scene.driver = Smmuv3Driver(scene.smmu, scene.arena, idle=scene.idle)
    scene.used(IOVA, BUFFER + PAGE).unmap(IOVA, PAGE)


@correct
def table_is_replaced_by_its_copy(scene: Scene) -> None:
    domain = scene.used()
    where, new = scene.at(domain, level=2), scene.driver.structures.allocate(PAGE)
    old = scene.word(where) & ADDRESS
    assert scene.memory.write(new, scene.memory.read(old, PAGE) or b"")
    scene.store(where, new | 3)
    scene.page(Leaf=0)
    assert scene.memory.write(old, bytes(PAGE))
    assert scene.dma()


@correct
def dirty_pages_are_collected_and_protected(scene: Scene) -> None:
    domain = scene.attached(dirty=True)
    domain.map(IOVA, BUFFER, PAGE)
    for _ in range(3):
        assert scene.dma()
        domain.collect_dirty(IOVA, PAGE)
    value = scene.word(scene.at(domain))
    scene.store(scene.at(domain), (value | READ_ONLY) & ~(1 << 51))
    scene.page()
    assert not scene.dma()
    scene.store(scene.at(domain), value)
    scene.page()
    assert scene.dma()


@correct
def software_changes_bits_that_are_its_own(scene: Scene) -> None:
    domain = scene.used()
    scene.store(scene.at(domain), scene.word(scene.at(domain)) | 0xF << 55)
    ste = scene.driver.structures.load(scene.driver.streams.entry(SID), 64)
    scene.ste(STE(int.from_bytes(ste, "little") | 0xABCD << 448))
    scene.sync()
    assert scene.dma()


@correct
def contiguous_run_goes_as_it_came(scene: Scene) -> None:
    domain, places = scene.attached(), range(0x1_0000, 0x2_0000, PAGE)
    for place in places:
        domain.map(place, BUFFER + place - places[0], PAGE)
    for place in places:
        where = scene.at(domain, place)
        scene.store(where, scene.word(where) | CONTIGUOUS)
    assert scene.dma(places[0])
    assert scene.dma(places[5])
    for place in places:
        scene.store(scene.at(domain, place), 0)
    scene.page(places[0], TG=1, TTL=3, NUM=15)
    scene.dma(places[0])


@correct
def guest_and_host_take_pages_away(scene: Scene) -> None:
    host, guest = scene.nested()
    guest.unmap(IOVA, PAGE)
    guest.map(IOVA, 0x5000, PAGE)
    assert scene.dma()
    host.invalidate = False
    host.unmap(0x5000, PAGE)
    host.invalidate = True
    scene.tlbi(Opcode.TLBI_S12_VMALL, VMID=host.vmid)
    scene.sync()
    host.map(0x5000, BUFFER + PAGE, PAGE)
    assert scene.dma()


@correct
def endpoint_is_asked_for_its_pasid(scene: Scene) -> None:
    endpoint, domain = scene.endpoint(substream_id=3)
    scene.store(scene.at(domain), 0)
    scene.page()
    made = AtcInvalidate.make(
        Opcode=Opcode.ATC_INV, StreamID=SID, SSV=1, SubstreamID=3, Address=IOVA
    )
    scene.driver.commands.issue(made.value)
    scene.sync()
    domain.map(IOVA, BUFFER + PAGE, PAGE)
    assert endpoint.write(IOVA, b"data", substream_id=3)


@correct
def asid_is_renamed_and_the_old_invalidated(scene: Scene) -> None:
    domain = scene.used()
    scene.cd(domain, domain.cd.replace(ASID=55))
    scene.tlbi(Opcode.TLBI_NH_ASID, ASID=1)
    scene.sync()
    assert scene.dma()


@correct
def space_is_quietened_by_epd_and_its_tables_are_freed(scene: Scene) -> None:
    domain = scene.used()
    tables = [scene.word(scene.at(domain, level=level)) & ADDRESS for level in range(3)]
    scene.cd(domain, domain.cd.replace(EPD0=1))
    scene.tlbi(Opcode.TLBI_NH_ASID, ASID=1)
    scene.sync()
    for table in tables:
        assert scene.memory.write(table, b"\xa4" * PAGE)
    scene.sync()
    assert not scene.dma()


@correct
def access_flag_is_cleared_untold(scene: Scene) -> None:
    domain = scene.attached(dirty=True)
    domain.map(IOVA, BUFFER, PAGE)
    for _ in range(3):
        scene.store(scene.at(domain), scene.word(scene.at(domain)) & ~(1 << 10))
        assert scene.dma()
        scene.sync()


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_found_by_a_right_name(name: str) -> None:
    script, names = MISTAKES[name]
    scene = Scene()
    with scene.checker:
        script(scene)
        assert scene.found() & names


@pytest.mark.parametrize("name", CORRECT)
def test_correct_driver_is_clean(name: str) -> None:
    for policy in (None, *map(str, choices(12))):
        scene = Scene(policy)
        with scene.checker:
            CORRECT[name](scene)
            assert scene.found() == set(), policy


@pytest.mark.parametrize("queue_lg2", [0, 1, 15])
def test_smallest_and_largest_queues_are_clean(queue_lg2: int) -> None:
    scene = Scene(queue_lg2=queue_lg2)
    domain = scene.attached()
    for number in range(10):
        domain.map(IOVA, BUFFER + number * PAGE, PAGE)
        assert scene.dma()
        domain.unmap(IOVA, PAGE)
        scene.dma()
        scene.driver.events.drain()
    assert scene.found() == set()
