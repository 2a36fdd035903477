# SPDX-License-Identifier: GPL-2.0-or-later
"""A reference driver for SMMUv3 in Python: the sequence of Linux's arm-smmu-v3, in few words.

It does through registers and memory what a kernel does: probe, reset, queues, stream tables,
attach, map, unmap, faults, errors. What it consists of has a module each: `features`, `bring_up`,
`stream_table`, `domain`, `contexts`, `faults`, `recovery`. Spec: IHI 0070 6.3 (registers), 3.11
(initialisation), 3.21 (updates).
"""

from __future__ import annotations

from collections.abc import Callable

from pgtable import TableMemory
from smmu_emu.driver.bring_up import BringUp, set_interrupts
from smmu_emu.driver.domain import Domain, GuestDomain, Stage2Domain
from smmu_emu.driver.faults import FaultLoop, PageRequestLoop
from smmu_emu.driver.features import Features
from smmu_emu.driver.hitless import steps, used_by_ste
from smmu_emu.driver.queues import (
    RECORD_SIZES,
    CommandProducer,
    DriverError,
    QueueConsumer,
    Registers,
    RegisterWindow,
)
from smmu_emu.driver.recovery import Recovery
from smmu_emu.driver.space import AddressSpace
from smmu_emu.driver.stream_table import StreamTable
from smmu_emu.driver.structures import Structures
from smmu_emu.driver.substreams import Substreams
from smmu_emu.smmuv3.spec.command import COMMAND_SIZE, AtcInvalidate, ConfigInvalidate, Opcode
from smmu_emu.smmuv3.spec.registers import IRQ_CTRL
from smmu_emu.smmuv3.spec.ste import STE, STE_SIZE, AtsMode, Config, DefaultSubstream

_EVERYTHING = 52
"""ATC_INV.Size that names all addresses."""


class Smmuv3Driver:
    """Brings an SMMUv3 up and lets streams attach to address spaces.

    ``memory`` is where queues, tables and descriptors are put: a `pgtable.Arena` over the machine's
    RAM. ``stream_bits`` above 8 make a stream table of two levels where the device has them.
    ``messages`` has CMD_SYNC tell of its completion by a message; by default where that is
    possible. ``recover`` handles command errors instead of raising them. ``idle`` is called while
    the driver polls, so that virtual time can pass.

    Raises: DriverError if the device does not answer or lacks what the driver needs.
    """

    def __init__(
        self,
        window: RegisterWindow,
        memory: TableMemory,
        *,
        stream_bits: int = 8,
        queue_lg2: int = 7,
        messages: bool | None = None,
        recover: bool = False,
        idle: Callable[[], None] = lambda: None,
    ) -> None:
        self.registers = Registers(window, idle)
        self.memory = memory
        self.structures = Structures(memory)
        self.features = features = Features.probe(self.registers)
        if messages and not features.messages:
            raise DriverError("messages: the device sends none that are coherent")
        self.domains: dict[int, AddressSpace | Substreams] = {}
        self.asids: set[int] = set()
        self.vmids: set[int] = set()
        self._substreams: list[Substreams] = []
        self._endpoints: set[int] = set()
        commands_lg2 = min(queue_lg2, features.commands_lg2)
        self.commands = CommandProducer(
            self.registers,
            memory,
            self.structures.allocate(COMMAND_SIZE << commands_lg2),
            commands_lg2,
            messages=features.messages if messages is None else messages,
        )
        self.events = self._consumer("EVENTQ", min(queue_lg2, features.events_lg2))
        self.page_requests: QueueConsumer | None = None
        if features.pri:
            self.page_requests = self._consumer("PRIQ", min(queue_lg2, features.page_requests_lg2))
        bits = min(stream_bits, features.stream_bits)
        self.streams = StreamTable(self.structures, bits, two_level=features.two_level_streams)
        self.recovery = Recovery(self.registers, self.commands)
        self.faults = FaultLoop(self.events, self.commands)
        self.pages = (
            PageRequestLoop(self.page_requests, self.commands) if self.page_requests else None
        )
        if recover:
            self.commands.recover = self._recover
        self._bring_up()

    @property
    def stream_bits(self) -> int:
        """Width of the StreamIDs that the stream table holds."""
        return self.streams.bits

    @property
    def stream_table(self) -> int:
        """Address of the stream table, or of its first level."""
        return self.streams.address

    def _consumer(self, name: str, size_lg2: int) -> QueueConsumer:
        base = self.structures.allocate(RECORD_SIZES[name] << size_lg2)
        return QueueConsumer(self.registers, self.memory, name, base, size_lg2)

    def _bring_up(self) -> None:
        """Disable, describe the tables and queues, forget everything cached, enable."""
        up = BringUp(self.registers, el2=self.features.el2)
        up.disable()
        up.describe(self.streams)
        up.start_commands(self.commands)
        up.start_output("EVENTQ", self.events)
        if self.page_requests is not None:
            up.start_output("PRIQ", self.page_requests)
        if self.features.ats:
            up.enable(ATSCHK=1)
        set_interrupts(self.registers, pri=self.page_requests is not None)
        up.enable(SMMUEN=1)

    # -- address spaces

    def domain(
        self, *, granule_lg2: int = 12, ias: int = 48, stall: bool = False, dirty: bool = False
    ) -> Domain:
        """A new, empty stage-1 address space under an ASID of its own. ``ias`` is its size in bits.

        Raises: DriverError for what the device lacks, or if all ASIDs are in use.
        """
        asid = _free_tag(self.asids, self.features.asid_bits, "ASIDs")
        domain = Domain(self, asid=asid, granule_lg2=granule_lg2, ias=ias, stall=stall, dirty=dirty)
        self.asids.add(asid)
        return domain

    def stage2(self, *, granule_lg2: int = 12, ias: int = 0) -> Stage2Domain:
        """A new, empty stage-2 address space under a VMID of its own; ``ias`` 0 is the device's
        output size.

        Raises: DriverError for what the device lacks, or if all VMIDs are in use.
        """
        vmid = _free_tag(self.vmids, self.features.vmid_bits, "VMIDs")
        domain = Stage2Domain(self, vmid=vmid, granule_lg2=granule_lg2, ias=ias)
        self.vmids.add(vmid)
        return domain

    def guest(
        self, parent: Stage2Domain, memory: TableMemory, *, asid: int = 1, granule_lg2: int = 12
    ) -> GuestDomain:
        """A guest's stage 1 on a stage 2. ``memory`` is the guest's own, at intermediate addresses.

        Raises: DriverError for what the device lacks.
        """
        return GuestDomain(parent, memory, asid=asid, granule_lg2=granule_lg2)

    def substreams(self, bits: int) -> Substreams:
        """A new table of Context descriptors for SubstreamIDs of ``bits`` bits.

        Raises: DriverError if the device has fewer.
        """
        if not 0 < bits <= self.features.substream_bits:
            most = self.features.substream_bits
            raise DriverError(f"SubstreamIDs of {bits} bits: the device has {most}")
        made = Substreams(self, bits, two_level=self.features.two_level_contexts)
        self._substreams.append(made)
        return made

    def forget(self, space: AddressSpace | Substreams) -> None:
        """Detach the streams and substreams of an address space. Its `close` is the one to call."""
        for stream_id in [sid for sid, used in self.domains.items() if used is space]:
            self.detach(stream_id)
        if isinstance(space, Substreams):
            self._substreams.remove(space)
        for substreams in self._substreams:
            substreams.forget(space)

    # -- streams

    def attach(self, stream_id: int, space: AddressSpace, *, ats: bool = False) -> None:
        """Let a stream translate through an address space; with ``ats`` its device may cache.

        Raises: DriverError if the stream table has no such StreamID, or the device no ATS.
        """
        self._attach(stream_id, space, space.ste(), ats)

    def attach_substreams(
        self,
        stream_id: int,
        substreams: Substreams,
        default: DefaultSubstream = DefaultSubstream.SUBSTREAM0,
        *,
        ats: bool = False,
    ) -> None:
        """Let a stream's SubstreamIDs choose address spaces; ``default`` is for what has none.

        Raises: DriverError as `attach` does.
        """
        self._attach(stream_id, substreams, substreams.table.ste(default), ats)

    def _attach(
        self, stream_id: int, space: AddressSpace | Substreams, ste: STE, ats: bool
    ) -> None:
        if ats and not self.features.ats:
            raise DriverError("ats: the device has none")
        self._forget_endpoint(stream_id)
        self.write_ste(stream_id, ste.replace(EATS=AtsMode.FULL if ats else AtsMode.OFF))
        self.domains[stream_id] = space
        if ats:
            self._endpoints.add(stream_id)

    def bypass(self, stream_id: int) -> None:
        """Let a stream pass untranslated."""
        self._leave(stream_id, STE.make(V=1, Config=Config.BYPASS, SHCFG=1))

    def detach(self, stream_id: int) -> None:
        """Abort a stream's transactions from now on, silently, and those that are stalled."""
        self._leave(stream_id, STE.make(V=1, Config=Config.ABORT))
        if self.features.stalls:
            command = ConfigInvalidate.make(Opcode=Opcode.STALL_TERM, StreamID=stream_id)
            self.commands.issue(command.value)
            self.commands.sync()

    def _leave(self, stream_id: int, ste: STE) -> None:
        self.write_ste(stream_id, ste)
        self.domains.pop(stream_id, None)
        self._forget_endpoint(stream_id)

    def write_ste(self, stream_id: int, ste: STE) -> None:
        """Change an STE so that the device never sees a mixture of old and new. Spec: 3.21.3.1.

        Raises: DriverError if the stream table has no such StreamID.
        """
        address = self.streams.entry(stream_id)
        current = STE.from_bytes(self.structures.load(address, STE_SIZE))
        for step in steps(current, ste, used_by_ste):
            self.structures.store_words(address, step.to_bytes())
            self._forget_ste(stream_id)

    def _forget_ste(self, stream_id: int) -> None:
        command = ConfigInvalidate.make(Opcode=Opcode.CFGI_STE, StreamID=stream_id, Leaf=1)
        self.commands.issue(command.value)
        self.commands.sync()

    # -- devices with caches of their own

    def invalidate_endpoints(self, space: AddressSpace, iova: int, size: int) -> None:
        """Have the devices of an address space forget addresses. Spec: 3.9.1.4, 4.5.1.

        One command names a power of two, so it reaches the smallest that holds all.
        """
        streams = [sid for sid in sorted(self._endpoints) if self._uses(sid, space)]
        for stream_id in streams:
            self.commands.issue(_atc_inv(stream_id, iova, size).value)
        if streams:
            self.commands.sync()

    def _uses(self, stream_id: int, space: AddressSpace) -> bool:
        used = self.domains.get(stream_id)
        if isinstance(used, Substreams):
            return space in used.spaces.values()
        return used is space or (isinstance(used, GuestDomain) and used.parent is space)

    def _forget_endpoint(self, stream_id: int) -> None:
        """The device's cache goes when its stream changes hands."""
        if stream_id in self._endpoints:
            self._endpoints.discard(stream_id)
            self.commands.issue(_atc_inv(stream_id, 0, 1 << 64).value)
            self.commands.sync()

    # -- interrupts and errors

    def send_messages(self, source: str, address: int, data: int) -> None:
        """Make an interrupt ("EVENTQ", "GERROR", "PRIQ") a write of ``data`` to an address; 0 is
        the wire again.

        Raises: DriverError if the device sends none.
        """
        if not self.features.messages:
            raise DriverError("messages: the device sends none that are coherent")
        enables = self.registers.read("IRQ_CTRL")
        off = enables & ~IRQ_CTRL.mask(f"{source}_IRQEN")
        self.registers.update("IRQ_CTRL", "IRQ_CTRLACK", off)
        self.registers.write(f"{source}_IRQ_CFG0", address)
        self.registers.write(f"{source}_IRQ_CFG1", data)
        self.registers.write(f"{source}_IRQ_CFG2", 0)
        self.registers.update("IRQ_CTRL", "IRQ_CTRLACK", enables)

    def _recover(self) -> None:
        self.recovery.handle()


def _free_tag(used: set[int], bits: int, what: str) -> int:
    """The lowest tag that is free; 0 is for streams that have none."""
    tag = next((n for n in range(1, 1 << bits) if n not in used), None)
    if tag is None:
        raise DriverError(f"all {len(used)} {what} are in use; close a domain")
    return tag


def _atc_inv(stream_id: int, iova: int, size: int) -> AtcInvalidate:
    first, last = iova >> 12, iova + size - 1 >> 12
    span_lg2 = min((first ^ last).bit_length(), _EVERYTHING)
    address = (first & -(1 << span_lg2)) << 12
    return AtcInvalidate.make(
        Opcode=Opcode.ATC_INV, StreamID=stream_id, Size=span_lg2, Address=address
    )
