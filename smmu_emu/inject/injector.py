# SPDX-License-Identifier: GPL-2.0-or-later
"""Injects a plan into a machine, and takes it out again.

    with Injector(machine, plan) as injector:
        machine.run()
    injector.report().valid

While a plan is in, functions stand before those of the ports, wires and so on that its faults aim
at, and at nothing else (`smmu_emu.interpose`, nearest to the devices). The same machine, plan and
image give the same firings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smmu_emu.errors import ConfigurationError
from smmu_emu.inject.armed import Access, Armed, Surroundings
from smmu_emu.inject.plan import Injection, Plan
from smmu_emu.inject.report import MOST, Firing, InjectionReport, Unfired
from smmu_emu.inject.sites import SITES
from smmu_emu.interpose import Interposition, Layer, Wrap, interpose, original

if TYPE_CHECKING:
    from smmu_emu.machine import Machine
    from smmu_emu.smmuv3.device import Smmuv3
    from smmu_emu.trace.symbols import SymbolTable
    from smmu_emu.trace.tracer import Tracer
    from smmu_emu.transaction import Transaction

Listener = Callable[[Firing], None]


class Injector:
    """One plan in one machine; ``listeners`` hear of every firing.

    ``image`` is where the names of functions come from, for faults that are aimed by one.

    Raises: ConfigurationError if the machine has no SMMU.
    """

    def __init__(self, machine: Machine, plan: Plan, image: Path | None = None) -> None:
        self.machine = machine
        self.plan = plan
        self.smmu: Smmuv3 = machine.smmu
        self.listeners: list[Listener] = []
        self.firings: list[Firing] = []
        self.current: Transaction | None = None
        """The transaction or request that the SMMU serves right now."""
        self._image = image
        self._symbols: SymbolTable | None = None
        self._number = 0
        self._acting = False
        around = Surroundings(
            lambda: machine.clock.now, self.pc, self._symbol_at, lambda name: self.has_fired(name)
        )
        self.armed = [Armed(fault, plan.seed, around) for fault in plan.faults]
        self._by_name = {one.fault.name: one for one in self.armed}
        self._at: dict[str, list[Armed]] = {}
        self._resting: dict[str, list[Armed]] = {}
        for one in self.armed:
            table = self._resting if SITES[one.fault.site].at_rest else self._at
            table.setdefault(one.fault.trigger, []).append(one)
        self._places: list[Interposition] = []
        self.installed = False
        self.overtaken: list[Callable[[], None]] = []
        """Interrupts that wait for the next one to pass."""

    # -- in and out

    def install(self) -> None:
        """Put the faults in. Harmless when done already."""
        from smmu_emu.inject import commands, ports, registers, requests, signals, timed

        if self.installed:
            return
        self.installed = True
        for room in (ports, commands, registers, requests, signals, timed):
            room.install(self)

    def remove(self) -> None:
        """Take the faults out: the machine is as it was, but for what they have done."""
        self.installed = False
        for place in self._places:
            place.remove()
        self._places.clear()

    def __enter__(self) -> Injector:
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    # -- for the rooms that stand before functions

    def wants(self, *sites: str) -> bool:
        """Whether some fault looks at one of these sites."""
        return any(site in self._at or site in self._resting for site in sites)

    @property
    def wants_streams(self) -> bool:
        """Whether it matters which transaction is behind an access of the SMMU."""
        return any(
            one.fault.trigger in _INNER and SITES[one.fault.site].name in _INNER
            for one in self.armed
        )

    def stand_before(self, owner: object, name: str, wrap: Wrap) -> None:
        """Put a function before another until `remove`."""
        self._places.append(interpose(owner, name, wrap, Layer.INJECT))

    def struck(self, access: Access) -> Iterator[Armed]:
        """The faults that strike an access, one after another, in the order of the plan."""
        for one in self._at.get(access.site, ()):
            if one.hits(access):
                yield one

    def let_rest(self, access: Access, only: Armed | None = None) -> None:
        """Something is about to begin: now structures change and devices act of their own."""
        resting = self._resting.get(access.site) if only is None else [only]
        if not resting or self._acting:
            return
        from smmu_emu.inject.edits import act

        self._acting = True
        try:
            for one in resting:
                if one.hits(access):
                    act(self, one, access)
        finally:
            self._acting = False

    @property
    def timed(self) -> list[Armed]:
        """The faults at rest that wait for a time alone."""
        return self._resting.get("time", [])

    def later(self, delay: int, action: Callable[[], None]) -> None:
        """Do something in ``delay`` nanoseconds; faults of the clock do not reach it."""
        original(self.machine.clock, "after")(delay, action)

    @contextmanager
    def serving(self, incoming: Any) -> Iterator[None]:
        """While this lasts, what the SMMU does is for that transaction or request."""
        outer, self.current = self.current, incoming
        try:
            yield
        finally:
            self.current = outer

    # -- what happened

    def tell(
        self,
        one: Armed,
        access: Access | str,
        before: bytes | None = None,
        after: bytes | None = None,
        note: str = "",
    ) -> None:
        """Write down that a fault struck, and tell who listens."""
        fault: Injection = one.fault
        self._number += 1
        if len(self.firings) >= MOST and not self.listeners:
            return
        firing = Firing(
            self._number,
            fault.name,
            fault.site,
            fault.effect.kind,
            self.machine.clock.now,
            self.pc(),
            str(access),
            before,
            after,
            note,
        )
        if len(self.firings) < MOST:
            self.firings.append(firing)
        for listener in self.listeners:
            listener(firing)

    def trace_to(self, tracer: Tracer) -> None:
        """Tell a tracer of every firing, as an event of kind "injected"."""
        from smmu_emu.trace.events import Injected

        def listener(firing: Firing) -> None:
            unit, text = self.smmu.name, firing.text
            tracer.add(Injected(0, 0, unit, 0, firing.name, firing.site, firing.effect, text))

        self.listeners.append(listener)

    def has_fired(self, name: str) -> bool:
        """Whether the fault with this name has struck.

        Raises: ConfigurationError if the plan has none.
        """
        if name not in self._by_name:
            raise ConfigurationError(f"the plan has no fault {name!r}")
        return self._by_name[name].fired > 0

    def report(self) -> InjectionReport:
        """What was injected so far."""
        return InjectionReport(
            list(self.firings),
            {one.fault.name: one.fired for one in self.armed},
            [Unfired(one.fault.name, one.closest()) for one in self.armed if not one.fired],
        )

    # -- surroundings

    def pc(self) -> int | None:
        """The core's program counter while a run is under way."""
        core = self.machine.running_core
        return None if core is None else core.pc

    def _symbol_at(self, pc: int) -> str | None:
        if self._symbols is None:
            self._symbols = _symbols_of(self._image)
        return self._symbols.find(pc).symbol


@lru_cache(maxsize=4)
def _symbols_of(image: Path | None) -> SymbolTable:
    """Campaigns inject into the same image very often."""
    from smmu_emu.trace.symbols import SymbolTable

    return SymbolTable(image)


_INNER = ("walk-read", "walk-write", "config-fetch", "event-write")
"""Sites inside of the SMMU's service of a transaction."""
