# SPDX-License-Identifier: GPL-2.0-or-later
"""GICv3's virtual CPU interface: what a hypervisor gives its guest, and how the guest takes it.

Spec: Arm IHI 0069 chapter 6 (virtual interrupts), 12.2 (ICV_*), 12.4 (ICH_*). Four list registers,
5 bits of virtual priority, both groups: virtual IRQs and FIQs, traps of the guest's accesses, and
the maintenance interrupt. Left out: virtual LPIs of a GICv4, SErrors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from smmu_emu.bits import Bits, Word
from smmu_emu.interrupt import InterruptLine
from smmu_emu.system_registers import SystemRegister

LIST_REGISTERS = 4
PRIORITY_BITS = 5
FIRST_LPI = 8192
SPECIAL = range(1020, 1024)
SPURIOUS = 1023
HCR_FMO, HCR_IMO = 1 << 3, 1 << 4


class ICH_HCR(Word, bits=32):  # noqa: N801 - the architecture's name
    """What the hypervisor wants to know of."""

    En = Bits(0)
    UIE = Bits(1)
    LRENPIE = Bits(2)
    NPIE = Bits(3)
    VGrp0EIE = Bits(4)
    VGrp0DIE = Bits(5)
    VGrp1EIE = Bits(6)
    VGrp1DIE = Bits(7)
    TC = Bits(10)
    TALL0 = Bits(11)
    TALL1 = Bits(12)
    TDIR = Bits(14)
    EOIcount = Bits(31, 27)


class ICH_VTR(Word, bits=32):  # noqa: N801 - the architecture's name
    """What there is; numbers are less one."""

    ListRegs = Bits(4, 0)
    TDS = Bits(19)
    nV4 = Bits(20)  # noqa: N815
    A3V = Bits(21)
    IDbits = Bits(25, 23)
    PREbits = Bits(28, 26)
    PRIbits = Bits(31, 29)


class ICH_VMCR(Word, bits=32):  # noqa: N801 - the architecture's name
    """What the guest wrote to its interface."""

    VENG0 = Bits(0)
    VENG1 = Bits(1)
    VFIQEn = Bits(3)
    VCBPR = Bits(4)
    VEOIM = Bits(9)
    VBPR1 = Bits(20, 18)
    VBPR0 = Bits(23, 21)
    VPMR = Bits(31, 24)


class ICH_LR(Word, bits=64):  # noqa: N801 - the architecture's name
    """One virtual interrupt. With HW 0, bit 41 asks for a maintenance interrupt at its end."""

    vINTID = Bits(31, 0)  # noqa: N815
    pINTID = Bits(44, 32)  # noqa: N815
    Priority = Bits(55, 48)
    Group = Bits(60)
    HW = Bits(61)
    Pending = Bits(62)
    Active = Bits(63)


class Access(NamedTuple):
    """What an MRS and an MSR do; None where the register has none. ``level`` is the lowest."""

    read: Callable[[], int] | None
    write: Callable[[int], None] | None
    level: int = 1


_PENDING, _ACTIVE = ICH_LR.mask("Pending"), ICH_LR.mask("Active")
_STATE = _PENDING | _ACTIVE
_HW, _EOI = ICH_LR.mask("HW"), 1 << 41
_EOI_COUNT = ICH_HCR.mask("EOIcount")
_FIRST_POINT = 7 - PRIORITY_BITS
_PRIORITY_MASK = 0xFF & -(1 << 8 - PRIORITY_BITS)
_CTLR_CONSTANT = 1 << 15 | (PRIORITY_BITS - 1) << 8
_IDLE = 0x100
_ID_MASK = 0xFFFF
VTR = ICH_VTR.make(
    ListRegs=LIST_REGISTERS - 1,
    TDS=1,
    nV4=1,
    A3V=1,
    PREbits=PRIORITY_BITS - 1,
    PRIbits=PRIORITY_BITS - 1,
).value


def _group_registers(group: int) -> frozenset[SystemRegister]:
    crm = (8, 12)[group]
    found = {(3, 0, 12, crm, op2) for op2 in range(4)} | {(3, 0, 12, 12, 6 + group)}
    active = {(3, 0, 12, 9, n) if group else (3, 0, 12, 8, 4 + n) for n in range(4)}
    return frozenset(found | active)


_GROUPS = _group_registers(0), _group_registers(1)
_DIR = (3, 0, 12, 11, 1)
_COMMON = frozenset({(3, 0, 4, 6, 0), (3, 0, 12, 12, 4), _DIR, (3, 0, 12, 11, 3)})
_SGIS = frozenset((3, 0, 12, 11, op2) for op2 in (5, 6, 7))


class VirtualInterface:
    """``virq`` and ``vfiq`` go to the core, ``maintenance`` to the distributor. ``deactivate`` ends
    the physical interrupt that a list register belongs to."""

    def __init__(self, name: str = "gic") -> None:
        self.virq = InterruptLine(f"{name}.virq")
        self.vfiq = InterruptLine(f"{name}.vfiq")
        self.maintenance = InterruptLine(f"{name}.maintenance")
        self.deactivate: Callable[[int], None] = lambda number: None
        self.registers = self._hypervisors()
        self._guests = self._guest_registers()
        self._start()

    def _start(self) -> None:
        self._hcr = 0
        self._vmcr = ICH_VMCR.make(VBPR0=_FIRST_POINT, VBPR1=_FIRST_POINT + 1, VFIQEn=1).value
        self._lists = [0] * LIST_REGISTERS
        self._active = [0, 0]

    def reset(self) -> None:
        """Power-on state."""
        self._start()
        self.update()

    # -- who sees what

    def traps(self, register: SystemRegister, hcr: int) -> bool:
        """Whether EL1's access goes to EL2. Spec: 12.4 (ICH_HCR_EL2), 6.2."""
        control = ICH_HCR(self._hcr)
        if register in _SGIS:
            return bool(control.TC or hcr & (HCR_IMO | HCR_FMO))
        if register in _COMMON:
            return bool(control.TC or (register == _DIR and control.TDIR))
        if register in _GROUPS[0]:
            return bool(control.TALL0)
        return register in _GROUPS[1] and bool(control.TALL1)

    def guests(self, register: SystemRegister, hcr: int) -> Access | None:
        """What EL1's access means if it is a guest's; None if it is to the physical interface."""
        routed = (HCR_FMO if register in _GROUPS[0] else 0) | (
            HCR_IMO if register in _GROUPS[1] else 0
        )
        if register in _COMMON:
            routed = HCR_FMO | HCR_IMO
        return self._guests.get(register, Access(None, None)) if hcr & routed else None

    def _hypervisors(self) -> dict[SystemRegister, Access]:
        found: dict[SystemRegister, Access] = {
            (3, 4, 12, 11, 0): Access(lambda: self._hcr, self._write_hcr, 2),
            (3, 4, 12, 11, 1): Access(lambda: VTR, None, 2),
            (3, 4, 12, 11, 2): Access(self._reasons, None, 2),
            (3, 4, 12, 11, 3): Access(self._ended, None, 2),
            (3, 4, 12, 11, 5): Access(self._empty, None, 2),
            (3, 4, 12, 11, 7): Access(lambda: self._vmcr, self._write_vmcr, 2),
            (3, 4, 12, 8, 0): self._active_word(0, 2),
            (3, 4, 12, 9, 0): self._active_word(1, 2),
        }
        for n in range(LIST_REGISTERS):
            found[3, 4, 12, 12, n] = self._list_register(n)
        return found

    def _guest_registers(self) -> dict[SystemRegister, Access]:
        found: dict[SystemRegister, Access] = {
            (3, 0, 4, 6, 0): self._field("VPMR"),
            _DIR: Access(None, self._end_split),
            (3, 0, 12, 11, 3): Access(lambda: min(self._running, 0xFF), None),
            (3, 0, 12, 12, 4): Access(self._read_control, self._write_control),
        }
        for group, crm in enumerate((8, 12)):
            found[3, 0, 12, crm, 0] = Access(self._taker(group), None)
            found[3, 0, 12, crm, 1] = Access(None, self._ender(group))
            found[3, 0, 12, crm, 2] = Access(self._shower(group), None)
            found[3, 0, 12, crm, 3] = self._field(f"VBPR{group}")
            found[3, 0, 12, 12, 6 + group] = self._field(f"VENG{group}")
        found[3, 0, 12, 8, 4] = self._active_word(0, 1)
        found[3, 0, 12, 9, 0] = self._active_word(1, 1)
        return found

    # -- registers

    def _write_hcr(self, value: int) -> None:
        self._hcr = value & ICH_HCR.mask()

    def _write_vmcr(self, value: int) -> None:
        fields = ICH_VMCR(value & ICH_VMCR.mask() | ICH_VMCR.mask("VFIQEn"))
        self._vmcr = fields.replace(
            VBPR0=max(fields.VBPR0, _FIRST_POINT),
            VBPR1=max(fields.VBPR1, _FIRST_POINT + 1),
            VPMR=fields.VPMR & _PRIORITY_MASK,
        ).value

    def _setter(self, name: str) -> Callable[[int], None]:
        mask = ICH_VMCR.FIELDS[name].mask

        def write(value: int) -> None:
            self._write_vmcr(ICH_VMCR(self._vmcr).replace(**{name: value & mask}).value)

        return write

    def _field(self, name: str) -> Access:
        field = ICH_VMCR.FIELDS[name]
        return Access(lambda: field.get(self._vmcr), self._setter(name))

    def _read_control(self) -> int:
        fields = ICH_VMCR(self._vmcr)
        return _CTLR_CONSTANT | fields.VEOIM << 1 | fields.VCBPR

    def _write_control(self, value: int) -> None:
        fields = ICH_VMCR(self._vmcr)
        self._vmcr = fields.replace(VCBPR=value & 1, VEOIM=value >> 1 & 1).value

    def _active_word(self, group: int, level: int) -> Access:
        def write(value: int) -> None:
            self._active[group] = value & 0xFFFF_FFFF

        return Access(lambda: self._active[group], write, level)

    def _list_register(self, n: int) -> Access:
        def write(value: int) -> None:
            fields = ICH_LR(value & ICH_LR.mask())
            self._lists[n] = fields.replace(Priority=fields.Priority & _PRIORITY_MASK).value

        return Access(lambda: self._lists[n], write, 2)

    # -- what the hypervisor is told

    def _ended(self) -> int:
        """ICH_EISR_EL2: which list registers ended and ask that this be told."""
        ended = [one & (_STATE | _HW | _EOI) == _EOI for one in self._lists]
        return sum(1 << n for n, told in enumerate(ended) if told)

    def _empty(self) -> int:
        """ICH_ELRSR_EL2: which list registers may be used."""
        return sum(
            1 << n
            for n, one in enumerate(self._lists)
            if not one & _STATE and (one & _HW or not one & _EOI)
        )

    def _reasons(self) -> int:
        """ICH_MISR_EL2: what the maintenance interrupt is for."""
        control, guest = ICH_HCR(self._hcr), ICH_VMCR(self._vmcr)
        used = sum(1 for one in self._lists if one & _STATE)
        waiting = any(one & _STATE == _PENDING for one in self._lists)
        reasons = (
            self._ended() != 0,
            control.UIE and used < 2,
            control.LRENPIE and control.EOIcount,
            control.NPIE and not waiting,
            control.VGrp0EIE and guest.VENG0,
            control.VGrp0DIE and not guest.VENG0,
            control.VGrp1EIE and guest.VENG1,
            control.VGrp1DIE and not guest.VENG1,
        )
        return sum(1 << n for n, reason in enumerate(reasons) if reason)

    # -- priorities. Spec: 6.3, as 4.8

    @property
    def _running(self) -> int:
        active = self._active[0] | self._active[1]
        return ((active & -active).bit_length() - 1) << 8 - PRIORITY_BITS if active else _IDLE

    def _group_priority(self, one: ICH_LR) -> int:
        guest = ICH_VMCR(self._vmcr)
        field = guest.VBPR0 + 1
        if one.Group and not guest.VCBPR:
            field = guest.VBPR1
        return one.Priority & ~0 << field

    def _candidate(self) -> int | None:
        """The list register that comes first among those that wait and are enabled."""
        if not self._hcr & 1:
            return None
        enabled = self._vmcr & 3
        waiting = [
            (ICH_LR(one).Priority, n)
            for n, one in enumerate(self._lists)
            if one & _STATE == _PENDING and enabled >> ICH_LR(one).Group & 1
        ]
        return min(waiting)[1] if waiting else None

    def _signalled(self) -> int | None:
        """That one, if it may preempt what the guest is doing."""
        n = self._candidate()
        if n is None:
            return None
        one = ICH_LR(self._lists[n])
        if one.Priority >= ICH_VMCR(self._vmcr).VPMR:
            return None
        return n if self._group_priority(one) < self._running else None

    def update(self) -> None:
        """Drive the wires as the state asks for."""
        n = self._signalled()
        group = None if n is None else ICH_LR(self._lists[n]).Group
        self.virq.set(group == 1)
        self.vfiq.set(group == 0)
        self.maintenance.set(bool(self._hcr & 1 and self._reasons()))

    # -- the guest takes and ends them

    def _shower(self, group: int) -> Callable[[], int]:
        def show() -> int:
            n = self._candidate()
            one = None if n is None else ICH_LR(self._lists[n])
            return SPURIOUS if one is None or one.Group != group else one.vINTID

        return show

    def _taker(self, group: int) -> Callable[[], int]:
        def take() -> int:
            n = self._signalled()
            one = None if n is None else ICH_LR(self._lists[n])
            if n is None or one is None or one.Group != group or one.vINTID in SPECIAL:
                return SPURIOUS
            self._active[group] |= 1 << (self._group_priority(one) >> 8 - PRIORITY_BITS)
            active = 0 if one.vINTID >= FIRST_LPI else _ACTIVE
            self._lists[n] = one.value & ~_PENDING | active
            self.update()
            return one.vINTID

        return take

    def _find_active(self, number: int) -> int | None:
        for n, one in enumerate(self._lists):
            if one & _ACTIVE and ICH_LR(one).vINTID == number:
                return n
        return None

    def _ender(self, group: int) -> Callable[[int], None]:
        def end(value: int) -> None:
            """Drop the running priority; deactivate as well unless VEOIM splits that."""
            number, running = value & _ID_MASK, self._running
            if number in SPECIAL or running == _IDLE:
                return
            lowest = (self._active[0] | self._active[1]) & -(self._active[0] | self._active[1])
            self._active = [word & ~lowest for word in self._active]
            if number >= FIRST_LPI or ICH_VMCR(self._vmcr).VEOIM:
                return
            n = self._find_active(number)
            if n is None:
                self._count_end()
                return
            one = ICH_LR(self._lists[n])
            if one.Group == group and self._group_priority(one) == running:
                self._deactivate(n)

        return end

    def _end_split(self, value: int) -> None:
        """ICV_DIR_EL1; without VEOIM it is UNPREDICTABLE, here ignored."""
        number = value & _ID_MASK
        if number in SPECIAL or number >= FIRST_LPI or not ICH_VMCR(self._vmcr).VEOIM:
            return
        n = self._find_active(number)
        if n is None:
            self._count_end()
        else:
            self._deactivate(n)

    def _count_end(self) -> None:
        """An interrupt ended that is in no list register."""
        count = ICH_HCR(self._hcr).EOIcount + 1 & 0x1F
        self._hcr = self._hcr & ~_EOI_COUNT | count << 27

    def _deactivate(self, n: int) -> None:
        one = ICH_LR(self._lists[n])
        self._lists[n] = one.value & ~_ACTIVE
        if one.HW:
            self.deactivate(one.pINTID)
