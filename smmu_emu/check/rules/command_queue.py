# SPDX-License-Identifier: GPL-2.0-or-later
"""Mistakes with the Command queue's indexes, slots and errors.

Spec: IHI 0070 3.5.1 (indexes, who owns which slots), 4.1, 6.3.27, 6.3.28, 7.1 (command errors).
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.check.findings import ERROR, Found, Kind, story_of
from smmu_emu.check.peek import Peek
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.spec.command import COMMAND_SIZE, Opcode
from smmu_emu.smmuv3.spec.registers import CR0
from smmu_emu.trace.events import Command, RegisterAccess

OVERRUN = Kind(
    "command-queue-overrun",
    ERROR,
    "CMDQ_PROD moved over commands that the SMMU had not consumed, or backwards",
    "IHI 0070 3.5.1, 6.3.27: between CONS and PROD there are never more commands than the queue "
    "has slots; the wrap bit toggles with every passage over its end",
    "read CMDQ_CONS before filling slots; count indexes with one bit more than the queue has, and "
    "mask only the slot number",
)
LATE = Kind(
    "command-after-doorbell",
    ERROR,
    "a command's slot was written after CMDQ_PROD had given it to the SMMU",
    "IHI 0070 3.5.1, 3.21.2: slots between CONS and PROD belong to the SMMU, which may read them "
    "at any time",
    "write the whole command, then a barrier (DMB or stronger), then CMDQ_PROD",
)
REPEATED = Kind(
    "command-error-repeated",
    ERROR,
    "a command error was acknowledged with the bad command still in the queue",
    "IHI 0070 7.1: after CMDQ_ERR is acknowledged the SMMU fetches the command at CONS again",
    "replace the command at CMDQ_CONS.RD by a harmless one (CMD_SYNC) first, then toggle "
    "GERRORN.CMDQ_ERR",
)
KINDS = (OVERRUN, LATE, REPEATED)
_CMDQEN = CR0.mask("CMDQEN")
_MOST = 64


class CommandQueueUse:
    """Looks at doorbells and commands."""

    def __init__(self, smmu: Smmuv3, peek: Peek, report: Callable[[Found], None]) -> None:
        self._smmu = smmu
        self._peek = peek
        self._report = report
        self._consumed: dict[int, Command] = {}
        self._failed: Command | None = None
        self._acknowledged = False

    def register(self, event: RegisterAccess) -> None:
        """The doorbell rings; nothing has been consumed of it yet."""
        if event.name == "GERRORN" and event.write:
            self._acknowledged = True
        if event.name != "CMDQ_PROD" or not event.write:
            return
        values, queue = self._smmu.registers.values, self._smmu.commands.queue
        if not values["CR0"] & _CMDQEN:
            self._consumed.clear()
            return
        mask, size = queue.index_mask, 1 << queue.size_lg2
        cons, before, after = queue.cons, queue.prod, event.value & mask
        ahead = after - cons & mask
        if after == before:
            self._check_refused(event)
        if ahead > size or ahead < (before - cons & mask):
            text = (
                f"CMDQ_PROD went from {before:#x} to {after:#x} with CMDQ_CONS at {cons:#x}, "
                f"in a queue of {size} commands"
            )
            self._report(Found(OVERRUN, event.unit, text, story_of(event)))
        self._check_slots(event, {at & size - 1 for at in range(before, before + ahead)})

    def _check_refused(self, event: RegisterAccess) -> None:
        """The doorbell rings again, and the command that was refused has changed meanwhile."""
        failed = self._failed
        if (
            failed is not None
            and not self._acknowledged
            and self._peek.read(failed.pa, COMMAND_SIZE) != failed.data
        ):
            text = (
                f"the command in slot {failed.slot} was fetched, and refused, before it was written"
            )
            self._report(Found(LATE, event.unit, text, story_of(failed, event)))

    def _check_slots(self, event: RegisterAccess, given: set[int]) -> None:
        """Slots that were given to the SMMU before, and not again now, must be as they were."""
        for slot, command in tuple(self._consumed.items()):
            if slot in given:
                continue
            if self._peek.read(command.pa, COMMAND_SIZE) != command.data:
                text = (
                    f"{command.name or 'the command'} in slot {slot} was written, or changed, "
                    "after the doorbell"
                )
                self._report(Found(LATE, event.unit, text, story_of(command, event)))
        self._consumed.clear()

    def command(self, event: Command) -> None:
        """A command was consumed, or refused."""
        if not event.data:
            return
        opcode = event.data[0]
        if event.error == "CERROR_ILL":
            failed = self._failed
            if failed is not None and (failed.slot, failed.data) == (event.slot, event.data):
                text = f"slot {event.slot} was fetched again after the acknowledge, and unchanged"
                self._report(Found(REPEATED, event.unit, text, story_of(failed, event)))
            self._failed, self._acknowledged = event, False
            return
        self._failed = None
        if len(self._consumed) < _MOST and not (
            opcode == Opcode.SYNC and event.data[8:16].strip(b"\0")
        ):
            self._consumed[event.slot] = event
