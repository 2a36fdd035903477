# SPDX-License-Identifier: GPL-2.0-or-later
"""An SMMUv3: registers, queues, caches and the translation path, put together.

Spec: IHI 0070. What is modelled and what is not: docs/capabilities.md. Changes of state go through
virtual time with the delays of `Delays`; where one is zero, as by default, an acknowledge, a
command's effect or an interrupt happens inside the register write that asked for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from smmu_emu.ats import Endpoint
from smmu_emu.clock import Clock
from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.memory import PhysicalMemory
from smmu_emu.port import MemoryPort
from smmu_emu.smmuv3.ats import Ats
from smmu_emu.smmuv3.commands import CommandProcessor
from smmu_emu.smmuv3.config import ConfigurationCache
from smmu_emu.smmuv3.fault import encode
from smmu_emu.smmuv3.ids import IdRegisters
from smmu_emu.smmuv3.interrupt import EVENTQ_ABT_ERR, SFM_ERR, Interrupts
from smmu_emu.smmuv3.invalidations import Invalidations
from smmu_emu.smmuv3.pri import PageRequests
from smmu_emu.smmuv3.queue import CommandQueue, EventQueue, PriQueue
from smmu_emu.smmuv3.register_file import RegisterFile
from smmu_emu.smmuv3.spec.registers import CR0, GBPA
from smmu_emu.smmuv3.stages import Stages
from smmu_emu.smmuv3.stall import StallBuffer, terminated
from smmu_emu.smmuv3.translate import TranslationPath
from smmu_emu.tlb import Tlb, WalkCache
from smmu_emu.trace.tap import Tap
from smmu_emu.transaction import Fault, Transaction

if TYPE_CHECKING:
    from smmu_emu.memory import Stretches
    from smmu_emu.smmuv3.batch import Batch

_SMMUEN = CR0.mask("SMMUEN")
_EVENTQEN = CR0.mask("EVENTQEN")
_GBPA_UPDATE = GBPA.mask("Update")


@dataclass(frozen=True)
class Delays:
    """How late things happen, in nanoseconds of virtual time; 0 is inline."""

    acknowledge: int = 0
    commands: int = 0
    invalidation_timeout: int = 60_000_000_000
    """How long an ATS endpoint may take to answer an invalidation: PCIe says a minute."""


class Smmuv3:
    """One translation unit; ``name`` tells it apart from others in traces.

    `read` and `write` are its register window, `translate` serves its clients. ``device_id`` is
    what its own messages carry. ``report`` hears of accesses to registers that do not exist.

    Raises: ConfigurationError if ``ids`` advertise what is not modelled.
    """

    unsaved = ("batch",)

    def __init__(
        self,
        memory: PhysicalMemory,
        ids: IdRegisters | None = None,
        *,
        clock: Clock | None = None,
        tlb: Tlb | None = None,
        delays: Delays | None = None,
        name: str = "smmu0",
        device_id: int | None = None,
        report: Report = ignore,
    ) -> None:
        self.name = name
        self.ids = ids or IdRegisters()
        self.ids.check()
        self.clock = clock or Clock()
        self.delays = delays or Delays()
        self.tap = Tap()
        self.ports = {
            port: MemoryPort(port, memory)
            for port in ("walk", "config", "command-queue", "event-queue", "pri-queue")
        }
        self.ports["msi"] = MemoryPort("msi", memory, device_id)
        self.registers = RegisterFile(self.ids, report)
        self.interrupts = Interrupts(self.registers, name, self.ports["msi"])
        self.tlb = tlb if tlb is not None else Tlb()
        self.walk_cache = WalkCache()
        self.configuration = ConfigurationCache(self.registers, self.ports["config"], self.tlb)
        self.event_queue = EventQueue(self.registers, self.ports["event-queue"])
        self.stages = Stages(self.ids, self.tlb, self.ports["walk"])
        self.stalls = StallBuffer(max(1, self.ids.addresses.STALL_MAX))
        self.path = TranslationPath(
            self.registers,
            self.configuration,
            self.tlb,
            self.stages,
            self.stalls,
            self._report,
        )
        endpoints: dict[int, Endpoint] = {}
        self.page_requests = PageRequests(
            self.registers,
            PriQueue(self.registers, self.ports["pri-queue"]),
            self.interrupts,
            self.configuration,
            endpoints,
            self._report,
        )
        self.ats = Ats(
            self.registers,
            self.configuration,
            self.tlb,
            self.stages,
            self._report,
            Invalidations(self.clock, self.delays.invalidation_timeout, partial(self._ring, 0)),
            endpoints,
            self.page_requests.receive,
        )
        self.commands = CommandProcessor(
            self.registers,
            CommandQueue(self.registers, self.ports["command-queue"]),
            self.interrupts,
            self.configuration,
            self.tlb,
            self.walk_cache,
            self.path,
            self.ats,
            self.page_requests,
        )
        self.memory = memory
        self.translate = self.path.translate
        self.submit = self.path.submit
        self.read = self.registers.read
        self.write = self.registers.write
        self._connect_registers()

    @cached_property
    def batch(self) -> Batch:
        """Translates arrays of addresses; made, with numpy, when first used."""
        from smmu_emu.smmuv3.batch import Batch

        return Batch(self.path, self.stages, self.tlb, self.memory)

    def translate_range(self, example: Transaction, size: int) -> Stretches | None:
        """Translate ``size`` bytes from an address on, page by page, where that is quick,
        nothing faults and all of it is RAM: rows of (physical address, length).

        None, and nothing has happened, otherwise.
        """
        return self.batch.translate_range(example, size)

    def _connect_registers(self) -> None:
        self.registers.intercept["CR0"] = self._write_cr0
        self.registers.intercept["GBPA"] = self._write_gbpa
        self.registers.intercept["IRQ_CTRL"] = self._write_irq_ctrl
        self.registers.written["CMDQ_PROD"] = self._ring
        self.registers.written["GERRORN"] = self._acknowledge_errors
        self.registers.written["EVENTQ_CONS"] = self._make_room
        for queue, name in (
            (self.commands.queue, self.commands.queue.cons_name),
            (self.event_queue, self.event_queue.prod_name),
        ):
            truncate = partial(queue.truncate, name)
            self.registers.written[name] = self.registers.written[queue.base_name] = truncate

    def reset(self) -> None:
        """Power-on state; caches come up empty. Spec: 3.11."""
        self.registers.reset()
        self.path.fail(False)
        self.path.hits = self.path.misses = self.stages.walks = 0
        self.commands.consumed.clear()
        self.stalls.take_all()
        self.ats.reset()
        self.page_requests.reset()
        self.tlb.clear()
        self.walk_cache.clear()
        self.configuration.drop_ste_range(0, 1 << 32)

    def after_put_back(self) -> None:
        """The state is another: what batches remember of the TLB is not true any more."""
        if "batch" in self.__dict__:
            self.batch.forget()

    def fail(self) -> None:
        """Enter service failure mode: nothing passes and no queue is touched until a reset.

        Spec: 12.3; registers stay readable, and the acknowledge of SFM_ERR does not leave the mode.
        """
        self.path.fail(True)
        self.ats.failed = self.page_requests.failed = True
        for held in self.stalls.take_all():
            held.answer(terminated(held, abort=True))
        self.interrupts.raise_error(SFM_ERR)

    # -- register side effects

    def _write_cr0(self, value: int) -> None:
        self.registers.values["CR0"] = value
        self.acknowledge(self._acknowledge_cr0)

    def acknowledge(self, complete: Callable[[], None]) -> None:
        """Let an Update of a register complete, when it is due. Spec: 6.3.9, 6.3.14, 6.3.16."""
        self.clock.after(self.delays.acknowledge, complete)

    def _acknowledge_cr0(self) -> None:
        """The Update of CR0 completes: CR0ACK follows, the new state rules. Spec: 6.3.9."""
        values = self.registers.values
        disabled = values["CR0ACK"] & ~values["CR0"] & _SMMUEN
        values["CR0ACK"] = values["CR0"]
        self.path.enable(bool(values["CR0"] & _SMMUEN))
        if disabled:
            for held in self.stalls.take_all():
                held.answer(terminated(held, abort=True))
        self.clock.after(self.delays.commands, self.commands.run)
        self._make_room(0)

    def _write_irq_ctrl(self, value: int) -> None:
        self.registers.values["IRQ_CTRL"] = value
        self.acknowledge(self._acknowledge_irq_ctrl)

    def _acknowledge_irq_ctrl(self) -> None:
        self.registers.values["IRQ_CTRLACK"] = self.registers.values["IRQ_CTRL"]

    def _write_gbpa(self, value: int) -> None:
        """Only a write with Update 1 counts, and not while an update is under way. Spec: 6.3.14."""
        values = self.registers.values
        if not value & _GBPA_UPDATE or values["GBPA"] & _GBPA_UPDATE:
            return
        values["GBPA"] = value
        self.acknowledge(self._acknowledge_gbpa)

    def _acknowledge_gbpa(self) -> None:
        self.registers.values["GBPA"] &= ~_GBPA_UPDATE

    def _ring(self, _: int) -> None:
        self.clock.after(self.delays.commands, self.commands.run)

    def _acknowledge_errors(self, old: int) -> None:
        self._ring(old)
        self._make_room(old)

    def _make_room(self, _: int) -> None:
        """The event queue may be writable again: stalled work waits for that. Spec: 3.12.2."""
        if self.stalls.waiting:
            self.path.retry_waiting()

    # -- faults

    def _report(self, fault: Fault, record: bytes | None = None) -> bool:
        """Record a fault if its configuration wants that, and tell who listens.

        ``record`` is what to write where the fault alone does not say everything. False when a
        stalled transaction's record could not be written; it will try again.
        """
        if record is None and fault.recorded and fault.code:
            record = encode(fault, self.ids.output_bits)
        if record is not None and not self._deliver(record, is_stall=fault.stag is not None):
            if fault.stag is not None:
                return False
            record = None
        if self.tap.listeners:
            self.tap.fault(self.name, fault, record)
        return True

    def _deliver(self, record: bytes, *, is_stall: bool) -> bool:
        """Write a record to the event queue; False if it is not there. Spec: 7.2, 7.4."""
        queue = self.event_queue
        if self.path.failed or not self.registers.values["CR0ACK"] & _EVENTQEN:
            return False
        if self.interrupts.is_active(EVENTQ_ABT_ERR):
            return False
        if queue.full:
            if not is_stall:
                queue.overflow()
            return False
        was_empty = queue.empty
        if not queue.write(record):
            self.interrupts.raise_error(EVENTQ_ABT_ERR)
            return False
        if was_empty:
            self.interrupts.event_queue_filled()
        return True
