# SPDX-License-Identifier: GPL-2.0-or-later
"""An AArch64 core at EL1, executed by Unicorn, whose time is virtual and whose runs repeat exactly.

Reference: Arm DDI 0487 (D1 exceptions, D8 address translation, D12 generic timer).
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.clock import Clock
from smmu_emu.cpu.exit import ExitInfo
from smmu_emu.interrupt import InterruptLine
from smmu_emu.memory import PhysicalMemory


class Aarch64Core:
    """One core on a memory map that is complete: add RAM and windows before making it.

    The core starts in EL1h, non-secure, MMU off, as firmware or PSCI would enter an image.

    ``console`` takes what the guest prints through semihosting. ``unmodelled`` is told, once a
    site, of system registers the guest touched that nobody models: ``(what, pc)``.

    Raises: ConfigurationError for a model that does not exist.
    """

    irq: InterruptLine
    """The IRQ input, a level: the interrupt controller drives it."""
    physical_timer: InterruptLine
    """EL1 physical timer's output, a level (PPI 30 on boards of Arm's kind): set its ``sink``."""
    virtual_timer: InterruptLine
    """EL1 virtual timer's output, a level (PPI 27): set its ``sink``."""

    def __init__(
        self,
        memory: PhysicalMemory,
        clock: Clock,
        model: str = "cortex-a57",
        *,
        ns_per_instruction: int = 1,
        console: Callable[[bytes], None] | None = None,
        command_line: str = "",
        unmodelled: Callable[[str, int], None] | None = None,
    ) -> None:
        raise NotImplementedError

    @property
    def pc(self) -> int:
        """Address of the instruction being executed: exact inside device callbacks too."""
        raise NotImplementedError

    @property
    def instructions(self) -> int:
        """Instructions begun since reset, those included that ended in an exception."""
        raise NotImplementedError

    def reset(self, entry: int, *, el: int = 1, x0: int = 0) -> None:
        """Put the core in its reset state, about to execute ``entry`` with ``x0`` in X0."""
        raise NotImplementedError

    def run(self, max_instructions: int | None = None) -> ExitInfo:
        """Execute until something ends the run; an exception raised by a device comes out here."""
        raise NotImplementedError

    def request_exit(self, reason: str, status: int = 0) -> None:
        """End the run right after the current instruction. For devices, timers and tests."""
        raise NotImplementedError

    def x(self, n: int) -> int:
        """Register Xn (0 to 30)."""
        raise NotImplementedError

    def set_x(self, n: int, value: int) -> None:
        """Write register Xn (0 to 30)."""
        raise NotImplementedError

    def read(self, name: str) -> int:
        """A register by its architectural name: "PC", "SP", "X3", "PSTATE", "VBAR_EL1" ..."""
        raise NotImplementedError

    def write(self, name: str, value: int) -> None:
        """Write a register by its architectural name."""
        raise NotImplementedError

    def translate(self, va: int) -> int | None:
        """Physical address of ``va`` for the core as it stands now; None where it would fault."""
        raise NotImplementedError

    def read_virtual(self, va: int, size: int) -> bytes | None:
        """``size`` bytes of RAM at virtual address ``va``; None where not all of it is RAM."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the memory's code watch back and free the engine."""
        raise NotImplementedError
