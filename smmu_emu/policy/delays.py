# SPDX-License-Identifier: GPL-2.0-or-later
"""What comes later than it was asked for.

Spec: IHI 0070 4.1.4 and 4.8 (consumption of an invalidation promises nothing), 4.7.3 (CMD_SYNC
does), 6.3.9, 6.3.14, 6.3.16 (Update and acknowledge). Commands are consumed in order; their effects
come in any order, before the next CMD_SYNC completes or by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from smmu_emu.clock import Appointment
from smmu_emu.policy.base import Effect, Policy
from smmu_emu.smmuv3.device import Smmuv3


class LateCommands(Policy):
    """A few commands at a time, some time after the doorbell."""

    name = "late-commands"
    summary = "consume commands late, a few at a time, in order"

    def __init__(self, smmu: Smmuv3, random: Random) -> None:
        super().__init__(smmu, random)
        self.waiting = False

    def install(self) -> None:
        """Let doorbells ring later."""
        self.stand_before(self.smmu.commands, "run", self._run)

    def reset(self) -> None:
        """No command is under way."""
        self.waiting = False

    def _run(self, run: Callable[[int | None], None]) -> Callable[..., None]:
        commands, queue = self.smmu.commands, self.smmu.commands.queue

        def go_on() -> None:
            self.waiting = False
            before = queue.cons
            run(self.random.randint(1, 4))
            if queue.cons != before:
                late()

        def late(most: int | None = None) -> None:
            if not self.waiting and commands.ready():
                self.waiting = True
                self.smmu.clock.after(self.lateness(), go_on)

        return late


class LateEffects(Policy):
    """Commands are consumed, and what they invalidate lives on until CMD_SYNC."""

    name = "late-effects"
    summary = "let invalidations take effect late and in any order, up to the CMD_SYNC"

    def __init__(self, smmu: Smmuv3, random: Random) -> None:
        super().__init__(smmu, random)
        self.pending: list[tuple[Effect, Appointment]] = []
        self._carry_out: Callable[[Effect], None] = smmu.commands.carry_out

    def install(self) -> None:
        """Put effects off, and make up for it before CMD_SYNC."""
        self.stand_before(self.smmu.commands, "carry_out", self._put_off)
        self.stand_before(self.smmu.commands, "sync_waits", self._sync_waits)

    def remove(self) -> None:
        """What was put off is done now."""
        self._settle()
        super().remove()

    def reset(self) -> None:
        """Nothing is left to be done."""
        for _, appointment in self.pending:
            appointment.cancel()
        self.pending.clear()

    def _put_off(self, carry_out: Callable[[Effect], None]) -> Callable[[Effect], None]:
        self._carry_out = carry_out
        return self._later

    def _later(self, effect: Effect) -> None:
        def due() -> None:
            self.pending = [pair for pair in self.pending if pair[0] is not effect]
            self._carry_out(effect)

        self.pending.append((effect, self.smmu.clock.after(4 * self.lateness(), due)))

    def _sync_waits(self, waits: Callable[[], bool]) -> Callable[[], bool]:
        def settled() -> bool:
            self._settle()
            return waits()

        return settled

    def _settle(self) -> None:
        pairs, self.pending = self.pending, []
        self.random.shuffle(pairs)
        for effect, appointment in pairs:
            appointment.cancel()
            self._carry_out(effect)


class LateAcknowledges(Policy):
    """CR0ACK, IRQ_CTRLACK and GBPA.Update take their time."""

    name = "late-acks"
    summary = "acknowledge CR0, IRQ_CTRL and GBPA.Update late"

    def install(self) -> None:
        """Let updates complete later."""
        self.stand_before(self.smmu, "acknowledge", self._acknowledge)

    def _acknowledge(self, _: Callable[[Effect], None]) -> Callable[[Effect], None]:
        def late(complete: Effect) -> None:
            self.smmu.clock.after(self.lateness(), complete)

        return late
