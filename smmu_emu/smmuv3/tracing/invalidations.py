# SPDX-License-Identifier: GPL-2.0-or-later
"""TLB invalidations under trace, when they take effect: what went, what stayed and why.

Spec: IHI 0070 4.4. A command is one event whatever caches it reaches; so is whoever calls
`Tlb.invalidate` himself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from smmu_emu.interpose import Wrap
from smmu_emu.smmuv3.tracing.survivors import Reach, pointers_left, reach_of, survivors
from smmu_emu.tlb import InvalidateScope
from smmu_emu.trace.events import Invalidation

if TYPE_CHECKING:
    from smmu_emu.smmuv3.tracing.caches import CacheTracing
    from smmu_emu.smmuv3.tracing.unit import Place, UnitTracing

MOST_LEFT = 64
"""Entries that an `Invalidation` names of those it left."""


class InvalidationTracing:
    """Tells of one SMMU's TLB invalidations."""

    unsaved = ("unit", "_removed")

    def __init__(self, unit: UnitTracing) -> None:
        self.unit = unit
        self._removed: list[int] | None = None

    def places(self) -> Iterator[Place]:
        unit = self.unit
        if unit.tracer.wants("evict", "invalidation"):
            yield unit.smmu.commands, "forget", self._forget
            for cache in (unit.caches, unit.pointers):
                yield cache.tlb, "invalidate", self._invalidate(cache)

    def note(self, number: int) -> bool:
        """An entry goes: whether that is an invalidation's doing."""
        if self._removed is None:
            return False
        self._removed.append(number)
        return True

    def _forget(self, forget: Callable[..., None]) -> Callable[..., None]:
        def observed(matches: object, scope: InvalidateScope | None, leaf: bool) -> None:
            self._carry_out(lambda: forget(matches, scope, leaf), scope, leaf=leaf)

        return observed

    def _invalidate(self, cache: CacheTracing) -> Wrap:
        def wrap(invalidate: Callable[..., Any]) -> Callable[..., Any]:
            def observed(spaces: Any, scope: InvalidateScope | None = None) -> Any:
                if self._removed is not None or cache.clearing:
                    return invalidate(spaces, scope)
                return self._carry_out(lambda: invalidate(spaces, scope), scope, leaf=False)

            return observed

        return wrap

    def _carry_out(
        self, effect: Callable[[], Any], scope: InvalidateScope | None, *, leaf: bool
    ) -> Any:
        unit = self.unit
        command = unit.control.begin_effect()
        self._removed = []
        try:
            result = effect()
        finally:
            removed, self._removed = self._removed, None
        if unit.tracer.wants("invalidation"):
            reach = reach_of(unit.control.data, unit.smmu.commands.el2_world.name, scope, leaf)
            self._tell(command, reach, tuple(removed))
        return result

    def _tell(self, command: int, reach: Reach, removed: tuple[int, ...]) -> None:
        unit = self.unit
        first, last, granule_lg2, level = reach.scope or (None,) * 4
        unit.tracer.emit(
            Invalidation(
                *unit.head(),
                command,
                reach.name,
                reach.world,
                reach.vmid,
                reach.asid,
                first,
                last,
                granule_lg2,
                level,
                reach.leaf,
                removed,
                self._left(reach),
            )
        )

    def _left(self, reach: Reach) -> tuple[int | str, ...]:
        """Numbers of entries that stayed, each with its reason."""
        unit = self.unit
        left: list[int | str] = []
        for one, why in survivors(unit.smmu.tlb, reach):
            left += [unit.entries.get(one, 0), why]
            if len(left) == 2 * MOST_LEFT:
                return tuple(left)
        for pointer, why in pointers_left(unit.smmu.walk_cache, reach):
            left += [unit.entries.get(pointer, 0), why]
            if len(left) == 2 * MOST_LEFT:
                break
        return tuple(left)
