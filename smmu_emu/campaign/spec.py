# SPDX-License-Identifier: GPL-2.0-or-later
"""What a campaign runs: targets, policies, seeds and faults, all or a sample.

    name = "isolation"
    seed = 1
    sample = 1000                     # absent: exhaustive

    [[target]]
    image = "two_streams.elf"         # beside this file
    devices = ["iommu-testdev@00:01.0", "iommu-testdev@00:02.0"]
    start = "ready"                   # faults are injected from this function on

    [[target.allow]]
    stream = 8
    iova = [0x1000_0000, 0x1000_1000]
    pa = 0x5000_0000

    [[fault]]
    site = "ste"
    effect = "flip"
    target = { stream = 8 }
    each = { "effect.bits" = { first = 0, last = 511 } }

A fault is a table of a plan file (`smmu_emu.inject.files`), with ``each``: keys, with dots into its
tables, and the values that they take one after the other. Every run has a number, which says all:
the same number is the same run, in any order and on any machine.
"""

from __future__ import annotations

import json
import tomllib
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import accumulate
from math import prod
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from smmu_emu.errors import EmulatorError

MOST_RUNS = 1 << 32


class CampaignError(EmulatorError):
    """A campaign, or a file of results, that cannot be used; one line says which and why."""


@dataclass(frozen=True)
class Target:
    """A system that runs: an image on a machine. ``start`` is a function at which the machine is
    kept, so that each run begins there; without it runs begin at the image's entry.

    ``allow`` are tables as in plan files: what DMA may do, if isolation is to be judged.
    """

    name: str
    image: str
    ids: str = "qemu"
    devices: tuple[str, ...] = ("iommu-testdev@00:01.0",)
    append: str = ""
    start: str | None = None
    ram: int = 512 << 20
    allow: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class FaultFamily:
    """Faults that differ in the values of some keys: ``table`` is one of a plan file."""

    table: dict[str, Any]
    each: tuple[tuple[str, tuple[Any, ...]], ...]

    def __len__(self) -> int:
        return prod(len(values) for _, values in self.each)

    def member(self, number: int) -> dict[str, Any]:
        """The table of one of them."""
        table = deepcopy(self.table)
        for key, values in self.each:
            number, index = divmod(number, len(values))
            _put(table, key, values[index])
        return table

    @property
    def title(self) -> str:
        """What reports call the family."""
        effect = self.table.get("effect", "")
        kind = effect.get("kind", "") if isinstance(effect, dict) else effect
        return str(self.table.get("name") or f"{self.table.get('site')} {kind}")


class Run(NamedTuple):
    """One run. ``fault`` is a table of a plan file, ``family`` the number of its family."""

    number: int
    target: Target
    policy: str
    seed: int
    family: int
    fault: dict[str, Any]


@dataclass(frozen=True)
class Campaign:
    """A campaign; ``policies`` are texts of ``--policy`` ("" is none).

    ``patience`` is how many times the instructions of the golden run a run may take.
    """

    name: str
    targets: tuple[Target, ...]
    families: tuple[FaultFamily, ...]
    policies: tuple[str, ...] = ("",)
    seeds: tuple[int, ...] = (0,)
    sample: int | None = None
    seed: int = 0
    patience: int = 8

    @cached_property
    def total(self) -> int:
        """How many different runs there are."""
        return len(self.targets) * len(self.policies) * len(self.seeds) * self._ends[-1]

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(len(family) for family in self.families))

    def numbers(self) -> list[int]:
        """The runs that are wanted, in order."""
        if self.sample is None or self.sample >= self.total:
            return list(range(self.total))
        return sorted(Random(self.seed).sample(range(self.total), self.sample))

    def run(self, number: int) -> Run:
        """The run with a number: faults change fastest, then seeds, policies and targets.

        Raises: CampaignError if there is none.
        """
        if not 0 <= number < self.total:
            raise CampaignError(f"run {number}: this campaign has runs 0 to {self.total - 1}")
        rest, fault = divmod(number, self._ends[-1])
        rest, seed = divmod(rest, len(self.seeds))
        target, policy = divmod(rest, len(self.policies))
        family = next(index for index, end in enumerate(self._ends) if fault < end)
        first = self._ends[family] - len(self.families[family])
        table = self.families[family].member(fault - first)
        return Run(
            number, self.targets[target], self.policies[policy], self.seeds[seed], family, table
        )

    # -- as text

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `from_dict` takes it."""
        sample = {} if self.sample is None else {"sample": self.sample}
        return sample | {
            "name": self.name,
            "seed": self.seed,
            "patience": self.patience,
            "policies": list(self.policies),
            "seeds": list(self.seeds),
            "target": [_plain(target) for target in self.targets],
            "fault": [
                {**family.table, "each": {key: list(values) for key, values in family.each}}
                for family in self.families
            ],
        }

    @cached_property
    def text(self) -> str:
        """All of it as one line of JSON. The order of keys counts: it numbers the runs."""
        return json.dumps(self.as_dict())

    @cached_property
    def identity(self) -> str:
        """A digest of the campaign and its images: what results belong to."""
        state = blake2b(self.text.encode(), digest_size=16)
        for target in self.targets:
            try:
                state.update(Path(target.image).read_bytes())
            except OSError as error:
                raise CampaignError(f"{target.image}: {error.strerror}") from None
        return state.hexdigest()


def _plain(target: Target) -> dict[str, Any]:
    """Without what nobody said."""
    plain = {key: value for key, value in vars(target).items() if value is not None}
    return plain | {"devices": list(target.devices), "allow": list(target.allow)}


def load_campaign(path: Path) -> Campaign:
    """The campaign in a TOML file; images are found from its folder.

    Raises: CampaignError in one line; OSError if there is no such file.
    """
    try:
        table = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CampaignError(f"{path}: {error}") from None
    for target in table.get("target", []):
        if isinstance(target, dict) and isinstance(target.get("image"), str):
            target["image"] = str((path.parent / target["image"]).resolve())
    return campaign_of(table, str(path))


def campaign_of(table: dict[str, Any], where: str = "campaign") -> Campaign:
    """The campaign that a table describes.

    Raises: CampaignError in one line: where, what, and what is possible.
    """
    _only(
        table, ("name", "seed", "sample", "patience", "policies", "seeds", "target", "fault"), where
    )
    campaign = Campaign(
        name=_take(table, "name", str, where, "campaign"),
        targets=tuple(
            _target(one, f"{where}: target {number}")
            for number, one in enumerate(_tables(table, "target", where), 1)
        ),
        families=tuple(
            _family(one, f"{where}: fault {number}")
            for number, one in enumerate(_tables(table, "fault", where), 1)
        ),
        policies=tuple(_policy(one, where) for one in _list(table, "policies", str, where, [""])),
        seeds=tuple(_list(table, "seeds", int, where, [0])),
        sample=_take(table, "sample", int, where, None),
        seed=_take(table, "seed", int, where, 0),
        patience=_take(table, "patience", int, where, 8),
    )
    _check(campaign, where)
    return campaign


def _check(campaign: Campaign, where: str) -> None:
    if campaign.sample is not None and campaign.sample < 1:
        raise CampaignError(f"{where}: sample = {campaign.sample}: a number from 1")
    if campaign.patience < 2:
        raise CampaignError(f"{where}: patience = {campaign.patience}: a number from 2")
    if campaign.total > MOST_RUNS:
        raise CampaignError(f"{where}: {campaign.total} runs; {MOST_RUNS} are the most")
    names = [target.name for target in campaign.targets]
    for name in names:
        if names.count(name) > 1:
            raise CampaignError(f"{where}: two targets are called {name!r}; give each a name")


def _policy(text: str, where: str) -> str:
    from smmu_emu.errors import ConfigurationError
    from smmu_emu.policy.choice import Choice

    try:
        return str(Choice.parse(text)) if text else ""
    except ConfigurationError as error:
        raise CampaignError(f"{where}: policies: {error}") from None


def _target(table: dict[str, Any], where: str) -> Target:
    known = ("name", "image", "ids", "devices", "append", "start", "ram", "allow")
    _only(table, known, where)
    image = _take(table, "image", str, where, None)
    if image is None:
        raise CampaignError(f"{where}: image is missing")
    target = Target(
        name=_take(table, "name", str, where, Path(image).stem),
        image=image,
        ids=_take(table, "ids", str, where, "qemu"),
        devices=tuple(_list(table, "devices", str, where, ["iommu-testdev@00:01.0"])),
        append=_take(table, "append", str, where, ""),
        start=_take(table, "start", str, where, None),
        ram=_take(table, "ram", int, where, 512 << 20),
        allow=tuple(_list(table, "allow", dict, where, [])),
    )
    _plan({"allow": list(target.allow)}, where)
    return target


def _family(table: dict[str, Any], where: str) -> FaultFamily:
    table = dict(table)
    each = table.pop("each", {})
    if not isinstance(each, dict):
        raise CampaignError(f"{where}: each is a table, as {{ nth = [1, 2] }}")
    pairs = tuple((key, _values(values, f"{where}: each {key}")) for key, values in each.items())
    family = FaultFamily(table, pairs)
    for number in {0, len(family) - 1}:
        _plan({"fault": [family.member(number)]}, where)
    return family


def _values(value: Any, where: str) -> tuple[Any, ...]:
    if isinstance(value, list) and value:
        return tuple(value)
    if isinstance(value, dict) and {"first", "last"} <= value.keys() <= {"first", "last", "step"}:
        numbers = [value["first"], value["last"], value.get("step", 1)]
        if all(type(one) is int for one in numbers) and numbers[2] > 0:
            span = range(numbers[0], numbers[1] + 1, numbers[2])
            if 0 < len(span) <= 1 << 20:
                return tuple(span)
    raise CampaignError(f"{where}: values in a list, or {{ first = 0, last = 63 }}")


def _plan(table: dict[str, Any], where: str) -> None:
    """Refuse what is no plan, before a thousand runs do."""
    from smmu_emu.inject import PlanError, plan_of

    try:
        plan_of(deepcopy(table), where)
    except PlanError as error:
        raise CampaignError(str(error)) from None


def _put(table: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for step in path:
        inner = table.get(step)
        if not isinstance(inner, dict):  # an effect may be just a word
            inner = table[step] = {} if inner is None else {"kind": inner}
        table = inner
    table[last] = [value] if last == "bits" and not isinstance(value, list) else value


def _only(table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            raise CampaignError(f"{where}: no key {key!r}; there is {', '.join(known)}")


def _take(table: dict[str, Any], key: str, kind: type, where: str, default: Any) -> Any:
    value = table.get(key, default)
    if value is not default and (not isinstance(value, kind) or isinstance(value, bool)):
        raise CampaignError(f"{where}: {key} = {value!r}: {_WORDS[kind]} is wanted")
    return value


def _list(table: dict[str, Any], key: str, kind: type, where: str, default: list[Any]) -> list[Any]:
    value: list[Any] = table.get(key, default)
    good = isinstance(value, list) and all(type(one) is kind for one in value)
    if not good or (not value and default):
        raise CampaignError(f"{where}: {key} = {value!r}: a list is wanted, each {_WORDS[kind]}")
    return value


_WORDS = {str: "a text", int: "a number", dict: "a table"}


def _tables(table: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    found = table.get(key)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found) or not found:
        raise CampaignError(f"{where}: [[{key}]] is needed, once for each")
    return found
