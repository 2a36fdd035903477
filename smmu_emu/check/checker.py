# SPDX-License-Identifier: GPL-2.0-or-later
"""The checker: listens to a trace of a machine, and tells of mistakes that its software makes.

    checker = Checker(machine)
    machine.run()
    for finding in checker.finish():
        print(finding)

It needs the events of one `Tracer` and the machine's memory, and watches no writes. What it finds
is in `Checker.findings`; occurrences of one kind that the same instruction caused are one finding
with a count. `finish` judges what is still pending; it may be called again later.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smmu_emu.check.findings import SEVERITIES, Found
from smmu_emu.check.report import Finding
from smmu_emu.check.unit import Handler, UnitCheck
from smmu_emu.machine import Machine
from smmu_emu.trace import events as trace_events
from smmu_emu.trace.events import Event, Note, Origin
from smmu_emu.trace.symbols import SymbolTable
from smmu_emu.trace.tracer import Tracer

if TYPE_CHECKING:
    from smmu_emu.inject.isolation import Isolation
    from smmu_emu.smmuv3.device import Smmuv3

NEEDED = frozenset(
    {
        *("config-fetch", "walk", "fill", "evict", "update", "access", "dma", "invalidation"),
        *("config-invalidation", "atc-invalidation", "sync", "command", "register", "record"),
        *("interrupt", "write", "mapping", "note"),
    }
)
"""Kinds of events that the checker looks at."""
MOST = 1000
"""Findings that are kept; more are counted."""
_SCTLR_C = 1 << 2


class Checker:
    """Checks ``subject`` from now on, until `close`.

    ``tracer`` is one that is there already; by default the checker has its own. ``image`` names
    instructions by its symbols. ``lazy`` is for drivers that defer invalidations on purpose.
    ``on_finding`` hears of every finding when it is made.
    """

    def __init__(
        self,
        subject: Machine | Smmuv3,
        *,
        tracer: Tracer | None = None,
        image: Path | None = None,
        lazy: bool = False,
        on_finding: Callable[[Finding], None] | None = None,
    ) -> None:
        self.machine = subject if isinstance(subject, Machine) else None
        self.findings: list[Finding] = []
        self.dropped = 0
        self.on_finding = on_finding
        self.origins: dict[int, Origin] = {}
        self._by_cause: dict[tuple[str, str, int], Finding] = {}
        self._isolation: Isolation | None = None
        self._owns_tracer = tracer is None
        if tracer is None:
            symbols = SymbolTable(image) if image is not None else None
            tracer = Tracer(subject, kinds=NEEDED, symbols=symbols)
        self.tracer = tracer
        self.units = {
            unit.name: UnitCheck(unit.smmu, self._found, self._core_caches, lazy=lazy)
            for unit in tracer.units
        }
        self._handlers: dict[str, dict[type[Event], list[Handler]]] = {
            name: unit.handlers for name, unit in self.units.items()
        }
        self._everywhere: dict[type[Event], list[Handler]] = {}
        for unit in self.units.values():
            for kind, handlers in unit.handlers.items():
                self._everywhere.setdefault(kind, []).extend(handlers)
        tracer.listen(self._take, kinds=NEEDED)

    def close(self) -> None:
        """Look no more; what was found stays."""
        self.tracer.forget(self._take)
        if self._owns_tracer:
            self.tracer.close()
        if self._isolation is not None:
            self._isolation.remove()

    def __enter__(self) -> Checker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def finish(self) -> list[Finding]:
        """Judge what is pending as though the run ended here; everything found so far."""
        now = self.tracer.clock.now
        end = Note(self.tracer.next(), now, "machine", 0, "end", "the run ended")
        for unit in self.units.values():
            unit.end(end)
        return self.findings

    def worst(self) -> str:
        """The worst severity among what was found; empty if nothing was."""
        found = {finding.severity for finding in self.findings}
        return next((severity for severity in SEVERITIES if severity in found), "")

    # -- what is allowed

    @property
    def isolation(self) -> Isolation:
        """The judgement of where DMA lands; it begins with the first use of this.

        Raises: ConfigurationError if the checker's subject is no machine.
        """
        if self._isolation is None:
            from smmu_emu.errors import ConfigurationError
            from smmu_emu.inject.isolation import Isolation

            if self.machine is None:
                raise ConfigurationError("isolation is checked of machines: give Checker one")
            self._isolation = Isolation(self.machine)
            name, unit = next(iter(self.units.items()))
            self._isolation.listeners.append(unit.isolation.breached)
            self._isolation.mappings.trace_to(self.tracer, name)
            self._isolation.install()
        return self._isolation

    def follow(self, driver: object) -> None:
        """Take a reference driver's word for what streams may reach, from now on.

        What it unmaps must be gone when its ``unmap`` returns.
        """
        self.isolation.mappings.listen_to(driver)

    # -- events

    def _take(self, event: Event) -> None:
        handlers = self._handlers.get(event.unit, self._everywhere)
        for handler in handlers.get(type(event), ()):
            handler(event)
        if type(event) is Origin:
            self.origins[event.seq] = event

    def _core_caches(self) -> bool:
        """Whether the core's MMU and data cache are on."""
        core = self.machine.running_core if self.machine is not None else None
        if core is None:
            return False
        sctlr = core.read(core.control_register)
        return bool(sctlr & 1 and sctlr & _SCTLR_C)

    def _found(self, found: Found) -> None:
        cause = next((event.cause for event in reversed(found.story) if event.cause), 0)
        key = (found.unit, found.kind.name, cause or found.iova or found.stream_id or 0)
        known = self._by_cause.get(key)
        if known is not None:
            known.count += 1
            return
        if len(self.findings) >= MOST:
            self.dropped += 1
            return
        finding = Finding(found, cause, self.origins)
        self._by_cause[key] = finding
        self.findings.append(finding)
        finding.seq = self._emit(finding)
        if self.on_finding is not None:
            self.on_finding(finding)

    def _emit(self, finding: Finding) -> int:
        """Put a finding into the trace, if that has them."""
        found: Any = finding.found
        return self.tracer.add(
            trace_events.Finding(
                0,
                0,
                found.unit,
                finding.cause,
                finding.name,
                finding.severity,
                finding.text,
                finding.kind.rule,
                finding.kind.advice,
                found.stream_id,
                found.iova,
                tuple(event.seq for event in found.story),
            )
        )
