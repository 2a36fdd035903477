# SPDX-License-Identifier: GPL-2.0-or-later
"""System registers of a core that a device has: the words that travel between the two."""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

SystemRegister = tuple[int, int, int, int, int]
"""A system register's encoding: op0, op1, CRn, CRm, op2."""


class Outcome(Enum):
    """What becomes of an access, where that is no value."""

    DONE = auto()
    UNDEFINED = auto()
    ABSENT = auto()
    """Undefined, because the device does not know such a register."""
    TRAPPED = auto()
    """The hypervisor wants to know of it: an exception to EL2."""


class SystemDevice(Protocol):
    """A device that has system registers.

    ``level`` is the exception level of the access, ``hcr`` is HCR_EL2.
    """

    def read_system(self, register: SystemRegister, level: int, hcr: int) -> int | Outcome: ...

    def write_system(
        self, register: SystemRegister, level: int, hcr: int, value: int
    ) -> Outcome: ...
