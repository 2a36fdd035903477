# SPDX-License-Identifier: GPL-2.0-or-later
"""A reference driver for SMMUv3 in Python: the sequence of Linux's arm-smmu-v3, in few words.

It does through registers and memory what a kernel does: probe, reset, queues, a linear stream
table, attach, map, unmap, faults. Spec: IHI 0070 6.3 (registers), 3.11 (initialisation), 3.21
(updates).
"""

from __future__ import annotations

from collections.abc import Callable

from pgtable import TableMemory
from smmu_emu.driver.domain import Domain
from smmu_emu.driver.hitless import steps, used_by_ste
from smmu_emu.driver.queues import (
    CommandProducer,
    DriverError,
    EventConsumer,
    Registers,
    RegisterWindow,
)
from smmu_emu.smmuv3.ids import OAS_BITS
from smmu_emu.smmuv3.spec.command import (
    COMMAND_SIZE,
    ConfigInvalidate,
    ConfigInvalidateRange,
    Opcode,
    TlbInvalidate,
)
from smmu_emu.smmuv3.spec.event import EVENT_SIZE
from smmu_emu.smmuv3.spec.registers import (
    CR0,
    CR1,
    CR2,
    GBPA,
    IDR0,
    IDR1,
    IDR3,
    IDR5,
    IRQ_CTRL,
    QUEUE_BASE,
    STRTAB_BASE,
    STRTAB_BASE_CFG,
)
from smmu_emu.smmuv3.spec.ste import STE, STE_SIZE, Config

_ALL = 31
_WRITE_BACK, _INNER_SHAREABLE = 1, 3


class Smmuv3Driver:
    """Brings an SMMUv3 up and lets streams attach to address spaces.

    ``memory`` is where queues, tables and descriptors are put: a `pgtable.Arena` over the machine's
    RAM. ``idle`` is called while the driver polls, so that virtual time can pass.

    Raises: DriverError if the device does not answer or lacks what the driver needs.
    """

    def __init__(
        self,
        window: RegisterWindow,
        memory: TableMemory,
        *,
        stream_bits: int = 8,
        queue_lg2: int = 7,
        idle: Callable[[], None] = lambda: None,
    ) -> None:
        self.registers = Registers(window, idle)
        self.memory = memory
        self.stream_bits = stream_bits
        self.domains: dict[int, Domain] = {}
        self._asids: set[int] = set()
        self._probe()
        commands_lg2, events_lg2 = min(queue_lg2, self._cmdqs), min(queue_lg2, self._eventqs)
        command_base = self._allocate(COMMAND_SIZE << commands_lg2)
        event_base = self._allocate(EVENT_SIZE << events_lg2)
        self.commands = CommandProducer(self.registers, memory, command_base, commands_lg2)
        self.events = EventConsumer(self.registers, memory, event_base, events_lg2)
        self.stream_table = self._allocate(STE_SIZE << self.stream_bits)
        self._reset()

    # -- bring-up

    def _probe(self) -> None:
        read = self.registers.read
        features, sizes = IDR0(read("IDR0")), IDR1(read("IDR1"))
        if not features.S1P or not features.TTF & 2:
            raise DriverError("the device has no stage 1 with AArch64 tables")
        self.stream_bits = min(self.stream_bits, sizes.SIDSIZE)
        self._cmdqs, self._eventqs = sizes.CMDQS, sizes.EVENTQS
        self.asid_bits = 16 if features.ASID16 else 8
        addresses = IDR5(read("IDR5"))
        self.output_bits = min(OAS_BITS[addresses.OAS], 48)
        granules = {12: addresses.GRAN4K, 14: addresses.GRAN16K, 16: addresses.GRAN64K}
        self.granules = [size_lg2 for size_lg2, there in granules.items() if there]
        self.has_ranges = bool(IDR3(read("IDR3")).RIL)
        self.has_stage2 = bool(features.S2P)

    def _reset(self) -> None:
        """Disable, describe the tables and queues, forget everything cached, enable."""
        registers = self.registers
        if CR0(registers.read("CR0")).SMMUEN:
            abort = GBPA(registers.read("GBPA")).replace(ABORT=1, Update=1)
            registers.write("GBPA", abort.value)
            registers.wait("GBPA", lambda value: not GBPA(value).Update)
        registers.update("CR0", "CR0ACK", 0)
        registers.write("CR1", _cacheable().value)
        registers.write("CR2", CR2.make(RECINVSID=1).value)
        registers.write("STRTAB_BASE", STRTAB_BASE.make(ADDR=self.stream_table, RA=1).value)
        registers.write("STRTAB_BASE_CFG", STRTAB_BASE_CFG.make(LOG2SIZE=self.stream_bits).value)
        self._start_commands()
        self._start_events()
        enables = CR0.make(CMDQEN=1, EVENTQEN=1, SMMUEN=1)
        registers.update("CR0", "CR0ACK", enables.value)

    def _start_commands(self) -> None:
        registers, queue = self.registers, self.commands
        base = QUEUE_BASE.make(ADDR=queue.base, LOG2SIZE=queue.size_lg2, HINT=1)
        registers.write("CMDQ_BASE", base.value)
        registers.write("CMDQ_PROD", 0)
        registers.write("CMDQ_CONS", 0)
        registers.update("CR0", "CR0ACK", CR0.make(CMDQEN=1).value)
        queue.issue(ConfigInvalidateRange.make(Opcode=Opcode.CFGI_STE_RANGE, Range=_ALL).value)
        queue.issue(TlbInvalidate.make(Opcode=Opcode.TLBI_NSNH_ALL).value)
        queue.sync()

    def _start_events(self) -> None:
        registers, queue = self.registers, self.events
        base = QUEUE_BASE.make(ADDR=queue.base, LOG2SIZE=queue.size_lg2, HINT=1)
        registers.write("EVENTQ_BASE", base.value)
        registers.write("EVENTQ_PROD", 0)
        registers.write("EVENTQ_CONS", 0)
        registers.update("CR0", "CR0ACK", CR0.make(CMDQEN=1, EVENTQEN=1).value)
        registers.update(
            "IRQ_CTRL", "IRQ_CTRLACK", IRQ_CTRL.make(EVENTQ_IRQEN=1, GERROR_IRQEN=1).value
        )

    # -- streams

    def domain(self, *, granule_lg2: int = 12, ias: int = 48) -> Domain:
        """A new, empty address space under an ASID of its own. ``ias`` is its size in bits.

        Raises: DriverError for a granule that the device lacks, or if all ASIDs are in use.
        """
        asid = next((n for n in range(1, 1 << self.asid_bits) if n not in self._asids), None)
        if asid is None:
            raise DriverError(f"all {len(self._asids)} ASIDs are in use; close a domain")
        domain = Domain(self, asid=asid, granule_lg2=granule_lg2, ias=ias)
        self._asids.add(asid)
        return domain

    def forget(self, domain: Domain) -> None:
        """Detach a domain's streams and free its ASID. `Domain.close` is the one to call."""
        for stream_id in [sid for sid, used in self.domains.items() if used is domain]:
            self.detach(stream_id)
        self._asids.discard(domain.asid)

    def attach(self, stream_id: int, domain: Domain) -> None:
        """Let a stream translate through a domain.

        Raises: DriverError if the stream table has no such StreamID.
        """
        context = domain.cd_address
        ste = STE.make(V=1, Config=Config.STAGE1, S1ContextPtr=context, SHCFG=1)
        self.write_ste(stream_id, ste)
        self.domains[stream_id] = domain

    def bypass(self, stream_id: int) -> None:
        """Let a stream pass untranslated."""
        self.write_ste(stream_id, STE.make(V=1, Config=Config.BYPASS, SHCFG=1))
        self.domains.pop(stream_id, None)

    def detach(self, stream_id: int) -> None:
        """Abort a stream's transactions from now on, silently."""
        self.write_ste(stream_id, STE.make(V=1, Config=Config.ABORT))
        self.domains.pop(stream_id, None)

    def write_ste(self, stream_id: int, ste: STE) -> None:
        """Change an STE so that the device never sees a mixture of old and new. Spec: 3.21.3.1.

        Raises: DriverError if the stream table has no such StreamID.
        """
        if stream_id >> self.stream_bits:
            raise DriverError(
                f"StreamID {stream_id:#x} needs a stream table of more than "
                f"{self.stream_bits} bits; raise stream_bits"
            )
        address = self.stream_table + STE_SIZE * stream_id
        current = STE.from_bytes(self._load(address, STE_SIZE))
        for step in steps(current, ste, used_by_ste):
            self._store_words(address, step.to_bytes())
            self._forget_ste(stream_id)

    def _forget_ste(self, stream_id: int) -> None:
        command = ConfigInvalidate.make(Opcode=Opcode.CFGI_STE, StreamID=stream_id, Leaf=1)
        self.commands.issue(command.value)
        self.commands.sync()

    # -- memory

    def place(self, data: bytes) -> int:
        """Put a structure into memory; its address, which is aligned to its size.

        Raises: DriverError if there is no memory.
        """
        address = self._allocate(len(data))
        self._store(address, data)
        return address

    def give_back(self, address: int, size: int) -> None:
        """Free what `place` made of ``size`` bytes."""
        self.memory.free(address, _piece(size))

    def _allocate(self, size: int) -> int:
        address = self.memory.alloc(_piece(size))
        if address is None:
            raise DriverError(f"no memory for {size:#x} bytes in {self.memory!r}")
        return address

    def _load(self, address: int, size: int) -> bytes:
        offset = address - self.memory.base
        return bytes(self.memory.bytes[offset : offset + size])

    def _store_words(self, address: int, data: bytes) -> None:
        """Store the 64-bit words that change, each at once, the one with V last."""
        for start in [*range(8, len(data), 8), 0]:
            if self._load(address + start, 8) != data[start : start + 8]:
                self._store(address + start, data[start : start + 8])

    def _store(self, address: int, data: bytes) -> None:
        offset = address - self.memory.base
        self.memory.bytes[offset : offset + len(data)] = data


def _piece(size: int) -> int:
    """The power of two that holds ``size`` bytes, a cache line at least."""
    return 1 << max(size - 1, 63).bit_length()


def _cacheable() -> CR1:
    return CR1.make(
        TABLE_SH=_INNER_SHAREABLE,
        TABLE_OC=_WRITE_BACK,
        TABLE_IC=_WRITE_BACK,
        QUEUE_SH=_INNER_SHAREABLE,
        QUEUE_OC=_WRITE_BACK,
        QUEUE_IC=_WRITE_BACK,
    )
