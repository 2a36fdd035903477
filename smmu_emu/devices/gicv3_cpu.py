# SPDX-License-Identifier: GPL-2.0-or-later
"""GICv3's CPU interface: system registers of the core, ICC_* and those of EL2 that go with them.

Spec: Arm IHI 0069 4.8 (priorities), 12.2 (the registers); DDI 0487 D23.3 (their encodings). One
Security state: Group 0 is signalled as FIQ, Group 1 as IRQ. 8 bits of priority. What a hypervisor's
guest sees in its place is `virtual`.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.bits import Bits, Word
from smmu_emu.devices.gicv3_distributor import LPI_BITS, Distributor
from smmu_emu.devices.gicv3_interrupts import IDLE_PRIORITY, INTERRUPTS, SPURIOUS, Interrupts
from smmu_emu.devices.gicv3_redistributor import Redistributor
from smmu_emu.devices.gicv3_virtual import Access, VirtualInterface
from smmu_emu.interrupt import InterruptLine
from smmu_emu.system_registers import Outcome, SystemRegister


class ICC_CTLR(Word, bits=32):  # noqa: N801 - the architecture's name
    """Control. What is not CBPR or EOImode tells what there is."""

    CBPR = Bits(0)
    EOImode = Bits(1)
    PRIbits = Bits(10, 8)
    IDbits = Bits(13, 11)
    A3V = Bits(15)


class ICC_SGIR(Word, bits=64):  # noqa: N801 - of ICC_SGI0R, ICC_SGI1R and ICC_ASGI1R
    """Whom an SGI goes to."""

    TargetList = Bits(15, 0)
    Aff1 = Bits(23, 16)
    INTID = Bits(27, 24)
    Aff2 = Bits(39, 32)
    IRM = Bits(40)
    RS = Bits(47, 44)
    Aff3 = Bits(55, 48)


_CBPR, _EOI_MODE = ICC_CTLR.mask("CBPR"), ICC_CTLR.mask("EOImode")
_CTLR_CONSTANT = ICC_CTLR.make(PRIbits=7, IDbits=0, A3V=1).value
_ELSEWHERE = ICC_SGIR.mask("Aff1", "Aff2", "IRM", "RS", "Aff3")
_SRE, _SRE_EL2 = 0x7, 0xF
"""System registers are used at every level, for ever; EL2 lets EL1 have ICC_SRE_EL1."""
_ID_MASK = (1 << LPI_BITS) - 1


class CpuInterface:
    """``irq`` and ``fiq`` go to the core. Active priorities are two integers, one a group, with a
    bit for every two priorities: what ICC_AP0Rn and ICC_AP1Rn show."""

    def __init__(
        self,
        interrupts: Interrupts,
        distributor: Distributor,
        redistributor: Redistributor,
        name: str = "gic",
    ) -> None:
        self.interrupts = interrupts
        self.distributor = distributor
        self.redistributor = redistributor
        self.irq = InterruptLine(f"{name}.irq")
        self.fiq = InterruptLine(f"{name}.fiq")
        self.virtual = VirtualInterface(name)
        self.virtual.deactivate = self._deactivate_for_guest
        self._registers = self._connect()
        self._start()

    def _start(self) -> None:
        self._active = [0, 0]
        self._enabled = [0, 0]
        self._points = [0, 1]
        self._mask = self._control = 0

    def reset(self) -> None:
        """Power-on state."""
        self._start()
        self.virtual.reset()
        self.update()

    def _connect(self) -> dict[SystemRegister, Access]:
        found: dict[SystemRegister, Access] = {
            (3, 0, 4, 6, 0): Access(lambda: self._mask, self._write_mask),
            (3, 0, 12, 11, 1): Access(None, self._deactivate),  # ICC_DIR
            (3, 0, 12, 11, 3): Access(lambda: min(self._running, 0xFF), None),  # ICC_RPR
            (3, 0, 12, 11, 5): Access(None, lambda value: self._generate(value, 1)),
            (3, 0, 12, 11, 6): Access(None, lambda value: None),  # the other Security state's
            (3, 0, 12, 11, 7): Access(None, lambda value: self._generate(value, 0)),
            (3, 0, 12, 12, 4): Access(lambda: self._control | _CTLR_CONSTANT, self._write_control),
            (3, 0, 12, 12, 5): Access(lambda: _SRE, lambda value: None),
            (3, 4, 12, 9, 5): Access(lambda: _SRE_EL2, lambda value: None, 2),
        }
        for group, crm in enumerate((8, 12)):
            found[3, 0, 12, crm, 0] = Access(self._taker(group), None)  # ICC_IAR
            found[3, 0, 12, crm, 1] = Access(None, self._ender(group))  # ICC_EOIR
            found[3, 0, 12, crm, 2] = Access(self._shower(group), None)  # ICC_HPPIR
            found[3, 0, 12, crm, 3] = self._holder("_points", group, self._write_point)
            found[3, 0, 12, 12, 6 + group] = self._holder("_enabled", group, self._write_enable)
            for n in range(4):
                crm, op2 = (8, 4 + n) if group == 0 else (9, n)
                found[3, 0, 12, crm, op2] = self._active_word(group, n)
        return found

    # -- system registers

    def read_system(self, register: SystemRegister, level: int, hcr: int) -> int | Outcome:
        """An MRS at ``level``, with this HCR_EL2."""
        access = self._find(register, level, hcr)
        if isinstance(access, Outcome):
            return access
        return Outcome.UNDEFINED if access.read is None else access.read()

    def write_system(self, register: SystemRegister, level: int, hcr: int, value: int) -> Outcome:
        """An MSR at ``level``, with this HCR_EL2."""
        access = self._find(register, level, hcr)
        if isinstance(access, Outcome):
            return access
        if access.write is None:
            return Outcome.UNDEFINED
        access.write(value)
        self.update()
        self.virtual.update()
        return Outcome.DONE

    def _find(self, register: SystemRegister, level: int, hcr: int) -> Access | Outcome:
        """What an access means at this level."""
        if level == 1:
            if self.virtual.traps(register, hcr):
                return Outcome.TRAPPED
            guests = self.virtual.guests(register, hcr)
            if guests is not None:
                return guests
        access = self._registers.get(register) or self.virtual.registers.get(register)
        if access is None:
            return Outcome.ABSENT
        return Outcome.UNDEFINED if level < access.level else access

    def _holder(self, store: str, group: int, write: Callable[[int, int], None]) -> Access:
        return Access(lambda: getattr(self, store)[group], lambda value: write(group, value))

    def _write_mask(self, value: int) -> None:
        self._mask = value & 0xFF

    def _write_control(self, value: int) -> None:
        self._control = value & (_CBPR | _EOI_MODE)

    def _write_point(self, group: int, value: int) -> None:
        """A binary point: Group 1's is one more than Group 0's for the same split."""
        self._points[group] = max(value & 7, group)

    def _write_enable(self, group: int, value: int) -> None:
        self._enabled[group] = value & 1

    def _active_word(self, group: int, n: int) -> Access:
        def write(value: int) -> None:
            others = self._active[group] & ~(0xFFFF_FFFF << 32 * n)
            self._active[group] = others | (value & 0xFFFF_FFFF) << 32 * n

        return Access(lambda: self._active[group] >> 32 * n & 0xFFFF_FFFF, write)

    # -- priorities

    def _group(self, number: int) -> int:
        return self.interrupts.group(number) if number < INTERRUPTS else 1

    def _group_priority(self, priority: int, group: int) -> int:
        """The part of a priority that decides about preemption. Spec: 4.8.2."""
        field = self._points[0] + 1
        if group and not self._control & _CBPR:
            field = self._points[1]
        return priority & ~0 << field

    @property
    def _running(self) -> int:
        active = self._active[0] | self._active[1]
        return 2 * ((active & -active).bit_length() - 1) if active else IDLE_PRIORITY

    def _candidate(self) -> tuple[int, int]:
        """(priority, number) of the interrupt that the mask lets pass."""
        if self.redistributor.asleep:
            return IDLE_PRIORITY, SPURIOUS
        groups = self.distributor.groups
        best = self.interrupts.best(groups)
        if groups & 2 and self.redistributor.lpis.pending:
            best = min(best, self.redistributor.lpis.best())
        return best if best[0] < self._mask else (IDLE_PRIORITY, SPURIOUS)

    def _may_preempt(self, priority: int, number: int) -> bool:
        group = self._group(number)
        if number == SPURIOUS or not self._enabled[group]:
            return False
        return self._group_priority(priority, group) < self._running

    def update(self) -> None:
        """Drive the core's wires as the state asks for. Spec: 4.6.2 (groups and wires)."""
        priority, number = self._candidate()
        wanted = self._may_preempt(priority, number)
        group = self._group(number) if wanted else 0
        self.irq.set(wanted and group == 1)
        self.fiq.set(wanted and group == 0)

    # -- taking and ending interrupts

    def _shower(self, group: int) -> Callable[[], int]:
        def show() -> int:
            _, number = self._candidate()
            return number if number != SPURIOUS and self._group(number) == group else SPURIOUS

        return show

    def _taker(self, group: int) -> Callable[[], int]:
        def take() -> int:
            priority, number = self._candidate()
            if not self._may_preempt(priority, number) or self._group(number) != group:
                return SPURIOUS
            self._active[group] |= 1 << (self._group_priority(priority, group) >> 1)
            if number < INTERRUPTS:
                self.interrupts.take(number)
            else:
                self.redistributor.lpis.clear_pending(number)
            self.update()
            return number

        return take

    def _ender(self, group: int) -> Callable[[int], None]:
        def end(value: int) -> None:
            """Drop the running priority, if it is this group's. Spec: 4.4.5 and 4.4.6."""
            number, active = value & _ID_MASK, self._active
            if SPURIOUS - 3 <= number <= SPURIOUS or not active[group]:
                return
            lowest = active[group] & -active[group]
            if active[1 - group] & lowest - 1:
                return
            active[group] &= ~lowest
            if number < INTERRUPTS and not self._control & _EOI_MODE:
                self.interrupts.deactivate(number)

        return end

    def _deactivate(self, value: int) -> None:
        """Without EOImode it is UNPREDICTABLE, here ignored; LPIs are never active."""
        number = value & _ID_MASK
        if number < INTERRUPTS and self._control & _EOI_MODE:
            self.interrupts.deactivate(number)

    def _deactivate_for_guest(self, number: int) -> None:
        """A guest ended a virtual interrupt that stands for this one."""
        if number < INTERRUPTS:
            self.interrupts.deactivate(number)
            self.update()

    def _generate(self, value: int, group: int) -> None:
        """An SGI, which only affinity 0.0.0.0 would take, and only in this group."""
        fields = ICC_SGIR(value)
        if value & _ELSEWHERE or not fields.TargetList & 1:
            return
        if self.interrupts.group(fields.INTID) == group:
            self.interrupts.generate(fields.INTID)
