# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs single runs of a campaign: a machine is prepared once, and brought back for each.

A worker keeps the machines that it has prepared, so that a run costs what happens in it. The result
of a run depends on its number alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from smmu_emu.campaign.outcome import Facts, Verdict, judge
from smmu_emu.campaign.spec import Campaign, CampaignError, Run, Target, campaign_of
from smmu_emu.cpu.exit import ExitKind
from smmu_emu.inject import Injector, Plan, plan_of
from smmu_emu.inject.isolation import Isolation
from smmu_emu.interpose import Interposition, Layer, interpose
from smmu_emu.machine import Machine, RunResult
from smmu_emu.policy.outcome import Observer
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.smmuv3.spec.command import Opcode
from smmu_emu.smmuv3.spec.event import EventCode
from smmu_emu.trace.symbols import SymbolTable
from smmu_emu.trace.tap import FaultEvent

SETUP_LIMIT = 200_000_000
GOLDEN_LIMIT = 200_000_000
"""Instructions that a target may take to its start, and from there to its end."""
_SLACK = 20_000
_SHOWN_BREACHES = 3
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+")
_KEPT = 4
"""Prepared machines that a worker keeps."""

Attach = Callable[[Machine, Injector], Any]


class Result(NamedTuple):
    """A run's number, its verdict, and what it came to."""

    number: int
    verdict: Verdict
    facts: Facts


class Prepared:
    """One target under one policy and seed, and the golden run of it.

    Raises: CampaignError for a target that does not get to its start or its end.
    """

    def __init__(self, target: Target, policy: str, seed: int, patience: int) -> None:
        self.target = target
        self.seed = seed
        self.machine = Machine.virt(
            ram=target.ram,
            devices=target.devices,
            smmu_ids=_preset(target),
            command_line=f"{Path(target.image).name} {target.append}".rstrip(),
        )
        if policy:
            self.machine.use_policy(f"{policy},seed={seed}")
        self.machine.load(Path(target.image), append=target.append)
        if target.start is not None:
            self._run_to(target.start)
        self.snapshot = self.machine.snapshot()
        self.begin = self.machine.instructions
        allow = {"allow": list(target.allow)}
        self.allow = plan_of(allow, target.name).allow
        self.limit = GOLDEN_LIMIT
        self.golden = self.run(Plan())
        if self.golden.kind in (ExitKind.MAX_INSTRUCTIONS, ExitKind.DEADLOCK):
            raise CampaignError(
                f"{target.name}: without any fault it does not end: {self.golden.reason}"
            )
        if self.golden.breach_count:
            raise CampaignError(
                f"{target.name}: without any fault there is a breach, so [[target.allow]] is too "
                f"narrow: {self.golden.breaches[0]}"
            )
        self.limit = patience * (self.golden.instructions - self.begin) + _SLACK

    def _run_to(self, start: str) -> None:
        address = address_of(Path(self.target.image), start)
        core = self.machine.core
        core.add_breakpoint(address)
        result = self.machine.run(SETUP_LIMIT)
        core.remove_breakpoint(address)
        if result.kind is not ExitKind.BREAKPOINT:
            raise CampaignError(f"{self.target.name}: {start} is never reached: {result.reason}")

    def run(self, plan: Plan, attach: Attach | None = None) -> Facts:
        """Run from the start with a plan's faults; ``attach`` may listen meanwhile."""
        machine = self.machine
        machine.restore(self.snapshot)
        image = Path(self.target.image)
        with _Watch(machine, self.allow) as watch, Injector(machine, plan, image) as injector:
            detach = attach(machine, injector) if attach is not None else None
            try:
                result = machine.run(self.limit)
            finally:
                if detach is not None:
                    detach()
            report = injector.report()
        closest = "; ".join(map(str, report.unfired))
        return watch.facts(result)._replace(fired=int(report.valid), closest=closest)

    def close(self) -> None:
        """Free the machine."""
        self.machine.close()


class _Watch:
    """Watches one run of a machine."""

    def __init__(self, machine: Machine, allow: tuple[Any, ...]) -> None:
        self.machine = machine
        self.observer = Observer(machine)
        self.isolation: Isolation | None = None
        if allow:
            self.isolation = Isolation(machine)
            self.isolation.mappings.allow(*allow)
            self.isolation.install()
        self.commands_before = Counter(machine.smmu.commands.consumed)
        self.errors = 0
        self.events: Counter[str] = Counter()
        self.reasons: dict[str, None] = {}
        machine.smmu.tap.listen(self._refused)
        self._place: Interposition = interpose(
            machine.smmu.interrupts, "raise_error", self._raises, Layer.OBSERVE
        )

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.observer.remove()
        self.machine.smmu.tap.listeners.remove(self._refused)
        self._place.remove()
        if self.isolation is not None:
            self.isolation.remove()

    def _refused(self, event: FaultEvent) -> None:
        fault = event.fault
        self.reasons[_without_numbers(fault.reason)] = None
        if event.record is not None:
            self.events[EventCode(fault.code).name] += 1

    def _raises(self, raise_error: Callable[[int], None]) -> Callable[[int], None]:
        def raises(bit: int) -> None:
            self.errors |= bit
            raise_error(bit)

        return raises

    def facts(self, result: RunResult) -> Facts:
        """What the run came to."""
        outcome = self.observer.outcome(result)
        breaches = [] if self.isolation is None else self.isolation.breaches
        commands = Counter(self.machine.smmu.commands.consumed) - self.commands_before
        return Facts(
            result.kind,
            result.status,
            result.reason,
            self.machine.instructions,
            outcome.console,
            dict(sorted(self.events.items())),
            sum(self.events.values()),
            self.errors,
            {Opcode(opcode).name: count for opcode, count in sorted(commands.items())},
            tuple(sorted(self.reasons)),
            _digest(outcome.landings, outcome.pages),
            tuple(map(str, breaches[:_SHOWN_BREACHES])),
            len(breaches),
        )


@lru_cache(4096)
def _without_numbers(reason: str) -> str:
    return _NUMBERS.sub("N", reason)


def _digest(landings: Counter[tuple[int, bytes]], pages: dict[int, bytes]) -> bytes:
    state = blake2b(digest_size=8)
    for (page, digest), count in sorted(landings.items()):
        state.update(page.to_bytes(8, "little") + digest + count.to_bytes(4, "little"))
    for page, digest in pages.items():
        state.update(page.to_bytes(8, "little") + digest)
    return state.digest()


class Runner:
    """Runs any run of a campaign, and keeps what it has prepared for the next."""

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign
        self._prepared: dict[tuple[str, str, int], Prepared] = {}

    def prepared(self, run: Run) -> Prepared:
        """The system of a run, made if need be."""
        key = run.target.name, run.policy, run.seed
        found = self._prepared.pop(key, None)
        if found is None:
            found = Prepared(run.target, run.policy, run.seed, self.campaign.patience)
            while len(self._prepared) >= _KEPT:
                self._prepared.pop(next(iter(self._prepared))).close()
        self._prepared[key] = found
        return found

    def do(self, number: int, attach: Attach | None = None) -> Result:
        """Do one run.

        Raises: CampaignError.
        """
        run = self.campaign.run(number)
        prepared = self.prepared(run)
        facts = prepared.run(plan_for(run), attach)
        return Result(number, judge(prepared.golden, facts), facts)

    def close(self) -> None:
        """Free all machines."""
        for prepared in self._prepared.values():
            prepared.close()
        self._prepared.clear()


def plan_for(run: Run) -> Plan:
    """The plan of a run."""
    return plan_of({"fault": [run.fault], "seed": run.seed}, f"run {run.number}")


@contextmanager
def running(campaign: Campaign) -> Iterator[Runner]:
    """A runner that is closed in the end."""
    runner = Runner(campaign)
    try:
        yield runner
    finally:
        runner.close()


def address_of(image: Path, name: str) -> int:
    """Address of a function of an image.

    Raises: CampaignError if it has none of that name.
    """
    found = SymbolTable(image).address(name)
    if found is None:
        raise CampaignError(f"{image}: there is no function {name!r}")
    return found


def _preset(target: Target) -> Any:
    if target.ids not in PRESETS:
        raise CampaignError(f"{target.name}: no ids {target.ids!r}; there is {', '.join(PRESETS)}")
    return PRESETS[target.ids]


# -- in worker processes

_runner: Runner | None = None
"""A worker's own; campaigns come one after the other."""


def do_runs(campaign: dict[str, Any], numbers: list[int]) -> list[Result]:
    """Do some runs in whatever process this is; called by executors.

    Raises: CampaignError.
    """
    global _runner
    wanted = campaign_of(campaign)
    if _runner is None or _runner.campaign.text != wanted.text:
        if _runner is not None:
            _runner.close()
        _runner = Runner(wanted)
    return [_runner.do(number) for number in numbers]
