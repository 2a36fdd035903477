# SPDX-License-Identifier: GPL-2.0-or-later
"""DMA that is under way: translated now, in memory later.

Spec: IHI 0070 3.21.1 and 3.21.3 (an invalidation is complete when transactions that used what it
targets are visible), 4.7.3 (CMD_SYNC waits for that). CMD_SYNC waits for no other transaction. Only
masters that can wait are late, as they alone can be told later that they are done.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from smmu_emu.clock import Appointment
from smmu_emu.policy.base import Effect, Policy
from smmu_emu.smmuv3.context import Context, Tag
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.stall import WITHOUT_TAG, Answer
from smmu_emu.smmuv3.translate import untagged
from smmu_emu.tlb import InvalidateScope
from smmu_emu.transaction import Fault, Transaction, Translation

Submit = Callable[[Transaction, Answer], "Translation | Fault"]


class _Flight:
    """A transaction under way. ``tags`` are those under which its translation may be cached (None:
    not known any more); ``awaited`` says that CMD_SYNC has to wait for it."""

    __slots__ = ("appointment", "awaited", "first", "last", "stream_id", "tags")

    def __init__(
        self, transaction: Transaction, translation: Translation, context: Context | None
    ) -> None:
        iova = transaction.iova
        if context is not None and context.tbi:
            iova = untagged(iova, context.tbi)
        inside = (1 << translation.size_lg2) - 1
        self.first, self.last = iova & ~inside, iova | inside
        self.stream_id = transaction.stream_id
        self.tags = _tags(context)
        self.awaited = False
        self.appointment: Appointment | None = None


def _tags(context: Context | None) -> tuple[object, ...] | None:
    if context is None:
        return None
    if context.stage1 is not None:
        return context.stage1.own.tag, context.stage1.shared.tag
    return () if context.stage2 is None else (context.stage2.space.tag,)


class LateDma(Policy):
    """The data of a transaction moves some time after its translation."""

    name = "late-dma"
    summary = "let DMA of masters that can wait reach memory some time after its translation"

    def __init__(self, smmu: Smmuv3, random: Random) -> None:
        super().__init__(smmu, random)
        self.flights: list[_Flight] = []
        self._invalidating = False

    def install(self) -> None:
        """Answer late; find out what CMD_SYNC has to wait for."""
        commands, configuration = self.smmu.commands, self.smmu.configuration
        self.stand_before(self.smmu, "submit", self._submit)
        self.stand_before(commands, "carry_out", self._carry_out)
        self.stand_before(commands, "forget", self._forget)
        self.stand_before(configuration, "drop_ste", self._drop)
        self.stand_before(configuration, "drop_cds", self._drop)
        self.stand_before(configuration, "drop_cd", self._drop)
        self.stand_before(commands, "sync_waits", self._sync_waits)

    def remove(self) -> None:
        """What is under way lands now."""
        for flight in list(self.flights):
            if flight.appointment is not None and flight.appointment.action is not None:
                action = flight.appointment.action
                flight.appointment.cancel()
                action()
        super().remove()

    def reset(self) -> None:
        """What is under way is lost."""
        for flight in self.flights:
            if flight.appointment is not None:
                flight.appointment.cancel()
        self.flights.clear()

    def _submit(self, submit: Submit) -> Submit:
        def late(transaction: Transaction, answer: Answer) -> Translation | Fault:
            result = submit(transaction, answer)
            if isinstance(result, Fault):
                return result
            context = self.smmu.path.context_of(transaction)
            flight = _Flight(transaction, result, context)

            def land() -> None:
                self.flights.remove(flight)
                answer(result)
                if flight.awaited:
                    self.smmu.commands.run()

            self.flights.append(flight)
            flight.appointment = self.smmu.clock.after(2 * self.lateness(), land)
            return Fault(0, transaction, recorded=False, reason="under way", stag=WITHOUT_TAG)

        return late

    # -- what invalidations target

    def _carry_out(self, carry_out: Callable[[Effect], None]) -> Callable[[Effect], None]:
        def noted(effect: Effect) -> None:
            self._invalidating = True
            try:
                carry_out(effect)
            finally:
                self._invalidating = False

        return noted

    def _forget(self, forget: Callable[..., None]) -> Callable[..., None]:
        def noted(
            matches: Callable[[Tag], bool], scope: InvalidateScope | None, leaf: bool
        ) -> None:
            for flight in self.flights:
                if _targets(flight, matches, scope):
                    flight.awaited = True
            forget(matches, scope, leaf)

        return noted

    def _drop(self, drop: Callable[..., None]) -> Callable[..., None]:
        def noted(stream_id: int, *rest: int, **how: bool) -> None:
            if self._invalidating:
                for flight in self.flights:
                    if flight.stream_id == stream_id:
                        flight.awaited = True
            drop(stream_id, *rest, **how)

        return noted

    def _sync_waits(self, waits: Callable[[], bool]) -> Callable[[], bool]:
        def longer() -> bool:
            return waits() or any(flight.awaited for flight in self.flights)

        return longer


def _targets(
    flight: _Flight, matches: Callable[[Tag], bool], scope: InvalidateScope | None
) -> bool:
    """Whether an invalidation may be for what a transaction used. TG and TTL could only spare it
    the waiting."""
    if flight.tags is None:
        return True
    if not any(isinstance(tag, Tag) and matches(tag) for tag in flight.tags):
        return False
    return scope is None or (flight.first <= scope.last and scope.first <= flight.last)
