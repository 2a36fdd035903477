# SPDX-License-Identifier: GPL-2.0-or-later
"""GICv3's ITS: turns messages, with the DeviceID of who sent them, into LPIs.

Spec: Arm IHI 0069 5.2, 12.18, 12.19. Two frames of 64 KiB: control, and translation with
GITS_TRANSLATER. Commands take effect inside the register write that makes them visible. One that is
wrong is told and skipped; where the queue cannot be read the ITS stalls until software retries. A
write of the core to GITS_TRANSLATER has no DeviceID: it is told, and ignored. Left out: virtual
LPIs, SErrors for wrong commands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from smmu_emu.bits import Address, Bits, Word
from smmu_emu.devices.gicv3_frame import identification
from smmu_emu.devices.gicv3_its_commands import (
    COLLECTION_BITS,
    DEVICE_BITS,
    EVENT_BITS,
    Command,
    Mapping,
)
from smmu_emu.devices.gicv3_its_tables import COLLECTIONS, DEVICES, ENTRY, Table
from smmu_emu.devices.gicv3_lpi import Lpis
from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.port import MemoryPort

FRAME = 0x1_0000
TRANSLATER = 0x0040
"""Of GITS_TRANSLATER, in the translation frame."""
_COMMAND = 32
_PAGE = 0x1000


class GITS_CTLR(Word, bits=32):  # noqa: N801 - the architecture's name
    """Control."""

    Enabled = Bits(0)
    Quiescent = Bits(31)


class GITS_TYPER(Word, bits=64):  # noqa: N801 - the architecture's name
    """What there is. Numbers of bits and bytes are less one."""

    Physical = Bits(0)
    ITT_entry_size = Bits(7, 4)
    IDbits = Bits(12, 8)
    Devbits = Bits(17, 13)
    PTA = Bits(19)
    HCC = Bits(31, 24)
    CIDbits = Bits(35, 32)
    CIL = Bits(36)


class GITS_CBASER(Word, bits=64):  # noqa: N801 - the architecture's name
    """Where the command queue is. ``Size`` is in pages of 4 KiB, less one."""

    Size = Bits(7, 0)
    Shareability = Bits(11, 10)
    Physical_Address = Address(51, 12)
    OuterCache = Bits(55, 53)
    InnerCache = Bits(61, 59)
    Valid = Bits(63)


TYPER = GITS_TYPER.make(
    Physical=1,
    ITT_entry_size=ENTRY - 1,
    IDbits=EVENT_BITS - 1,
    Devbits=DEVICE_BITS - 1,
    CIDbits=COLLECTION_BITS - 1,
    CIL=1,
).value
_OFFSET = 0xF_FFE0
"""Of GITS_CWRITER and GITS_CREADR, whose bit 0 is Retry and Stalled."""
_BASER = 0x100
_REGISTERS = {
    0x00: ("CTLR", 4),
    0x04: ("IIDR", 4),
    0x08: ("TYPER", 8),
    0x80: ("CBASER", 8),
    0x88: ("CWRITER", 8),
    0x90: ("CREADR", 8),
    **{_BASER + 8 * n: (f"BASER{n}", 8) for n in range(8)},
}
_IDENTIFICATION = identification(0x94)
_PRODUCT = 0x43B


class Its:
    """The control frame is its own `read` and `write`, the translation frame ``translation``.

    ``lpis`` are those of the redistributors, by processor number. ``changed`` is called after each
    change that may matter to a core; ``messages`` counts those that became LPIs.
    """

    def __init__(
        self,
        lpis: Sequence[Lpis],
        queue: MemoryPort,
        tables: MemoryPort,
        report: Report = ignore,
        report_translation: Report = ignore,
    ) -> None:
        self.report = report
        self.changed: Callable[[], None] = lambda: None
        devices, collections = Table(DEVICES, tables), Table(COLLECTIONS, tables)
        self.tables = [devices, collections]
        self.mapping = Mapping(devices, collections, tables, lpis)
        self.translation = Translation(self, report_translation)
        self._queue = queue
        self._running = False
        self.reset()

    def reset(self) -> None:
        """Power-on state."""
        self.enabled = self._stalled = False
        self._queue_base = self._reader = self._writer = 0
        self.messages = 0
        for table in self.tables:
            table.reset()

    def read(self, offset: int, size: int) -> int:
        """A read by software."""
        if offset >= FRAME - 0x30 and size == 4 and not offset & 3:
            return _IDENTIFICATION >> 8 * (offset - FRAME + 0x30) & 0xFFFF_FFFF
        name, at = self._place(offset, size)
        if name is None:
            self.report(offset, f"read of {size} bytes")
            return 0
        return self._value(name) >> 8 * at & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """A write by software."""
        name, at = self._place(offset, size)
        if name is None:
            self.report(offset, f"write of {size} bytes")
            return
        window = (1 << 8 * size) - 1 << 8 * at
        self._set(name, self._value(name) & ~window | value << 8 * at & window)
        self.changed()

    @staticmethod
    def _place(offset: int, size: int) -> tuple[str | None, int]:
        """Which register an access goes to, and which byte of it."""
        for begin in (offset, offset - 4):
            name, width = _REGISTERS.get(begin, (None, 0))
            if size in (4, 8) and not offset & size - 1 and offset + size <= begin + width:
                return name, offset - begin
        return None, 0

    def _value(self, name: str) -> int:
        match name:
            case "CTLR":
                return GITS_CTLR.make(Enabled=self.enabled, Quiescent=not self.enabled).value
            case "IIDR":
                return _PRODUCT
            case "TYPER":
                return TYPER
            case "CBASER":
                return self._queue_base
            case "CWRITER":
                return self._writer
            case "CREADR":
                return self._reader | self._stalled
        number = int(name[-1])
        return self.tables[number].value if number < len(self.tables) else 0

    def _set(self, name: str, value: int) -> None:
        """Tables and queue stay where they are while the ITS is enabled, as moving them is
        UNPREDICTABLE."""
        if name == "CTLR":
            self.enabled = bool(value & GITS_CTLR.mask("Enabled"))
            self._run()
        elif name == "CWRITER":
            self._writer = value & _OFFSET
            self._stalled = self._stalled and not value & 1
            self._run()
        elif name == "CBASER" and not self.enabled:
            self._queue_base = value & GITS_CBASER.mask()
            self._reader, self._stalled = 0, False
        elif name.startswith("BASER") and not self.enabled and int(name[-1]) < len(self.tables):
            self.tables[int(name[-1])].set(value)

    def _run(self) -> None:
        """Execute commands up to where software wrote. A table that lies over the ITS's own
        registers does not make it start over."""
        queue = GITS_CBASER(self._queue_base)
        size = (queue.Size + 1) * _PAGE
        if self._running or not queue.Valid:
            return
        if self._writer >= size:
            self.report(0x88, f"GITS_CWRITER is {self._writer:#x}, the queue has {size:#x} bytes")
            return
        self._running = True
        while self.enabled and not self._stalled and self._reader != self._writer:
            self._step(queue.Physical_Address + self._reader)
            if not self._stalled:
                self._reader = (self._reader + _COMMAND) % size
        self._running = False

    def _step(self, at: int) -> None:
        data = self._queue.read(at, _COMMAND)
        if data is None:
            self._stalled = True
            return
        wrong = self.mapping.execute(Command.from_bytes(data))
        if wrong:
            self.report(0x90, wrong)

    def message(self, device_id: int, event_id: int) -> None:
        """A message from a device. Those that nobody mapped are told, and lost."""
        if not self.enabled:
            self.translation.report(TRANSLATER, "message while the ITS is disabled")
            return
        wrong = self.mapping.signal(device_id, event_id)
        if wrong:
            self.translation.report(TRANSLATER, f"message: {wrong}")
            return
        self.messages += 1
        self.changed()


class Translation:
    """The translation frame. Masters that have a DeviceID come by way of `ring`."""

    def __init__(self, its: Its, report: Report = ignore) -> None:
        self._its = its
        self.report = report

    def read(self, offset: int, size: int) -> int:
        """A read: there is nothing to be read."""
        self.report(offset, f"read of {size} bytes")
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """A write by somebody who has no DeviceID."""
        self.report(offset, f"write of {size} bytes without a DeviceID")

    def ring(self, offset: int, data: bytes | memoryview, device_id: int) -> bool:
        """A write by the master with this DeviceID: the EventID, of 2 or 4 bytes."""
        if offset != TRANSLATER or len(data) not in (2, 4):
            self.report(offset, f"write of {len(data)} bytes")
        else:
            self._its.message(device_id, int.from_bytes(data, "little"))
        return True
