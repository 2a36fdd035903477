# SPDX-License-Identifier: GPL-2.0-or-later
"""Device windows as the core sees them: one call of the device for each access of the guest.

The engine hands out pieces: a 64-bit access as two halves, a misaligned store as bytes, a
misaligned load as the aligned words around it. The instruction at PC tells what was asked for. The
decision falls at the first piece; the device is called once, with the size the guest used.

A device that refuses an access, as a bus error, gives the guest a synchronous external abort.
A misaligned access to Device memory (everything is, with the MMU off) takes an alignment fault, as
does DC ZVA. Where a window is mapped as Normal memory, a misaligned access arrives as one with an
odd offset, if it stays inside the window, and is an external abort otherwise. Accesses of 128 bits
arrive as two of 64.

Reference: DDI 0487 B2.10.2 (Device memory), B2.8.2 (alignment of data accesses).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from smmu_emu.cpu.exceptions import ALIGNMENT_FAULT, EXTERNAL_ABORT, WRITE_NOT_READ
from smmu_emu.cpu.execution import MASK64, Execution
from smmu_emu.cpu.pace import Pace, PendingException
from smmu_emu.memory import PAGE, Window


class MemoryAccess(Protocol):
    """What one instruction touches; `loadstore` and `loadstore32` make them from instructions.

    ``size`` is one element in bytes, aligned accesses are atomic by it; ``total`` is all of them.
    The address is that of general register ``base`` plus ``offset``, if ``base`` is not negative
    and ``extended`` is None.
    """

    @property
    def size(self) -> int: ...

    @property
    def total(self) -> int: ...

    @property
    def base(self) -> int: ...

    @property
    def offset(self) -> int: ...

    @property
    def extended(self) -> int | None: ...

    def address(self, registers: Sequence[int], pc: int) -> int: ...


Plan = tuple[int, int, int, MemoryAccess | None]
"""Unit in bytes, base register and offset of a simple access, and the whole of it.

The unit is what the device shall see: an element, or half of one of 128 bits; 0 where the address
is not simply a register and a constant.
"""
_UNKNOWN: Plan = (0, 31, 0, None)


class InstructionPlans:
    """What the loads and stores that met a device ask for, by PC.

    A PC means one instruction as long as no new code is translated: whoever sees that calls
    `forget`. When two frames were ever executed at one virtual page, `ambiguous` ends caching.
    """

    unsaved = ("*",)

    def __init__(self, engine: Execution, look: Callable[[int], MemoryAccess | None]) -> None:
        self._engine = engine
        self._access_at = look
        self._known: dict[int, Plan] = {}
        self.ambiguous = False

    def forget(self) -> None:
        self._known.clear()

    def at(self, pc: int) -> Plan:
        """The plan of the instruction at virtual address ``pc``."""
        plan = self._known.get(pc)
        return plan if plan is not None else self._look(pc)

    def _look(self, pc: int) -> Plan:
        access = self._access_at(pc)
        if access is None:
            plan = _UNKNOWN
        elif access.extended is None and access.base >= 0:
            plan = (min(access.size, 8), access.base, access.offset, access)
        else:
            plan = (0, 31, 0, access)
        if not self.ambiguous:
            self._known[pc] = plan
        return plan

    def address(self, access: MemoryAccess) -> int:
        """Where the instruction that is executing begins to access memory."""
        registers = self._engine.registers
        return access.address(registers, self._engine.pc)

    def virtual(self, access: MemoryAccess | None, pa: int) -> int | None:
        """The virtual address of that byte of the access in progress that is at ``pa``, if known.

        Both have the same offset into a page.
        """
        if access is None:
            return None
        first = self.address(access)
        distance = (pa - first) % PAGE
        if distance >= access.total:  # the engine went to a rounded address
            distance = 0
        return first + distance & MASK64


class WindowPort:
    """One device window: puts pieces together and keeps time."""

    wiring = ("_window", "_engine", "_pace", "_plans", "_pc_index")

    def __init__(
        self, window: Window, engine: Execution, pace: Pace, plans: InstructionPlans
    ) -> None:
        self._window = window
        self._engine = engine
        self._pace = pace
        self._plans = plans
        self._pc_index = engine.pc_index
        self._wide = 0
        self._wide_from = self._wide_end = -1
        """Load pieces at these offsets are served from the bits of ``_wide``, in order."""
        self._store_next = -1
        self._store_end = -1
        self._store_from = 0
        self._store_value = 0
        self.map()

    def map(self) -> None:
        """Let the engine call."""
        self._engine.map_window(self._window.base, self._window.size, self.read, self.write)

    # -- loads

    def read(self, _engine: object, offset: int, size: int, _user: object) -> int:
        """A piece of a load."""
        engine, pace = self._engine, self._pace
        if engine.deaf:
            return 0
        if self._wide_from <= offset < self._wide_end:
            return self._next_piece(offset, size)
        try:
            pace.sync()
            registers = engine.registers
            unit, base, distance, access = self._plans.at(registers[self._pc_index])
            if not unit or registers[base] + distance & unit - 1:
                value = self._read_oddly(access, offset, size)
            elif unit == size:
                value = self._window.device.read(offset, size)
            else:
                value = self._read_wide(offset, size, unit, 0)
            if value is None:
                self._refused(access, offset, 0)
                return 0
            pace.settle()
            return value & (1 << 8 * size) - 1
        except BaseException as error:
            pace.fail(error)
            return 0

    def _next_piece(self, offset: int, size: int) -> int:
        value = self._wide >> 8 * (offset - self._wide_from)
        if offset + size == self._wide_end:
            self._wide_from = self._wide_end = -1
        return value & (1 << 8 * size) - 1

    def _read_oddly(self, access: MemoryAccess | None, offset: int, size: int) -> int | None:
        """The first piece of a load that may be misaligned."""
        if access is None:
            return self._window.device.read(offset, size)
        unit = min(access.size, 8)
        address = self._plans.address(access)
        skew = address & unit - 1
        if skew and not self._may_be_odd(access, address, offset + skew, 0):
            return 0
        if not skew and unit <= size:
            return self._window.device.read(offset, size)
        return self._read_wide(offset, size, unit, skew)

    def _read_wide(self, offset: int, size: int, unit: int, skew: int) -> int | None:
        """One access of the device for several pieces; the later ones are kept."""
        value = self._window.device.read(offset + skew, unit)
        if value is None:
            return None
        value = (value & (1 << 8 * unit) - 1) << 8 * skew
        self._wide, self._wide_from = value >> 8 * size, offset + size
        self._wide_end = offset + (2 * unit if skew else unit)
        return value

    # -- stores

    def write(self, _engine: object, offset: int, size: int, value: int, _user: object) -> None:
        """A piece of a store."""
        if self._engine.deaf:
            return
        try:
            if offset == self._store_next:
                self._gather(offset, size, value)
            elif (size == 4 and not offset & 7) or size == 1:
                self._begin_store(offset, size, value)
            else:
                self._deliver(offset, size, value)
        except BaseException as error:
            self._pace.fail(error)

    def _deliver(self, offset: int, size: int, value: int) -> None:
        pace = self._pace
        pace.sync()
        if self._window.device.write(offset, size, value) is False:
            access = self._plans.at(self._engine.pc)[3]
            self._refused(access, offset, WRITE_NOT_READ)
        pace.settle()

    def _begin_store(self, offset: int, size: int, value: int) -> None:
        access = self._plans.at(self._engine.pc)[3]
        if access is None or access.size == size:
            self._deliver(offset, size, value)
            return
        if size == 1:
            address = self._plans.address(access)
            if not self._may_be_odd(access, address, offset, WRITE_NOT_READ):
                return
        self._store_from, self._store_end = offset, offset + min(access.size, 8)
        self._store_next = offset + size
        self._store_value = value

    def _gather(self, offset: int, size: int, value: int) -> None:
        self._store_value |= value << 8 * (offset - self._store_from)
        self._store_next = offset + size
        if self._store_next == self._store_end:
            begin, self._store_next = self._store_from, -1
            self._deliver(begin, self._store_end - begin, self._store_value)

    # -- accesses that abort

    def _may_be_odd(self, access: MemoryAccess, address: int, offset: int, write: int) -> bool:
        """Whether a misaligned access may go on; faults it if not.

        ``address`` is that of the instruction's first byte, ``offset`` where in the window the
        element in question seems to begin.
        """
        unit = min(access.size, 8)
        distance = (offset - address) % PAGE
        begins_here = distance < access.total and not distance % unit
        device_memory = not self._engine.memory_attributes(address) & 0xF0
        inside = begins_here and offset + unit <= self._window.size and access.size <= 16
        if inside and not device_memory:
            return True
        iss = (ALIGNMENT_FAULT if device_memory else EXTERNAL_ABORT) | write
        far = address + distance if begins_here else address
        self._pace.cancel(PendingException(data_abort=True, iss=iss, far=far))
        return False

    def _refused(self, access: MemoryAccess | None, offset: int, write: int) -> None:
        """The device answered with a bus error."""
        far = self._plans.virtual(access, self._window.base + offset)
        self._pace.cancel(PendingException(data_abort=True, iss=EXTERNAL_ABORT | write, far=far))
