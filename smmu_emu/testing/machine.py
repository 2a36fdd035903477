# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine for tests: it remembers events, knows what DMA may do, and takes plans of faults."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smmu_emu.errors import EmulatorError
from smmu_emu.inject import Effect, Injection, Injector, Plan, Target, When, load_plan
from smmu_emu.inject.isolation import Isolation
from smmu_emu.inject.plan import Allow
from smmu_emu.machine import Machine
from smmu_emu.testing.events import Event, Events

if TYPE_CHECKING:
    from smmu_emu.check import Checker, Finding
    from smmu_emu.driver import Smmuv3Driver
    from smmu_emu.trace.events import Event as TraceEvent
    from smmu_emu.trace.tap import FaultEvent
    from smmu_emu.trace.text import Describer
    from smmu_emu.trace.tracer import Tracer

DRIVER_MEMORY = 0x4800_0000
DRIVER_MEMORY_SIZE = 16 << 20
_TICK = 1000
"""Nanoseconds that pass each time the driver in Python looks whether something has happened."""


class InvalidTestError(AssertionError):
    """A planned fault never fired, so the test has shown nothing: it has not passed."""


class MachineUnderTest(Machine):
    """A `Machine` with questions to ask. Make one with `build`.

    ``refused`` is every refusal in order, ``isolation`` judges where DMA lands, ``injectors`` are
    the plans that were injected. ``kept`` events of the trace are remembered for failures.
    """

    unsaved = (  # type: ignore[assignment]
        "refused",
        "isolation",
        "injectors",
        "image",
        "driver",
        "tail",
        "_tracer",
        "_checker",
    )

    refused: Events
    isolation: Isolation
    injectors: list[Injector]
    image: Path | None
    driver: Smmuv3Driver | None
    tail: deque[TraceEvent]

    @classmethod
    def build(cls, *, kept: int = 0, **options: Any) -> MachineUnderTest:
        """A machine as `Machine.virt` makes it, which remembers the last ``kept`` trace events."""
        machine = cls.virt(**options)
        assert isinstance(machine, cls)
        machine.refused = Events()
        machine.injectors = []
        machine.image = machine.driver = None
        machine.isolation = Isolation(machine)
        machine.tail = deque(maxlen=max(kept, 1))
        machine._tracer = machine._checker = None
        machine.smmu.tap.listen(machine._refuse)
        machine.isolation.install()
        if kept:
            machine._remember()
        return machine

    def _remember(self) -> None:
        """Keep the end of the trace, as lines are to be made of it: without reads of registers."""
        from smmu_emu.trace.events import Origin, RegisterAccess
        from smmu_emu.trace.text import Describer
        from smmu_emu.trace.tracer import Tracer

        describer = self._describer = Describer()

        def keep(event: TraceEvent) -> None:
            if isinstance(event, Origin):
                describer.meet(event)
            elif not isinstance(event, RegisterAccess) or event.write:
                self.tail.append(event)

        self._tracer = Tracer(self, keep)
        self.isolation.mappings.trace_to(self._tracer, self.smmu.name)
        self.watch()

    _tracer: Tracer | None
    _checker: Checker | None
    _describer: Describer

    def _refuse(self, event: FaultEvent) -> None:
        self.refused.append(Event.of(event))

    def begin(self) -> None:
        """Forget what happened before: a test begins."""
        self.heal()
        self.refused.clear()
        self.injectors.clear()
        self.tail.clear()
        self.isolation.begin()
        if self._checker is not None:
            self._checker.close()
            self.isolation.listeners.clear()
            self._checker = None
            self.watch()

    # -- what runs

    def load(self, image: Any, **options: Any) -> Any:
        """As `Machine.load`; remembers the file, for names of functions."""
        self.image = Path(image) if isinstance(image, str | Path) else None
        return super().load(image, **options)

    def run_until(self, text: str, max_instructions: int = 100_000_000) -> None:
        """Run until the guest has printed ``text``.

        Raises: AssertionError, with what it did print, if the run ends before.
        """
        wanted, start, before = text.encode(), len(self.output), self.console

        def hear(data: bytes) -> None:
            if before is not None:
                before(data)
            if wanted in self.output[max(0, start - len(wanted)) :]:
                self.core.request_exit("heard")

        self.console = hear
        try:
            result = self.run(max_instructions)
        finally:
            self.console = before
        if wanted not in self.output[max(0, start - len(wanted)) :]:
            printed = bytes(self.output[start:]).decode(errors="replace")
            raise AssertionError(f"{text!r} was never printed; {result.reason}:\n{printed}")

    def attach_driver(self, **options: Any) -> Smmuv3Driver:
        """Bring the SMMU up with the reference driver; what it maps is what DMA may do.

        Its tables are in RAM from 0x48000000. Time passes while it polls.
        """
        from pgtable import Arena
        from smmu_emu.driver import Smmuv3Driver

        offset = DRIVER_MEMORY - self.ram.base
        arena = Arena(DRIVER_MEMORY, DRIVER_MEMORY_SIZE, self.ram.view[offset:])
        self.driver = Smmuv3Driver(_Window(self), arena, idle=self._pass_time, **options)
        self.isolation.mappings.listen_to(self.driver)
        return self.driver

    def _pass_time(self) -> None:
        self.clock.advance(self.clock.now + _TICK)

    def pass_time(self, nanoseconds: int) -> None:
        """Let virtual time pass, with all that is due until then."""
        self.clock.advance(self.clock.now + nanoseconds)

    # -- faults

    def inject(self, what: str | Path | Plan | Injection, *more: Any, **options: Any) -> Injector:
        """Inject a plan: a `Plan`, an `Injection`, a file, or site and effect with their `When`.

        ``machine.inject("walk-read", Abort(), stream=8, nth=2)``; keywords ``target``, ``name`` and
        ``seed`` go where they belong. The faults stay until the end of the test.
        """
        injector = Injector(self, _plan(what, more, options), self.image)
        injector.install()
        if self._tracer is not None:
            injector.trace_to(self._tracer)
        self.injectors.append(injector)
        return injector

    def heal(self) -> None:
        """Take all faults out; what they have done stays."""
        for injector in self.injectors:
            injector.remove()

    def assert_valid(self) -> None:
        """Every fault that was injected has fired.

        Raises: InvalidTestError with what came closest.
        """
        unfired = [str(one) for injector in self.injectors for one in injector.report().unfired]
        if unfired:
            raise InvalidTestError("invalid, not passed: " + "; ".join(unfired))

    # -- questions

    @property
    def events(self) -> Events:
        """The events that were recorded for software."""
        return Events(event for event in self.refused if event.record is not None)

    @property
    def global_errors(self) -> set[str]:
        """Names of the errors in GERROR that software has not acknowledged. Spec: 7.5."""
        from smmu_emu.smmuv3.spec.registers import GERROR

        values = self.smmu.registers.values
        active = GERROR((values["GERROR"] ^ values["GERRORN"]) & GERROR.mask())
        return {name for name, number in active.fields().items() if number}

    def watch(self) -> Checker:
        """Let the checker (`smmu_emu.check`) look from now on, if it does not already."""
        if self._checker is None:
            from smmu_emu.check import Checker

            self._checker = Checker(self, tracer=self._tracer, image=self.image)
            for unit in self._checker.units.values():
                self.isolation.listeners.append(unit.isolation.breached)
        return self._checker

    @property
    def findings(self) -> list[Finding]:
        """Mistakes of the driver that the checker found, as though the run ended here.

        It looks from the machine's beginning where a trace is kept, else from the first question
        on. Advice is left out.
        """
        return [one for one in self.watch().finish() if one.severity != "advice"]

    def allow(
        self,
        stream: int,
        iova: int,
        size: int,
        pa: int | None = None,
        *,
        access: str = "rw",
        substream: int | None = None,
    ) -> None:
        """Declare that DMA of a stream to ``size`` bytes at ``iova`` may land at ``pa`` onwards.

        ``pa`` None means anywhere; ``access`` is "r", "w" or "rw".
        """
        self.isolation.mappings.allow(
            Allow(stream, (iova, iova + size), pa, "r" in access, "w" in access, substream)
        )

    def assert_isolated(self) -> None:
        """All DMA so far landed where the driver, plans or `allow` permit.

        Raises: AssertionError with the breaches, or if nothing was declared.
        """
        isolation = self.isolation
        if isolation.breaches:
            lines = "\n".join(f"  {breach}" for breach in isolation.breaches[:20])
            raise AssertionError(f"{len(isolation.breaches)} breaches of isolation:\n{lines}")
        if isolation.landings and not isolation.mappings.declared:
            raise AssertionError("nothing says what DMA may do: use machine.allow, or a driver")

    def story(self) -> Iterator[str]:
        """What happened last, for people: firings, and the end of the trace."""
        for injector in self.injectors:
            yield from injector.report().lines()
        if self._tracer is not None:
            yield from (self._describer.line(event) for event in self.tail)
        else:
            yield from str(Events(self.refused[-20:])).splitlines()

    def close(self) -> None:
        """As `Machine.close`."""
        self.heal()
        if self._checker is not None:
            self._checker.close()
        if self._tracer is not None:
            self._tracer.close()
        super().close()


class _Window:
    """The SMMU's registers as the driver in Python has them: an abort is an exception there."""

    def __init__(self, machine: Machine) -> None:
        self._smmu = machine.smmu

    def read(self, offset: int, size: int) -> int:
        value: int | None = self._smmu.read(offset, size)
        if value is None:
            raise BusError(f"the read of the register at {offset:#x} aborted")
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        done: bool | None = self._smmu.write(offset, size, value)
        if done is False:
            raise BusError(f"the write of the register at {offset:#x} aborted")


class BusError(EmulatorError):
    """An access of the driver in Python to a register met an external abort."""


def _plan(what: str | Path | Plan | Injection, more: Any, options: dict[str, Any]) -> Plan:
    if isinstance(what, Plan):
        return what
    if isinstance(what, Injection):
        return Plan((what,))
    if not more:
        return load_plan(what)
    effect: Effect = more[0]
    seed = options.pop("seed", 0)
    name = options.pop("name", "")
    target = options.pop("target", None) or Target()
    return Plan((Injection(str(what), effect, When(**options), target, name),), seed=seed)
