# SPDX-License-Identifier: GPL-2.0-or-later
"""The Python reference driver with one mistake at a time, and a life that it leads.

A mistake is a patch of the driver's classes for as long as a run lasts: `BUGS` has them by name.
Those that change commands are written as a function from a command to the commands that are issued
in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from pgtable import Arena, Prot
from smmu_emu.devices.ats_endpoint import AtsEndpoint
from smmu_emu.driver import Smmuv3Driver
from smmu_emu.driver.contexts import ContextTable
from smmu_emu.driver.domain import Domain
from smmu_emu.driver.queues import CommandProducer, QueueConsumer
from smmu_emu.driver.space import AddressSpace
from smmu_emu.machine import Machine
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.smmuv3.spec.cd import CD
from smmu_emu.smmuv3.spec.command import (
    AtcInvalidate,
    ConfigInvalidate,
    Opcode,
    TlbInvalidate,
)
from smmu_emu.smmuv3.spec.ste import STE

DRIVER_MEMORY, BUFFERS = 0x4800_0000, 0x5000_0000
MEMORY_SIZE = 16 << 20
PAGE, BLOCK = 0x1000, 0x20_0000

PLAIN, SUBSTREAMS, GUEST, ENDPOINT, STALLING = 0x8, 0x9, 0xA, 0xB, 0xC
"""StreamIDs of the devices in a `Life`."""

Patch = Callable[[], AbstractContextManager[Any]]


class SeededBug(NamedTuple):
    """One mistake: its name, what the driver does wrong, and the patch that makes it do so."""

    name: str
    what: str
    patch: Patch


# -- the life of a driver


class Life:
    """A machine whose Python driver maps, transfers, unmaps, and uses memory and tags again.

    `run` tells whether all went well as far as a driver can see: devices were content and data
    arrived where it should.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        base = DRIVER_MEMORY - machine.ram.base
        arena = Arena(DRIVER_MEMORY, MEMORY_SIZE, machine.ram.view[base:])
        self.driver = Smmuv3Driver(machine.smmu, arena, queue_lg2=5)
        self.free = [BUFFERS + PAGE * number for number in range(256)]
        self.next_iova = 0x10_0000
        self.well = True

    def run(self) -> bool:
        """Live once through everything."""
        self.pages()
        self.overrun()
        self.blocks()
        self.owners()
        self.substreams()
        self.guests()
        self.endpoints()
        self.stalls()
        self.dirty()
        self.storm()
        return self.well

    def iova(self, size: int) -> int:
        """Addresses that were not used before, with a hole after them."""
        iova = -(-self.next_iova // size) * size if size & (size - 1) == 0 else self.next_iova
        self.next_iova = (iova + size + 2 * PAGE) & -PAGE
        return iova

    def use(self, stream_id: int, iova: int, pa: int, substream_id: int | None = None) -> None:
        """One transfer of a device, and a look at where it went."""
        data = iova.to_bytes(8, "little")
        written = self.machine.dma(stream_id).write(iova, data, substream_id=substream_id)
        self.well &= written and self.machine.memory.read(pa, 8) == data

    def transfer(
        self, space: AddressSpace, stream_id: int, count: int, substream_id: int | None = None
    ) -> None:
        """Map ``count`` pages, use them, unmap them; then they are somebody else's."""
        pages = [self.free.pop() for _ in range(count)]
        iova = self.iova(count * PAGE)
        for number, page in enumerate(pages):
            space.map(iova + number * PAGE, page, PAGE)
            self.use(stream_id, iova + number * PAGE, page, substream_id)
        space.unmap(iova, count * PAGE)
        for page in reversed(pages):
            self.machine.memory.write(page, b"free" * (PAGE // 4))
            self.free.append(page)

    def pages(self) -> None:
        """Transfers of sizes that need one command, several, and odd ones."""
        domain = self.driver.domain(ias=39)
        self.driver.attach(PLAIN, domain)
        held = self.iova(PAGE)
        domain.map(held, BUFFERS + 0x10_0000, PAGE)
        for count in (1, 2, 3, 5, 33, 64, 65, 8):
            self.transfer(domain, PLAIN, count)
        self.use(PLAIN, held, BUFFERS + 0x10_0000)
        self.driver.detach(PLAIN)
        domain.close()

    def overrun(self) -> None:
        """A device that goes on after the end of its buffer, and must be refused."""
        domain = self.driver.domain(ias=39)
        self.driver.attach(PLAIN, domain)
        iova = self.iova(4 * PAGE)
        domain.map(iova, BUFFERS, 3 * PAGE)
        self.use(PLAIN, iova, BUFFERS)
        self.machine.dma(PLAIN).write(iova + 3 * PAGE, b"too far")
        self.driver.detach(PLAIN)
        domain.close()

    def blocks(self) -> None:
        """Blocks that go as a whole, and tables that go with what is in them."""
        domain = self.driver.domain(ias=39)
        self.driver.attach(PLAIN, domain)
        for _ in range(2):
            iova = self.iova(BLOCK)
            domain.map(iova, BUFFERS + BLOCK, BLOCK)
            self.use(PLAIN, iova + PAGE, BUFFERS + BLOCK + PAGE)
            domain.unmap(iova, BLOCK)
            for page in range(512):
                domain.map(iova + page * PAGE, BUFFERS + 2 * BLOCK + page * PAGE, PAGE)
            self.use(PLAIN, iova + PAGE, BUFFERS + 2 * BLOCK + PAGE)
            domain.unmap(iova, BLOCK)
            domain.map(iova, BUFFERS + BLOCK, BLOCK)
            self.use(PLAIN, iova + PAGE, BUFFERS + BLOCK + PAGE)
            domain.unmap(iova, BLOCK)
        self.driver.detach(PLAIN)
        domain.close()

    def owners(self) -> None:
        """A device that changes hands, and tags that are used again."""
        for _ in range(3):
            domain = self.driver.domain(ias=39)
            self.driver.attach(PLAIN, domain)
            iova = self.iova(PAGE)
            domain.map(iova, BUFFERS, PAGE)
            self.use(PLAIN, iova, BUFFERS)
            domain.close()
        first, second = self.driver.domain(ias=39), self.driver.domain(ias=39)
        for number, domain in enumerate((first, second, first)):
            self.driver.attach(PLAIN, domain)
            self.transfer(domain, PLAIN, number + 1)
        self.driver.bypass(PLAIN)
        self.driver.detach(PLAIN)
        first.close()
        second.close()

    def substreams(self) -> None:
        """Substreams that come, go, and change their address spaces."""
        table = self.driver.substreams(bits=4)
        domains = [self.driver.domain(ias=39) for _ in range(3)]
        table[0] = domains[0]
        self.driver.attach_substreams(SUBSTREAMS, table)
        for number, domain in enumerate(domains[1:], 1):
            table[number] = domain
            self.transfer(domain, SUBSTREAMS, 2, number)
        table[1] = domains[2]
        self.transfer(domains[2], SUBSTREAMS, 2, 1)
        del table[2]
        domains[1].close()
        table[3] = self.driver.domain(ias=39)
        self.transfer(table.spaces[3], SUBSTREAMS, 2, 3)
        last = table.spaces[3]
        table.close()
        for domain in (domains[0], domains[2], last):
            domain.close()

    def guests(self) -> None:
        """Stage 2 alone, then with a guest on it, whose host takes pages away."""
        for _ in range(2):
            host = self.driver.stage2(ias=40)
            self.driver.attach(GUEST, host)
            self.transfer(host, GUEST, 3)
            ram = 0x1_0000_0000
            start = BUFFERS + 4 * BLOCK
            host.map(ram, start, BLOCK)
            memory = Arena(ram, BLOCK, self.machine.ram.view[start - self.machine.ram.base :])
            guest = self.driver.guest(host, memory)
            self.driver.attach(GUEST, guest)
            ipa, iova, page = self.iova(PAGE), self.iova(PAGE), self.free.pop()
            host.map(ipa, page, PAGE)
            guest.map(iova, ipa, PAGE)
            self.use(GUEST, iova, page)
            host.unmap(ipa, PAGE)
            self.free.append(page)
            self.machine.dma(GUEST).write(iova, b"too late")
            guest.unmap(iova, PAGE)
            host.close()

    def endpoints(self) -> None:
        """A device with a cache of its own."""
        agent = self.machine.smmu.ats
        domain = self.driver.domain(ias=39)
        self.driver.attach(ENDPOINT, domain, ats=True)
        endpoint = AtsEndpoint(
            self.machine.memory,
            agent,
            ENDPOINT,
            self.machine.clock,
            translator=self.machine.smmu,
            name="endpoint",
        )
        for count in (1, 3):
            pages = [self.free.pop() for _ in range(count)]
            iova = self.iova(4 * PAGE)
            for number, page in enumerate(pages):
                domain.map(iova + number * PAGE, page, PAGE)
                self.well &= endpoint.write(iova + number * PAGE, b"endpoint")
                self.well &= self.machine.memory.read(page, 8) == b"endpoint"
            domain.unmap(iova, count * PAGE)
            self.free += reversed(pages)
        self.driver.detach(ENDPOINT)
        domain.close()

    def stalls(self) -> None:
        """A transaction waits while its stream is taken away."""
        domain = self.driver.domain(ias=39, stall=True)
        self.driver.attach(STALLING, domain)
        iova = self.iova(PAGE)
        transfer = self.machine.dma(STALLING).start_write(iova, b"waits")
        self.driver.faults.events.drain()
        self.driver.detach(STALLING)
        self.well &= transfer.done
        domain.close()

    def dirty(self) -> None:
        """Pages that hardware marks when a device writes them."""
        domain = self.driver.domain(ias=39, dirty=True)
        self.driver.attach(PLAIN, domain)
        iova = self.iova(PAGE)
        domain.map(iova, BUFFERS, PAGE, Prot.READ | Prot.WRITE | Prot.CACHE)
        for _ in range(2):
            self.use(PLAIN, iova, BUFFERS)
            domain.collect_dirty(iova, PAGE)
        domain.unmap(iova, PAGE)
        self.driver.detach(PLAIN)
        domain.close()

    def storm(self) -> None:
        """More faults than the queue holds, over some time."""
        domain = self.driver.domain(ias=39)
        self.driver.attach(PLAIN, domain)
        for _ in range(6):
            for _ in range(12):
                self.machine.dma(PLAIN).write(self.iova(PAGE), b"nowhere")
            self.driver.faults.run()
        self.driver.detach(PLAIN)
        domain.close()


def make_machine(**options: Any) -> Machine:
    """The machine of a `Life`: its SMMU has every feature."""
    return Machine.virt(smmu_ids=PRESETS["full"], devices=(), **options)


# -- mistakes in commands


def _commands(change: Callable[[int], list[int]]) -> Patch:
    """Issue what ``change`` makes of each command instead of it."""

    def make() -> AbstractContextManager[Any]:
        issue = CommandProducer.issue

        def wrong(self: CommandProducer, command: int) -> None:
            for one in change(command):
                issue(self, one)

        return patch.object(CommandProducer, "issue", wrong)

    return make


def _opcode(command: int) -> int:
    return command & 0xFF


def _drop(*opcodes: Opcode) -> Patch:
    return _commands(lambda command: [] if _opcode(command) in opcodes else [command])


_BY_ADDRESS = (Opcode.TLBI_NH_VA, Opcode.TLBI_S2_IPA)


def _tlbi(**changes: Callable[[TlbInvalidate], int]) -> Patch:
    """Change fields of invalidations by address."""

    def change(command: int) -> list[int]:
        if _opcode(command) not in _BY_ADDRESS:
            return [command]
        fields = TlbInvalidate(command)
        return [fields.replace(**{name: new(fields) for name, new in changes.items()}).value]

    return _commands(change)


def _ranges(**changes: Callable[[TlbInvalidate], int]) -> Patch:
    """Change fields of invalidations of ranges alone."""

    def change(command: int) -> list[int]:
        fields = TlbInvalidate(command)
        if _opcode(command) not in _BY_ADDRESS or not fields.TG:
            return [command]
        return [fields.replace(**{name: new(fields) for name, new in changes.items()}).value]

    return _commands(change)


def _cfgi(opcode: Opcode, **changes: Callable[[ConfigInvalidate], int]) -> Patch:
    def change(command: int) -> list[int]:
        if _opcode(command) != opcode:
            return [command]
        fields = ConfigInvalidate(command)
        return [fields.replace(**{name: new(fields) for name, new in changes.items()}).value]

    return _commands(change)


def _atc(**changes: Callable[[AtcInvalidate], int]) -> Patch:
    def change(command: int) -> list[int]:
        if _opcode(command) != Opcode.ATC_INV:
            return [command]
        fields = AtcInvalidate(command)
        return [fields.replace(**{name: new(fields) for name, new in changes.items()}).value]

    return _commands(change)


# -- mistakes in order


def _replace(owner: type, name: str, make: Callable[[Callable[..., Any]], Any]) -> Patch:
    """Put ``make(original)`` in place of a method."""
    return lambda: patch.object(owner, name, make(getattr(owner, name)))


def _nothing(_: Callable[..., Any]) -> Callable[..., None]:
    return lambda *arguments, **named: None


def _sync_first(sync: Callable[[CommandProducer], None]) -> Callable[..., None]:
    """Wait, then issue: what was asked for last is still on its way when the caller goes on."""

    def wrong(self: CommandProducer) -> None:
        waiting: list[int] = self.__dict__.pop("held", [])
        sync(self)
        for command in waiting:
            _issue(self, command)

    return wrong


_issue = CommandProducer.issue


@contextmanager
def _sync_before() -> Iterator[None]:
    def held(self: CommandProducer, command: int) -> None:
        if _opcode(command) == Opcode.SYNC:
            _issue(self, command)
        else:
            self.__dict__.setdefault("held", []).append(command)

    with (
        patch.object(CommandProducer, "issue", held),
        patch.object(CommandProducer, "sync", _sync_first(CommandProducer.sync)),
    ):
        yield


def _unmap_after_flush(unmap: Callable[..., None]) -> Callable[..., None]:
    def wrong(self: AddressSpace, iova: int, size: int) -> None:
        self._flush(iova, size, 1 << self.granule_lg2, leaf=False)
        self.invalidate = False
        unmap(self, iova, size)
        self.invalidate = True

    return wrong


def _flush_walk_as_leaf(_: Callable[..., None]) -> Callable[..., None]:
    def wrong(self: AddressSpace, iova: int, size: int, granule: int) -> None:
        self._flush(iova, size, granule, leaf=True)

    return wrong


def _endpoints_first(sync: Callable[..., None]) -> Callable[..., None]:
    """Endpoints forget, and may ask again before the SMMU has forgotten."""

    def wrong(self: AddressSpace, iova: int, size: int) -> None:
        if self.invalidate:
            self.driver.invalidate_endpoints(self, iova, size)
            self.driver.commands.sync()

    return wrong


def _cd_at_once(_: Callable[..., None]) -> Callable[..., None]:
    """Write a descriptor in one go, whatever of it is in use."""

    def wrong(self: ContextTable, substream_id: int, cd: CD) -> None:
        self.structures.store(self._entry(substream_id), cd.to_bytes())
        self.changed(substream_id)

    return wrong


def _steps_without_telling(_: Callable[..., None]) -> Callable[..., None]:
    def wrong(self: Smmuv3Driver, stream_id: int, ste: STE) -> None:
        self._forget_ste(stream_id)
        self.structures.store_words(self.streams.entry(stream_id), ste.to_bytes())

    return wrong


def _no_wrap(_: Callable[..., None]) -> Callable[..., None]:
    def wrong(self: CommandProducer, command: int) -> None:
        self.registers.wait("CMDQ_CONS", self._has_room)
        self.put(self.prod, command)
        self.prod = (self.prod + 1) & (1 << self.size_lg2) - 1
        self.registers.write("CMDQ_PROD", self.prod)

    return wrong


def _doorbell_first(_: Callable[..., None]) -> Callable[..., None]:
    def wrong(self: CommandProducer, command: int) -> None:
        self.registers.wait("CMDQ_CONS", self._has_room)
        slot, self.prod = self.prod, (self.prod + 1) & (2 << self.size_lg2) - 1
        self.registers.write("CMDQ_PROD", self.prod)
        self.put(slot, command)

    return wrong


def _sync_not_awaited(_: Callable[..., None]) -> Callable[..., None]:
    def wrong(self: CommandProducer) -> None:
        self.issue(int(Opcode.SYNC))

    return wrong


def _detach_without_term(_: Callable[..., None]) -> Callable[..., None]:
    def wrong(self: Smmuv3Driver, stream_id: int) -> None:
        self._leave(stream_id, STE.make(V=1, Config=0b000))

    return wrong


def _shared_asid(asid: Callable[..., Domain]) -> Callable[..., Domain]:
    def wrong(self: Smmuv3Driver, **named: Any) -> Domain:
        self.asids.clear()
        return asid(self, **named)

    return wrong


def _rounded_up(map_pages: Callable[..., None]) -> Callable[..., None]:
    def wrong(self: AddressSpace, iova: int, paddr: int, size: int, *prot: int) -> None:
        map_pages(self, iova, paddr, 1 << (size - 1).bit_length(), *prot)

    return wrong


def _level(fields: TlbInvalidate) -> int:
    return {0: 0, 3: 2, 2: 3, 1: 2}[fields.TTL]


BUGS = (
    SeededBug("unmap-silent", "drops CMD_TLBI_NH_VA", _drop(Opcode.TLBI_NH_VA)),
    SeededBug("ipa-silent", "drops CMD_TLBI_S2_IPA", _drop(Opcode.TLBI_S2_IPA)),
    SeededBug("guests-silent", "drops the CMD_TLBI_NH_ALL after an IPA", _drop(Opcode.TLBI_NH_ALL)),
    SeededBug("asid-silent", "drops CMD_TLBI_NH_ASID", _drop(Opcode.TLBI_NH_ASID)),
    SeededBug("vmid-silent", "drops CMD_TLBI_S12_VMALL", _drop(Opcode.TLBI_S12_VMALL)),
    SeededBug("ste-silent", "drops CMD_CFGI_STE", _drop(Opcode.CFGI_STE)),
    SeededBug("cd-silent", "drops CMD_CFGI_CD", _drop(Opcode.CFGI_CD)),
    SeededBug("endpoint-silent", "drops CMD_ATC_INV", _drop(Opcode.ATC_INV)),
    SeededBug("range-short", "has NUM one too small", _ranges(NUM=lambda f: max(f.NUM - 1, 0))),
    SeededBug(
        "range-scale", "has SCALE one too small", _ranges(SCALE=lambda f: max(f.SCALE - 1, 0))
    ),
    SeededBug(
        "range-late", "starts a range a page late", _ranges(Address=lambda f: f.Address + PAGE)
    ),
    SeededBug("range-granule", "has the next granule's TG", _ranges(TG=lambda f: f.TG % 3 + 1)),
    SeededBug("range-level", "has another level's TTL", _ranges(TTL=_level)),
    SeededBug("leaf-always", "has Leaf 1 always", _tlbi(Leaf=lambda _: 1)),
    SeededBug("asid-next", "names the next ASID", _tlbi(ASID=lambda f: f.ASID + 1)),
    SeededBug("vmid-none", "leaves the VMID 0", _tlbi(VMID=lambda _: 0)),
    SeededBug(
        "address-low", "cuts addresses at 32 bits", _tlbi(Address=lambda f: f.Address & 0xFFFF)
    ),
    SeededBug(
        "ste-next",
        "names the next StreamID",
        _cfgi(Opcode.CFGI_STE, StreamID=lambda f: f.StreamID + 1),
    ),
    SeededBug("cd-zero", "names SubstreamID 0", _cfgi(Opcode.CFGI_CD, SubstreamID=lambda _: 0)),
    SeededBug("endpoint-small", "has half the Size", _atc(Size=lambda f: max(f.Size - 1, 0))),
    SeededBug("endpoint-next", "names the next StreamID", _atc(StreamID=lambda f: f.StreamID + 1)),
    SeededBug(
        "endpoint-first",
        "asks endpoints before the TLB",
        _replace(AddressSpace, "_sync", _endpoints_first),
    ),
    SeededBug("sync-none", "issues no CMD_SYNC", _replace(CommandProducer, "sync", _nothing)),
    SeededBug("sync-before", "waits before it invalidates", _sync_before),
    SeededBug(
        "sync-trusting",
        "does not wait for CMD_SYNC",
        _replace(CommandProducer, "sync", _sync_not_awaited),
    ),
    SeededBug(
        "flush-before-unmap",
        "invalidates, then unmaps",
        _replace(AddressSpace, "unmap", _unmap_after_flush),
    ),
    SeededBug(
        "walk-kept",
        "frees tables and invalidates nothing",
        _replace(AddressSpace, "tlb_flush_walk", _nothing),
    ),
    SeededBug(
        "walk-as-leaf",
        "frees tables and invalidates leaves",
        _replace(AddressSpace, "tlb_flush_walk", _flush_walk_as_leaf),
    ),
    SeededBug(
        "attached-forever",
        "closes spaces of streams that are attached",
        _replace(Smmuv3Driver, "forget", _nothing),
    ),
    SeededBug(
        "asid-shared", "gives all domains one ASID", _replace(Smmuv3Driver, "domain", _shared_asid)
    ),
    SeededBug(
        "cd-at-once", "writes CDs without steps", _replace(ContextTable, "__setitem__", _cd_at_once)
    ),
    SeededBug(
        "ste-untold",
        "invalidates STEs before it writes them",
        _replace(Smmuv3Driver, "write_ste", _steps_without_telling),
    ),
    SeededBug(
        "queue-wrap", "forgets PROD's wrap bit", _replace(CommandProducer, "issue", _no_wrap)
    ),
    SeededBug(
        "queue-doorbell",
        "rings before it writes the command",
        _replace(CommandProducer, "issue", _doorbell_first),
    ),
    SeededBug(
        "events-kept",
        "never takes an event",
        lambda: patch.object(QueueConsumer, "drain", lambda self: []),
    ),
    SeededBug(
        "size-rounded-up",
        "maps a power of two of bytes",
        _replace(AddressSpace, "map", _rounded_up),
    ),
    SeededBug(
        "stalls-kept",
        "detaches and leaves stalls",
        _replace(Smmuv3Driver, "detach", _detach_without_term),
    ),
)
"""Every mistake of the Python driver."""
