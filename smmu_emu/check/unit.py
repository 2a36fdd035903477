# SPDX-License-Identifier: GPL-2.0-or-later
"""The checking of one SMMU: what it may have cached, and the rules that look at its events.

`handlers` says who is fed with which kind of event, in which order: first what follows the state,
then the rules. Nothing here watches writes; where somebody does, `TableWrite` makes stories and
updates of structures more precise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from smmu_emu.check.configs import Configs
from smmu_emu.check.due import Due, DueConfig, Early
from smmu_emu.check.findings import Found
from smmu_emu.check.holdings import Holdings
from smmu_emu.check.peek import Peek
from smmu_emu.check.pointers import Pointers
from smmu_emu.check.reach import Reach
from smmu_emu.check.rules import (
    DUE,
    config_not_hitless,
    missing_invalidate,
    missing_sync,
    stale_config,
)
from smmu_emu.check.rules.advice import Advice
from smmu_emu.check.rules.coherency import Coherency
from smmu_emu.check.rules.command_queue import CommandQueueUse
from smmu_emu.check.rules.global_errors import GlobalErrors
from smmu_emu.check.rules.isolation_breach import IsolationBreaches
from smmu_emu.check.rules.misplaced import Misplaced
from smmu_emu.check.rules.output_queues import OutputQueueUse
from smmu_emu.check.rules.outside_memory import OutsideMemory
from smmu_emu.check.rules.page_requests import PageRequestUse
from smmu_emu.check.rules.registers import ForbiddenWrites
from smmu_emu.check.rules.stale_atc import AtcUse
from smmu_emu.check.rules.stalls import Stalls
from smmu_emu.check.rules.table_reuse import TableReuse
from smmu_emu.check.translations import Translations
from smmu_emu.check.updates import Torn
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.trace.events import (
    Access,
    AtcInvalidation,
    Command,
    ConfigFetch,
    ConfigInvalidation,
    DmaData,
    Event,
    Evict,
    Fill,
    Interrupt,
    Invalidation,
    Mapping,
    Note,
    Record,
    RegisterAccess,
    Sync,
    TableWrite,
    Update,
    Walk,
)

Handler = Callable[[Any], None]


class UnitCheck:
    """Checks one SMMU. ``report`` hears of everything that is found."""

    def __init__(
        self,
        smmu: Smmuv3,
        report: Callable[[Found], None],
        core_caches: Callable[[], bool] = lambda: False,
        *,
        lazy: bool = False,
    ) -> None:
        self.smmu = smmu
        self._report = report
        self.peek = peek = Peek(smmu.memory)
        self.advice = advice = Advice(report)
        self.configs = configs = Configs(smmu, peek, self._config_due, self._early, self._torn)
        self.reach = Reach(smmu, configs)
        self.holdings = holdings = Holdings(smmu, peek, self.reach, self._due)
        self.translations = translations = Translations(
            holdings, self._early, advice.refilled, lazy=lazy
        )
        pointers = Pointers(holdings)
        self.tables = tables = TableReuse(holdings, report)
        self.isolation = isolation = IsolationBreaches(smmu, configs, report)
        registers, commands = ForbiddenWrites(smmu, report), CommandQueueUse(smmu, peek, report)
        output, errors = OutputQueueUse(smmu, report), GlobalErrors(smmu, report)
        atc, stalls = AtcUse(translations, report), Stalls(smmu, report)
        self.pages = pages = PageRequestUse(smmu, report)
        misplaced = Misplaced(smmu, report)
        coherency, outside = Coherency(smmu, core_caches, report), OutsideMemory(report)
        self.handlers: dict[type[Event], list[Handler]] = {
            ConfigFetch: [configs.fetched, coherency.fetched, isolation.changed],
            Walk: [pointers.walked, tables.walked, outside.walked],
            Fill: [tables.fill, translations.fill],
            Evict: [translations.evicted],
            Update: [translations.updated],
            Access: [configs.accessed, translations.accessed, atc.accessed, stalls.accessed],
            DmaData: [configs.passed, tables.dma, isolation.dma],
            Invalidation: [translations.invalidated, advice.invalidated],
            ConfigInvalidation: [configs.invalidated, isolation.changed],
            AtcInvalidation: [atc.invalidated],
            Sync: [configs.synced, translations.synced, atc.synced],
            Command: [configs.passed, commands.command, advice.command, pages.command],
            RegisterAccess: [
                configs.passed,
                translations.register,
                registers.register,
                misplaced.register,
                pages.register,
                commands.register,
                output.register,
                errors.register,
                isolation.register,
            ],
            Record: [output.record, pages.record],
            Interrupt: [errors.interrupt],
            TableWrite: [translations.wrote, configs.wrote],
            Mapping: [translations.declared],
            Note: [self._noted],
        }
        self._at_end = (
            translations.ended,
            configs.ended,
            atc.ended,
            output.ended,
            errors.ended,
            stalls.ended,
            pages.ended,
            advice.ended,
        )

    def end(self, event: Event) -> None:
        """The run ended: what is still pending is judged."""
        for handler in self._at_end:
            handler(event)

    def _noted(self, event: Note) -> None:
        if event.name == "reset":
            self.translations.clear()
            self.configs.clear()
            self.reach.clear()
            self.pages.clear()

    # -- what the state tells

    def _due(self, due: Due) -> None:
        held = due.held
        found = [one for one in (judge(due) for judge in DUE) if one is not None]
        if not found:
            one = missing_invalidate.judge(due)
            found = [] if one is None or held.reported else [one]
        for one in found:
            if one.kind.name not in held.reported:
                held.reported.add(one.kind.name)
                self._report(one)

    def _config_due(self, due: DueConfig) -> None:
        found = stale_config.judge(due)
        if found.kind.name not in due.held.reported:
            due.held.reported.add(found.kind.name)
            self._report(found)

    def _early(self, early: Early) -> None:
        found = missing_sync.judge(early)
        held = early.held
        if found.kind.name not in held.reported:
            held.reported.add(found.kind.name)
            self._report(found)

    def _torn(self, torn: Torn) -> None:
        self._report(config_not_hitless.judge(torn, self.smmu.name))
