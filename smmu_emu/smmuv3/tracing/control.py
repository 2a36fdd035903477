# SPDX-License-Identifier: GPL-2.0-or-later
"""Software's side under trace: registers, commands with who rang the doorbell, SYNC, ATC_INV.

Spec: IHI 0070 4.1, 4.7.3, 6.2, 7.1. A register write is told of before what it sets off. A command
is told of before its first effect, or when it stops the queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from smmu_emu.ats import Invalidation
from smmu_emu.interpose import Function
from smmu_emu.smmuv3.spec.command import CommandError, Opcode, Sync, SyncSignal
from smmu_emu.smmuv3.spec.registers import REGISTERS
from smmu_emu.trace.events import AtcInvalidation, Command, RegisterAccess
from smmu_emu.trace.events import Sync as SyncEvent

if TYPE_CHECKING:
    from smmu_emu.smmuv3.tracing.unit import Place, UnitTracing

_OPCODES = {one.value: one.name for one in Opcode}
_SIGNALS = {
    SyncSignal.NONE.value: "none",
    SyncSignal.IRQ.value: "irq",
    SyncSignal.SEV.value: "sev",
}
_DOORBELL = REGISTERS["CMDQ_PROD"].offset
_MOST_RINGS = 1 << 16
_COMMANDS = ("command", "invalidation", "config-invalidation", "atc-invalidation", "sync")


class ControlTracing:
    """Tells of one SMMU's registers and commands.

    ``data`` are the bytes of the command that is being executed, empty outside. Snapshots may
    reach this by effects that are yet to come; a trace goes on whatever is brought back.
    """

    unsaved = ("unit", "data", "_place", "_index", "_command", "_told", "_rings", "_sent")

    def __init__(self, unit: UnitTracing) -> None:
        self.unit = unit
        self.data = b""
        self._place = (0, 0)
        self._index = 0
        self._command = 0
        self._told = True
        self._rings: deque[tuple[int, int]] = deque(maxlen=_MOST_RINGS)
        self._sent: dict[int, tuple[int, Invalidation, int]] = {}

    def places(self) -> Iterator[Place]:
        smmu, tracer = self.unit.smmu, self.unit.tracer
        registers = tracer.wants("register")
        if registers:
            yield smmu, "read", self._read
        if registers or tracer.wants(*_COMMANDS):
            yield smmu, "write", self._write
        if tracer.wants(*_COMMANDS):
            commands = smmu.commands
            yield commands, "_step", self._step
            yield commands, "_fail", self._fail
            yield commands.queue, "peek", self._peek
            yield commands, "carry_out", self._carry_out
            yield commands, "_complete_sync", self._complete_sync
            yield smmu.stalls, "take", self._effect
            yield smmu.stalls, "take_stream", self._effect
            yield smmu.page_requests, "respond", self._effect
            yield smmu.ats, "invalidate", self._atc_invalidate
            yield smmu.ats.invalidations, "_answered", self._answered

    # -- registers

    def _read(self, read: Callable[[int, int], int | None]) -> Callable[[int, int], int | None]:
        def observed(offset: int, size: int) -> int | None:
            value = read(offset, size)
            if value is not None:  # an abort, which is no read
                self._tell_register(offset, size, False, value)
            return value

        return observed

    def _write(
        self, write: Callable[[int, int, int], bool | None]
    ) -> Callable[[int, int, int], bool | None]:
        registers = self.unit.tracer.wants("register")

        def observed(offset: int, size: int, value: int) -> bool | None:
            if registers:
                self._tell_register(offset, size, True, value)
            if offset == _DOORBELL:
                queue = self.unit.smmu.commands.queue
                if queue.empty:
                    self._rings.clear()
                self._rings.append((value & queue.index_mask, self.unit.tracer.causes.find()))
            return write(offset, size, value)

        return observed

    def _tell_register(self, offset: int, size: int, write: bool, value: int) -> None:
        unit = self.unit
        part = unit.smmu.registers._parts.get((offset, size))
        name = "" if part is None else part.name
        # fmt: off
        unit.tracer.emit(tuple.__new__(RegisterAccess, (
            *unit.head(), name, offset, size, write, value,
        )))
        # fmt: on

    # -- commands

    def begin_effect(self) -> int:
        """Something that a command does begins: the command's number, told by now; 0 if none."""
        if not self._told:
            self._tell_command("")
        return self._command

    def _effect(self, function: Function) -> Function:
        def observed(*arguments: object) -> object:
            self.begin_effect()
            return function(*arguments)

        return observed

    def _carry_out(
        self, carry_out: Callable[[Callable[[], None]], None]
    ) -> Callable[[Callable[[], None]], None]:
        """An effect belongs to its command, even if it comes when that is long consumed."""

        def observed(effect: Callable[[], None]) -> None:
            number, data = self.begin_effect(), self.data
            carry_out(partial(self._have_effect, effect, number, data))

        return observed

    def _have_effect(self, effect: Callable[[], None], number: int, data: bytes) -> None:
        outer = self.data, self._command, self._told
        self.data, self._command, self._told = data, number, True
        try:
            effect()
        finally:
            self.data, self._command, self._told = outer

    def _step(self, step: Callable[[], bool]) -> Callable[[], bool]:
        def observed() -> bool:
            self._told = True
            self._command = 0
            try:
                done = step()
                if done:
                    self.begin_effect()
                return done
            finally:
                self.data, self._command, self._told = b"", 0, True

        return observed

    def _peek(self, peek: Callable[[], bytes | None]) -> Callable[[], bytes | None]:
        queue = self.unit.smmu.commands.queue

        def observed() -> bytes | None:
            data = peek()
            index = self._index = queue.cons
            self._place = (index & (1 << queue.size_lg2) - 1, queue.address(index))
            self.data = data or b""
            self._told = False
            return data

        return observed

    def _fail(self, fail: Callable[[CommandError], bool]) -> Callable[[CommandError], bool]:
        def observed(error: CommandError) -> bool:
            if not self._told:
                self._tell_command(f"CERROR_{error.name}")
            return fail(error)

        return observed

    def _tell_command(self, error: str) -> None:
        self._told = True
        unit = self.unit
        tracer = unit.tracer
        if not tracer.wants("command"):
            return
        slot, pa = self._place
        seq, time, name, _ = unit.head()
        opcode = self.data[0] if self.data else 0
        writer = tracer.writer_of(pa)
        self._command = seq
        tracer.emit(
            Command(
                seq,
                time,
                name,
                self._ringer(),
                _OPCODES.get(opcode, f"{opcode:#04x}") if self.data else "",
                slot,
                pa,
                self.data,
                writer,
                error,
            )
        )

    def _ringer(self) -> int:
        """Who rang for the command: the first whose index goes beyond it."""
        rings = self._rings
        while len(rings) > 1 and rings[0][0] == self._index:
            rings.popleft()
        return rings[0][1] if rings else self.unit.tracer.causes.find()

    def _complete_sync(self, complete: Callable[[int], None]) -> Callable[[int], None]:
        def observed(command: int) -> None:
            number = self.begin_effect()
            unit = self.unit
            if unit.tracer.wants("sync"):
                fields = Sync(command)
                signal = _SIGNALS[fields.CS]
                if signal == "irq" and fields.MSIAddress and unit.smmu.ids.features.MSI:
                    signal = "msi"
                unit.tracer.emit(SyncEvent(*unit.head(), number, signal))
            complete(command)

        return observed

    # -- invalidation of ATCs

    def _atc_invalidate(self, invalidate: Function) -> Function:
        def observed(stream_id: int, request: Invalidation) -> None:
            number = self.begin_effect()
            inv = self.unit.smmu.ats.invalidations
            self._tell_atc(stream_id, request, number, done=False)
            self._sent[inv._sent + 1] = (stream_id, request, number)
            invalidate(stream_id, request)

        return observed

    def _answered(self, answered: Callable[[int, bool], None]) -> Callable[[int, bool], None]:
        def observed(number: int, done: bool) -> None:
            sent = self._sent.pop(number, None)
            if sent is not None and done:
                stream_id, request, command = sent
                self._tell_atc(stream_id, request, command, done=True)
            answered(number, done)

        return observed

    def _tell_atc(self, stream_id: int, request: Invalidation, command: int, *, done: bool) -> None:
        unit = self.unit
        if unit.tracer.wants("atc-invalidation"):
            last = request.address + (1 << request.size_lg2) - 1
            substream_id = None if request.every_pasid else request.substream_id
            unit.tracer.emit(
                AtcInvalidation(
                    *unit.head(),
                    command,
                    stream_id,
                    substream_id,
                    request.address,
                    last,
                    done,
                )
            )
