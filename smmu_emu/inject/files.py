# SPDX-License-Identifier: GPL-2.0-or-later
"""Plan files: TOML, checked key by key.

    seed = 7

    [[fault]]
    site = "walk-read"
    effect = "abort"                       # or { kind = "flip", bits = [0] }
    stream = 8
    nth = 3

    [[allow]]
    stream = 8
    iova = [0x1000, 0x5000]
    pa = 0x5000_0000

What is wrong is told in one line with file, table and key.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from smmu_emu.inject.effects import EFFECTS, Effect
from smmu_emu.inject.errors import PlanError
from smmu_emu.inject.plan import EVER, NAME, Allow, Injection, Plan, Target, When, unknown

_BIG = 1 << 512


def load_plan(path: Path | str) -> Plan:
    """The plan in a file.

    Raises: PlanError in one line; OSError if there is no such file.
    """
    path = Path(path)
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        raise PlanError(f"{path}: this is no text, so no plan") from None
    return parse_plan(text, str(path))


def parse_plan(text: str, name: str = "plan") -> Plan:
    """The plan that a TOML text describes; ``name`` is what complaints call it.

    Raises: PlanError in one line.
    """
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise PlanError(f"{name}: {str(error) or 'nested too deep'}") from None
    return plan_of(table, name)


def plan_of(table: dict[str, Any], name: str = "plan") -> Plan:
    """The plan in the tables of a file; they may be part of a larger one.

    Raises: PlanError in one line.
    """
    _only(table, ("name", "seed", "fault", "allow"), name)
    faults = [
        _fault(one, f"{name}: fault {number}")
        for number, one in enumerate(_tables(table, "fault", name), 1)
    ]
    allow = [
        _allow(one, f"{name}: allow {number}")
        for number, one in enumerate(_tables(table, "allow", name), 1)
    ]
    seed = _take(table, "seed", _number, name, 0)
    title = _take(table, "name", _text, name, "")
    try:
        return Plan(tuple(faults), tuple(allow), seed, title)
    except PlanError as error:
        raise PlanError(f"{name}: {error}") from None


def plan_text(plan: Plan) -> str:
    """A plan as the text of a file."""
    plain = plan.as_dict()
    lines = [f"{key} = {_written(value)}" for key, value in plain.items() if not _is_list(value)]
    for key in ("fault", "allow"):
        for table in plain[key]:
            lines += ["", f"[[{key}]]"]
            lines += [f"{name} = {_written(value)}" for name, value in table.items()]
    return "\n".join(lines) + "\n"


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _written(value: Any) -> str:
    """A value as TOML writes it; addresses in hexadecimal."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:#x}" if value > 0xFFFF else str(value)
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list):
        return "[" + ", ".join(_written(one) for one in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_written(one)}" for key, one in value.items()) + " }"
    return repr(value)


def _fault(table: dict[str, Any], where: str) -> Injection:
    if isinstance(table.get("name"), str):
        where = f"{where} ({table['name']})"
    known = ("name", "site", "effect", "target", *_WHEN)
    _only(table, known, where)
    for needed in ("site", "effect"):
        if needed not in table:
            raise PlanError(f"{where}: {needed} is missing")
    title = _take(table, "name", _text, where, "")
    site = _take(table, "site", _text, where, "")
    effect = _effect(table["effect"], where)
    when = {key: _take(table, key, _WHEN[key], where) for key in table if key in _WHEN}
    target = _take(table, "target", _table, where, {})
    _only(target, _TARGET, f"{where}: target")
    aims = {key: _take(target, key, _TARGET[key], f"{where}: target") for key in target}
    try:
        return Injection(site, effect, When(**when), Target(**aims), title)
    except PlanError as error:
        raise PlanError(f"{where}: {error}") from None


def _effect(value: Any, where: str) -> Effect:
    table = {"kind": value} if isinstance(value, str) else value
    if not isinstance(table, dict) or not isinstance(table.get("kind"), str):
        raise PlanError(f'{where}: effect is a word, or a table as {{ kind = "flip", bits = [0] }}')
    kind = table["kind"]
    if kind not in EFFECTS:
        raise PlanError(f"{where}: {unknown('effect', kind, EFFECTS)}")
    where = f"{where}: effect {kind}"
    made = EFFECTS[kind]
    known = {one.name: _CONVERT[one.name] for one in fields(made)}
    _only(table, ("kind", *known), where)
    numbers = {key: _take(table, key, known[key], where) for key in table if key != "kind"}
    return made(**numbers)


def _allow(table: dict[str, Any], where: str) -> Allow:
    _only(table, ("stream", "substream", "iova", "pa", "access"), where)
    for needed in ("stream", "iova"):
        if needed not in table:
            raise PlanError(f"{where}: {needed} is missing")
    access = _take(table, "access", _text, where, "rw")
    if access not in ("r", "w", "rw"):
        raise PlanError(f'{where}: access = {access!r}: "r", "w" or "rw"')
    iova = _take(table, "iova", _range, where, (0, 0))
    if iova[0] >= iova[1]:
        raise PlanError(f"{where}: iova: the first address, and the one after the last")
    return Allow(
        stream=_take(table, "stream", _number, where, 0),
        iova=iova,
        pa=_take(table, "pa", _number, where),
        read="r" in access,
        write="w" in access,
        substream=_take(table, "substream", _number, where),
    )


# -- values


def _only(table: dict[str, Any], known: Any, where: str) -> None:
    for key in table:
        if key not in known:
            raise PlanError(f"{where}: {unknown('key', key, known)}")


def _tables(table: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise PlanError(f"{where}: {key} is written as [[{key}]], once for each")
    return found


def _take(
    table: dict[str, Any],
    key: str,
    convert: Callable[[Any], Any],
    where: str,
    default: Any = None,
) -> Any:
    if key not in table:
        return default
    try:
        return convert(table[key])
    except ValueError as error:
        raise PlanError(f"{where}: {key} = {table[key]!r}: {error}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str) or NAME.fullmatch(value) is None:
        raise ValueError("a text of one line is wanted")
    return value


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _BIG:
        raise ValueError("a number from 0 on is wanted")
    return value


def _signed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= _BIG:
        raise ValueError("a number is wanted")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _range(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("a pair is wanted: [first, one after the last]")
    return _number(value[0]), _number(value[1])


def _range_or_name(value: Any) -> tuple[int, int] | str:
    return _text(value) if isinstance(value, str) else _range(value)


def _numbers(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("a list of numbers is wanted")
    return tuple(_number(one) for one in value)


def _times(value: Any) -> int:
    if value == "ever":
        return EVER
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError('a number from 1, or "ever"')
    return value


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a share such as 0.25 is wanted")
    return float(value)


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("a table is wanted, as { stream = 8 }")
    return value


_WHEN: dict[str, Callable[[Any], Any]] = {
    "nth": _number,
    "times": _times,
    "address": _range,
    "iova": _range,
    "stream": _number,
    "substream": _number,
    "write": _flag,
    "opcode": _text,
    "event": _text,
    "register": _text,
    "line": _text,
    "action": _text,
    "pc": _range_or_name,
    "time": _range,
    "probability": _share,
    "after": _text,
    "at": _text,
}
_TARGET: dict[str, Callable[[Any], Any]] = {
    "stream": _number,
    "substream": _number,
    "iova": _number,
    "level": _number,
    "stage": _number,
    "register": _text,
}
_CONVERT: dict[str, Callable[[Any], Any]] = {
    "bits": _numbers,
    "count": _number,
    "value": _number,
    "mask": _number,
    "field": _text,
    "copies": _number,
    "ns": _number,
    "stream": _number,
    "substream": _signed,
    "iova": _number,
    "iova_offset": _signed,
    "write": _flag,
    "privileged": _flag,
    "instruction": _flag,
    "size": _number,
    "translated": _flag,
    "pattern": _number,
}
