# SPDX-License-Identifier: GPL-2.0-or-later
"""GICv2 for one core: the CPU interface, and the whole controller.

Spec: Arm IHI 0048 B.b: 3.3 (prioritisation, preemption), 4.4 (CPU interface). Both groups; no
Security Extensions, so every access is like a Secure one. Left out: virtual interfaces, and the
legacy bypass signals.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.bits import Bits, Word
from smmu_emu.devices.gicv2_distributor import (
    FIRST_SPI,
    IDLE_PRIORITY,
    INTERRUPTS,
    SPURIOUS,
    Distributor,
)
from smmu_emu.devices.register_block import RW, R, Register, RegisterBlock, W
from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.interrupt import InterruptLine

OTHER_GROUP = 1022
"""What GICC_IAR gives for a Group 1 interrupt while GICC_CTLR.AckCtl is 0."""


class GICC_CTLR(Word, bits=32):  # noqa: N801 - the architecture's name
    """CPU interface control. Spec: 4.4.1."""

    EnableGrp0 = Bits(0)
    EnableGrp1 = Bits(1)
    AckCtl = Bits(2)
    FIQEn = Bits(3)
    CBPR = Bits(4)
    EOImode = Bits(9)


_ACK_CTL, _FIQ_EN = GICC_CTLR.mask("AckCtl"), GICC_CTLR.mask("FIQEn")
_CBPR, _EOI_MODE = GICC_CTLR.mask("CBPR"), GICC_CTLR.mask("EOImode")


CPU_REGISTERS = (
    Register("CTLR", 0x000, RW, writable=GICC_CTLR.mask()),
    Register("PMR", 0x004, RW, writable=0xFF),
    Register("BPR", 0x008, RW, writable=0x7),
    Register("IAR", 0x00C, R),
    Register("EOIR", 0x010, W, writable=0x1FFF),
    Register("RPR", 0x014, R),
    Register("HPPIR", 0x018, R),
    Register("ABPR", 0x01C, RW, reset=1, writable=0x7),
    Register("AIAR", 0x020, R),
    Register("AEOIR", 0x024, W, writable=0x1FFF),
    Register("AHPPIR", 0x028, R),
    *(Register(f"APR{n}", 0x0D0 + 4 * n, RW) for n in range(4)),
    *(Register(f"NSAPR{n}", 0x0E0 + 4 * n, RW) for n in range(4)),
    Register("IIDR", 0x0FC, R, reset=0x0002_043B),
    Register("DIR", 0x1000, W, writable=0x1FFF),
)
"""IHI 0048 table 4-2."""


class CpuInterface:
    """What one core sees of the GIC. Spec: 4.4.

    ``irq`` and ``fiq`` go to the core. Active priorities are two integers with a bit for every two
    priorities, one a group: what GICC_APRn and GICC_NSAPRn show.
    """

    def __init__(
        self, distributor: Distributor, report: Report = ignore, name: str = "gic"
    ) -> None:
        self.distributor = distributor
        self.irq = InterruptLine(f"{name}.irq")
        self.fiq = InterruptLine(f"{name}.fiq")
        self._active_priorities = [0, 0]
        self._block = RegisterBlock(CPU_REGISTERS, report)
        self._values = self._block.values
        self._connect()
        self.read = self._block.read
        self.write = self._block.write

    def _connect(self) -> None:
        on_read, on_write = self._block.on_read, self._block.on_write
        on_read["IAR"] = lambda: self._take(self._visible(0))
        on_read["AIAR"] = lambda: self._take(self._visible(1))
        on_read["RPR"] = lambda: min(self._running_priority(), 0xFF)
        on_read["HPPIR"] = lambda: self._visible(0)
        on_read["AHPPIR"] = lambda: self._visible(1)
        on_write["EOIR"] = lambda value: self._end(value & 0x3FF, 0)
        on_write["AEOIR"] = lambda value: self._end(value & 0x3FF, 1)
        on_write["DIR"] = self._deactivate
        for name in ("CTLR", "PMR", "BPR"):
            on_write[name] = self._writer(name)
        on_write["ABPR"] = lambda value: self._writer("ABPR")(max(value, 1))
        for group, prefix in enumerate(("APR", "NSAPR")):
            for n in range(4):
                on_read[f"{prefix}{n}"] = self._active_reader(group, n)
                on_write[f"{prefix}{n}"] = self._active_writer(group, n)

    def reset(self) -> None:
        """Power-on state."""
        self._block.reset()
        self._active_priorities = [0, 0]
        self.update()

    def _writer(self, name: str) -> Callable[[int], None]:
        def write(value: int) -> None:
            self._values[name] = value
            self.update()

        return write

    def _active_reader(self, group: int, n: int) -> Callable[[], int]:
        return lambda: self._active_priorities[group] >> 32 * n & 0xFFFF_FFFF

    def _active_writer(self, group: int, n: int) -> Callable[[int], None]:
        def write(value: int) -> None:
            others = self._active_priorities[group] & ~(0xFFFF_FFFF << 32 * n)
            self._active_priorities[group] = others | value << 32 * n
            self.update()

        return write

    # -- priorities

    def _group(self, number: int) -> int:
        return self.distributor.sets["group1"] >> number & 1

    def _group_priority(self, number: int) -> int:
        """The part of a priority that decides about preemption. Spec: 3.3.3."""
        field = self._values["BPR"] + 1
        if self._group(number) and not self._values["CTLR"] & _CBPR:
            field = self._values["ABPR"]
        return self.distributor.priority[number] & ~0 << field

    def _running_priority(self) -> int:
        active = self._active_priorities[0] | self._active_priorities[1]
        return 2 * ((active & -active).bit_length() - 1) if active else IDLE_PRIORITY

    def _candidate(self) -> int:
        """The interrupt that may be signalled now if its group is enabled here, or `SPURIOUS`."""
        if not self._values["CTLR"] & 3:
            return SPURIOUS
        number = self.distributor.best()
        if number == SPURIOUS or self.distributor.priority[number] >= self._values["PMR"]:
            return SPURIOUS
        return number

    def update(self) -> None:
        """Drive the core's wires as the state asks for. Spec: 3.6."""
        irq = fiq = False
        number = self._candidate()
        if number != SPURIOUS and self._may_preempt(number):
            fiq = not self._group(number) and bool(self._values["CTLR"] & _FIQ_EN)
            irq = not fiq
        self.irq.set(irq)
        self.fiq.set(fiq)

    def _may_preempt(self, number: int) -> bool:
        """Whether the core may take this candidate now. Running priorities are group priorities."""
        enabled = self._values["CTLR"] >> self._group(number) & 1
        return bool(enabled) and self.distributor.priority[number] < self._running_priority()

    # -- taking and ending interrupts

    def _visible(self, alias: int) -> int:
        """The candidate as GICC_HPPIR (0) or GICC_AHPPIR (1) shows it. Spec: 4.4.7, 4.4.14."""
        number = self._candidate()
        if number == SPURIOUS:
            return SPURIOUS
        if alias:
            return number if self._group(number) else SPURIOUS
        if self._group(number) and not self._values["CTLR"] & _ACK_CTL:
            return OTHER_GROUP
        return number

    def _take(self, number: int) -> int:
        """Acknowledge. Spec: 4.4.4."""
        if number >= OTHER_GROUP:
            return number
        if not self._may_preempt(number):
            return SPURIOUS
        self._active_priorities[self._group(number)] |= 1 << (self._group_priority(number) >> 1)
        self.distributor.acknowledge(number)
        self.update()
        return number

    def _end(self, number: int, alias: int) -> None:
        """Drop the running priority; deactivate as well unless EOImode splits that. Spec: 4.4.5."""
        if number >= INTERRUPTS or self._running_priority() == IDLE_PRIORITY:
            return
        group = self._group(number)
        if alias and not group:
            return
        self._active_priorities[group] &= self._active_priorities[group] - 1
        if not self._values["CTLR"] & _EOI_MODE:
            self.distributor.deactivate(number)
        self.update()

    def _deactivate(self, value: int) -> None:
        """Spec: 4.4.17; without EOImode it is UNPREDICTABLE, here ignored."""
        number = value & 0x3FF
        if number < INTERRUPTS and self._values["CTLR"] & _EOI_MODE:
            self.distributor.deactivate(number)
            self.update()


class Gicv2:
    """Distributor and CPU interface, joined."""

    def __init__(
        self, report_distributor: Report = ignore, report_cpu: Report = ignore, name: str = "gic"
    ) -> None:
        self.distributor = Distributor(report_distributor)
        self.cpu = CpuInterface(self.distributor, report_cpu, name)
        self.distributor.changed = self.cpu.update

    def reset(self) -> None:
        """Power-on state; wires of devices keep their level."""
        self.distributor.reset()
        self.cpu.reset()

    def spi(self, number: int) -> Callable[[bool], None]:
        """The sink for the wire of shared peripheral interrupt ``number``."""
        return self.ppi(FIRST_SPI + number)

    def ppi(self, number: int) -> Callable[[bool], None]:
        """The sink for the wire of the interrupt with this GIC number."""
        return lambda level: self.distributor.set_level(number, level)
