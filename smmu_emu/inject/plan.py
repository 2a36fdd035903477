# SPDX-License-Identifier: GPL-2.0-or-later
"""A plan of faults: each one *where* (`Injection.site`), *what* (`Injection.effect`) and *when*.

    Plan((Injection("walk-read", Abort(), When(stream=8, nth=3)),))

Plans are frozen, compare by value, and are checked when they are made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any

from smmu_emu.inject.effects import Effect, Flip, SetField, Stuck
from smmu_emu.inject.errors import PlanError
from smmu_emu.inject.sites import FILTERS_OF_ALL, SITES, TRIGGERS, Site
from smmu_emu.smmuv3.spec.cd import CD
from smmu_emu.smmuv3.spec.command import Opcode
from smmu_emu.smmuv3.spec.event import EventCode
from smmu_emu.smmuv3.spec.registers import REGISTERS
from smmu_emu.smmuv3.spec.ste import STE

EVER = -1
"""`When.times` of what never stops."""

Range = tuple[int, int]
"""First address, and the one after the last."""


@dataclass(frozen=True)
class When:
    """Which accesses of a site a fault hits; what is None does not matter.

    ``nth`` counts the accesses that fit all else, from 1; from that one on the fault fires
    ``times`` times (0: once, and ever for a stuck value). ``address`` is physical, ``time`` in
    virtual nanoseconds; both, and ``iova``, are half-open ranges. ``pc`` is a range, or the name of
    the function that the core is in. ``probability`` is drawn for each access. ``after`` names
    another fault that has to have fired. ``at`` is where structures and devices are triggered.
    """

    nth: int = 1
    times: int = 0
    address: Range | None = None
    iova: Range | None = None
    stream: int | None = None
    substream: int | None = None
    write: bool | None = None
    opcode: str | None = None
    event: str | None = None
    register: str | None = None
    line: str | None = None
    action: str | None = None
    pc: Range | str | None = None
    time: Range | None = None
    probability: float | None = None
    after: str | None = None
    at: str | None = None


@dataclass(frozen=True)
class Target:
    """Which structure an edit changes; what is None is taken from the access that triggered it.

    ``level`` and ``stage`` choose among the descriptors of a walk (default: the leaf of the last
    stage); ``register`` names a register.
    """

    stream: int | None = None
    substream: int | None = None
    iova: int | None = None
    level: int | None = None
    stage: int | None = None
    register: str | None = None


@dataclass(frozen=True)
class Allow:
    """A declaration: DMA of ``stream`` to ``iova`` may land at ``pa`` onwards (None: anywhere)."""

    stream: int
    iova: Range
    pa: int | None = None
    read: bool = True
    write: bool = True
    substream: int | None = None


@dataclass(frozen=True)
class Injection:
    """One planned fault. ``name`` is made from site and effect where none is given.

    Raises: PlanError for what makes no sense.
    """

    site: str
    effect: Effect
    when: When = field(default_factory=When)
    target: Target = field(default_factory=Target)
    name: str = ""

    def __post_init__(self) -> None:
        if self.name == "":
            object.__setattr__(self, "name", f"{self.site} {self.effect.kind}")
        _check(self)

    @property
    def trigger(self) -> str:
        """The site whose accesses are looked at."""
        if not SITES[self.site].at_rest:
            return self.site
        return self.when.at or ("time" if self.when.time else "transaction")

    @property
    def times(self) -> int:
        """How often it fires; `EVER` has no end."""
        return self.when.times or (EVER if isinstance(self.effect, Stuck) else 1)


@dataclass(frozen=True)
class Plan:
    """Faults that are injected together, and what DMA may do all the same.

    ``seed`` is behind every probability and every bit that is picked. Names that occur twice get a
    number.

    Raises: PlanError if ``after`` names no other fault.
    """

    faults: tuple[Injection, ...] = ()
    allow: tuple[Allow, ...] = ()
    seed: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "faults", tuple(_numbered(self.faults)))
        object.__setattr__(self, "allow", tuple(self.allow))
        names = [fault.name for fault in self.faults]
        for fault in self.faults:
            after = fault.when.after
            if after is not None and (after not in names or after == fault.name):
                others = [name for name in names if name != fault.name]
                raise PlanError(f"{fault.name}: after: {unknown('fault', after, others)}")

    def __add__(self, other: Plan) -> Plan:
        """Both plans; the first one's seed and name."""
        return replace(self, faults=self.faults + other.faults, allow=self.allow + other.allow)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, in the form of a plan file."""
        plain: dict[str, Any] = {"seed": self.seed}
        if self.name:
            plain["name"] = self.name
        plain["fault"] = [_plain_fault(fault) for fault in self.faults]
        plain["allow"] = [_plain_allow(allow) for allow in self.allow]
        return plain


def _numbered(faults: Iterable[Injection]) -> list[Injection]:
    seen: dict[str, int] = {}
    result = []
    for fault in faults:
        number = seen[fault.name] = seen.get(fault.name, 0) + 1
        result.append(fault if number == 1 else replace(fault, name=f"{fault.name} {number}"))
    return result


def _plain_fault(fault: Injection) -> dict[str, Any]:
    effect = {"kind": fault.effect.kind} | _changed(fault.effect)
    plain: dict[str, Any] = {"name": fault.name, "site": fault.site}
    plain["effect"] = effect if len(effect) > 1 else fault.effect.kind
    when = _changed(fault.when)
    if when.get("times") == EVER:
        when["times"] = "ever"
    target = _changed(fault.target)
    return plain | when | ({"target": target} if target else {})


def _plain_allow(allow: Allow) -> dict[str, Any]:
    plain: dict[str, Any] = {"stream": allow.stream, "iova": list(allow.iova)}
    plain |= {"pa": allow.pa} if allow.pa is not None else {}
    plain |= {"substream": allow.substream} if allow.substream is not None else {}
    return plain | {"access": "r" * allow.read + "w" * allow.write}


def _changed(value: Any) -> dict[str, Any]:
    """Fields that are not what they are by default."""
    found = {}
    for one in fields(value):
        number = getattr(value, one.name)
        if number != one.default:
            found[one.name] = list(number) if isinstance(number, tuple) else number
    return found


# -- checks


def _check(fault: Injection) -> None:
    site = SITES.get(fault.site)
    if site is None:
        raise PlanError(unknown("site", fault.site, SITES))
    if fault.effect.kind not in site.effects:
        effects = ", ".join(site.effects)
        raise PlanError(
            f"effect {fault.effect.kind!r} cannot be at {site.name}: it takes {effects}"
        )
    _check_effect(fault, site)
    _check_filters(fault, site)
    _check_target(fault, site)


def _check_effect(fault: Injection, site: Site) -> None:
    effect = fault.effect
    if isinstance(effect, Flip) and not effect.bits and not effect.count:
        raise PlanError("effect flip needs bits = [...], or count = how many the seed picks")
    if isinstance(effect, SetField):
        known = {"ste": STE.FIELDS, "cd": CD.FIELDS}.get(site.name)
        if known is None:
            raise PlanError(f"effect set is for the fields of an ste or a cd, not at {site.name}")
        if effect.field not in known:
            raise PlanError(unknown("field", effect.field, known))
        try:
            known[effect.field].put(effect.value)
        except ValueError as error:
            raise PlanError(str(error)) from None


def _check_filters(fault: Injection, site: Site) -> None:
    when = fault.when
    trigger = SITES.get(fault.trigger)
    if when.at is not None and not site.at_rest:
        raise PlanError(f"at is for structures and devices: a fault at {site.name} is there")
    if site.at_rest and fault.trigger not in TRIGGERS:
        raise PlanError(f"at: {unknown('trigger', fault.trigger, TRIGGERS)}")
    if fault.trigger == "time" and when.time is None:
        raise PlanError('at = "time" needs time = [from, until] in nanoseconds')
    known = trigger.filters if trigger is not None else ("time",)
    for name in _changed(when):
        if name not in (*known, *FILTERS_OF_ALL, "at"):
            raise PlanError(
                f"{name} says nothing at {fault.trigger}, which goes by "
                f"{', '.join((*known, *FILTERS_OF_ALL))}"
            )
    _check_numbers(when)
    _check_names(when)


def _check_numbers(when: When) -> None:
    if when.nth < 1:
        raise PlanError(f"nth = {when.nth}: accesses are counted from 1")
    if when.times < EVER:
        raise PlanError(f'times = {when.times}: a number from 1, or "ever"')
    if when.probability is not None and not 0 < when.probability <= 1:
        raise PlanError(f"probability = {when.probability}: more than 0, at most 1")
    for name in ("address", "iova", "pc", "time"):
        value = getattr(when, name)
        if isinstance(value, tuple) and not 0 <= value[0] < value[1]:
            first, end = value
            raise PlanError(
                f"{name} = [{first:#x}, {end:#x}]: the first one, and the one after all"
            )


def _check_names(when: When) -> None:
    for name, known in (
        ("opcode", Opcode.__members__),
        ("event", EventCode.__members__),
        ("register", REGISTERS),
    ):
        value = getattr(when, name)
        if value is not None and value not in known:
            raise PlanError(unknown(name, value, known))


def _check_target(fault: Injection, site: Site) -> None:
    target = fault.target
    known = _TARGETS.get(site.name, ())
    for name in _changed(target):
        if name not in known:
            may = f"it takes {', '.join(known)}" if known else "it takes no target"
            raise PlanError(f"target: {name} says nothing at {site.name}; {may}")
    if site.name == "register" and target.register not in REGISTERS:
        raise PlanError(f"target: {unknown('register', target.register, REGISTERS)}")
    if fault.trigger not in ("transaction",) and site.name in ("ste", "cd", "descriptor"):
        if target.stream is None:
            raise PlanError(f"target: stream is needed, as {fault.trigger} has none")
        if site.name == "descriptor" and target.iova is None:
            raise PlanError(f"target: iova is needed, as {fault.trigger} has none")


_TARGETS = {
    "ste": ("stream",),
    "cd": ("stream", "substream"),
    "descriptor": ("stream", "substream", "iova", "level", "stage"),
    "tlb-entry": ("stream", "substream", "iova"),
    "register": ("register",),
}


def unknown(kind: str, word: object, known: Iterable[str]) -> str:
    """What to say of a word that is not known: which are near, or all if they are few."""
    names = list(known)
    near = get_close_matches(str(word), names, 3, 0.5)
    if near and len(names) > 12:
        return f"no {kind} {word!r}; near are {', '.join(near)}"
    shown = ", ".join(names[:40]) + (" ..." if len(names) > 40 else "")
    return f"no {kind} {word!r}; " + (f"there is {shown}" if names else "there is no other")


NAME = re.compile(r"[^\n]{1,80}")
"""What a fault may be called."""
