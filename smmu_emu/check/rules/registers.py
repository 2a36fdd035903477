# SPDX-License-Identifier: GPL-2.0-or-later
"""forbidden-register-write: a register changed while what it describes was enabled."""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.check.findings import ERROR, Found, Kind, story_of
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.spec.registers import CR0, CR1, GBPA, IRQ_CTRL, REGISTERS
from smmu_emu.trace.events import RegisterAccess

KIND = Kind(
    "forbidden-register-write",
    ERROR,
    "software wrote a register that must not change now",
    "IHI 0070 6.2, 6.3.9, 6.3.11, 6.3.12, 6.3.14, 6.3.16, 6.3.24 to 6.3.36: such a write is "
    "ignored, or leaves anything behind in versions before 3.2",
    "disable first, and wait for the acknowledge (CR0ACK, IRQ_CTRLACK); then write; then enable",
)

_SMMUEN, _CMDQEN, _EVENTQEN, _PRIQEN = (
    CR0.mask(name) for name in ("SMMUEN", "CMDQEN", "EVENTQEN", "PRIQEN")
)
_QUEUES = _CMDQEN | _EVENTQEN | _PRIQEN
_GUARDS = {
    "STRTAB_BASE": _SMMUEN,
    "STRTAB_BASE_CFG": _SMMUEN,
    "CR2": _SMMUEN,
    "CMDQ_BASE": _CMDQEN,
    "CMDQ_CONS": _CMDQEN,
    "EVENTQ_BASE": _EVENTQEN,
    "EVENTQ_PROD": _EVENTQEN,
    "PRIQ_BASE": _PRIQEN,
    "PRIQ_PROD": _PRIQEN,
}
"""Enables in CR0 that forbid changes."""
_CR1_TABLES = CR1.mask("TABLE_SH", "TABLE_OC", "TABLE_IC")
_CR1_QUEUES = CR1.mask("QUEUE_SH", "QUEUE_OC", "QUEUE_IC")
_MESSAGES = {
    f"{source}_IRQ_CFG{number}": IRQ_CTRL.mask(f"{source}_IRQEN")
    for source in ("GERROR", "EVENTQ", "PRIQ")
    for number in range(3)
}
_GUARDED = frozenset({*_GUARDS, *_MESSAGES, "CR1"})
_UPDATE = GBPA.mask("Update")


class ForbiddenWrites:
    """Looks at every register write before it takes effect."""

    kind = KIND

    def __init__(self, smmu: Smmuv3, report: Callable[[Found], None]) -> None:
        self._smmu = smmu
        self._report = report
        self._unacknowledged: dict[str, tuple[RegisterAccess, int]] = {}

    def register(self, event: RegisterAccess) -> None:
        """A register was read, or is about to be written."""
        if not event.write:
            self._unacknowledged.pop(event.name, None)
            return
        values = self._smmu.registers.values
        if event.name == "CR0":
            self._unacknowledged["CR0ACK"] = (event, values["CR0"] ^ event.value)
        elif event.name == "IRQ_CTRL":
            self._unacknowledged["IRQ_CTRLACK"] = (event, values["IRQ_CTRL"] ^ event.value)
        elif event.name == "GBPA":
            self._check_gbpa(event, values["GBPA"])
        elif event.name in _GUARDED:
            self._check_guard(event)

    def _check_guard(self, event: RegisterAccess) -> None:
        values = self._smmu.registers.values
        acknowledge, enables = "CR0ACK", values["CR0"] | values["CR0ACK"]
        guard = _GUARDS.get(event.name, 0)
        if event.name in _MESSAGES:
            acknowledge = "IRQ_CTRLACK"
            enables = values["IRQ_CTRL"] | values["IRQ_CTRLACK"]
            guard = _MESSAGES[event.name]
        changed = self._changed(event)
        if event.name == "CR1":
            guard = _SMMUEN * bool(changed & _CR1_TABLES) | _QUEUES * bool(changed & _CR1_QUEUES)
        if not guard or not changed:
            return
        register = acknowledge.removesuffix("ACK")
        if enables & guard:
            names = _names(register, enables & guard)
            self._tell(event, f"{event.name} was written while {names} was 1")
            return
        pending = self._unacknowledged.get(acknowledge)
        if pending is not None and pending[1] & guard:
            text = f"{event.name} was written before {acknowledge} was looked at"
            self._tell(event, text, pending[0])

    def _changed(self, event: RegisterAccess) -> int:
        """Bits of the whole register that a write would change."""
        register = REGISTERS[event.name]
        shift = 8 * (event.offset - register.offset)
        mask = (1 << 8 * event.size) - 1
        return ((self._smmu.registers.values[event.name] >> shift ^ event.value) & mask) << shift

    def _check_gbpa(self, event: RegisterAccess, before: int) -> None:
        if not event.value & _UPDATE:
            self._tell(event, "GBPA was written without Update, which is ignored")
        elif before & _UPDATE:
            self._tell(event, "GBPA was written while its last Update was still under way")
        elif (last := self._unacknowledged.get("GBPA")) is not None:
            self._tell(event, "GBPA was written before its last Update was looked at", last[0])
        self._unacknowledged["GBPA"] = (event, 0)

    def _tell(self, event: RegisterAccess, text: str, before: RegisterAccess | None = None) -> None:
        self._report(Found(KIND, event.unit, text, story_of(before, event)))


def _names(register: str, bits: int) -> str:
    layout = CR0 if register == "CR0" else IRQ_CTRL
    names = [name for name in layout.FIELDS if layout.mask(name) & bits]
    return f"{register}.{' and '.join(names)}"
