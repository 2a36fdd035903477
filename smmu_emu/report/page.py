# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the page: one HTML file with everything in it, however long the trace.

Events go into blocks of `BLOCK` lines, compressed, which the page opens when somebody scrolls to
them; what is drawn goes into arrays of numbers. So a million events stay some tens of megabytes,
and open at once.
"""

from __future__ import annotations

import json
import sys
import zlib
from array import array
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any, TextIO

from smmu_emu.report.picture import Axis, Picture
from smmu_emu.report.tables import forest
from smmu_emu.trace.events import KIND_OF, Event, Origin
from smmu_emu.trace.text import MOST_CALLERS, place_of

BLOCK = 4096
_NOTES = 5
_ASSETS = resources.files("smmu_emu.report") / "assets"

Describe = Callable[[Event], str]
"""One line about an event, without its number, time and cause."""


def write_page(events: Iterable[Event], path: Path, title: str, describe: Describe) -> int:
    """Write the page of a trace; how many events it has.

    Raises: OSError if the file cannot be written.
    """
    picture = Picture()
    with path.open("w", encoding="utf-8") as file:
        head, tail = _shell(title)
        file.write(head)
        origins: dict[int, str] = {}
        blocks = 0
        for block in _blocks(events, picture, origins, describe):
            _put(file, f"block{blocks}", block)
            blocks += 1
        axis = picture.axis()
        for name, column in picture.arrays(axis).items():
            _put(file, f"array-{name}", _little_endian(column))
        _put_json(file, "summary", _summary(picture, axis, title, blocks))
        _put_json(file, "origins", origins)
        _put_json(file, "findings", [one._asdict() for one in picture.findings])
        _put_json(file, "tables", _hexed(forest(picture)))
        file.write(tail)
    return sum(picture.kinds.values())


def _blocks(
    events: Iterable[Event], picture: Picture, origins: dict[int, str], describe: Describe
) -> Iterator[bytes]:
    """Columns of `BLOCK` events each: numbers, times, kinds, causes, lines."""
    kinds = list(KIND_OF.values())
    rows: list[tuple[int, int, int, int, str]] = []
    for event in events:
        picture.add(event)
        if isinstance(event, Origin):
            origins[event.seq] = place_of(event, MOST_CALLERS)
        kind = kinds.index(KIND_OF[type(event)])
        rows.append((event.seq, event.time, kind, event.cause, describe(event)))
        if len(rows) == BLOCK:
            yield _columns(rows)
            rows.clear()
    if rows:
        yield _columns(rows)


def _columns(rows: list[tuple[int, int, int, int, str]]) -> bytes:
    return json.dumps(list(zip(*rows, strict=True)), separators=(",", ":")).encode()


def _summary(picture: Picture, axis: Axis, title: str, blocks: int) -> dict[str, Any]:
    return {
        "title": title,
        "kinds": list(KIND_OF.values()),
        "counts": dict(picture.kinds.most_common()),
        "blocks": blocks,
        "block": BLOCK,
        "events": sum(picture.kinds.values()),
        "span": [picture.first[0], picture.last[0]],
        "time": [picture.first[1], picture.last[1]],
        "height": axis.height,
        "spaces": [
            {"name": _space_name(space), "row": row, "addresses": [f"{at:x}" for at in addresses]}
            for space, row, addresses in axis.spaces
        ],
        "records": picture.records,
        "notes": [f"{note.name}: {note.text}" for note in picture.notes[:_NOTES]],
    }


def _space_name(space: tuple[str, str, int | None, int | None]) -> str:
    unit, world, vmid, asid = space
    words = [unit, world]
    if vmid is not None:
        words.append(f"VMID {vmid}")
    if world.startswith(("EL1", "EL2")):
        words.append("global" if asid is None else f"ASID {asid}")
    return " ".join(words)


def _hexed(trees: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Addresses and values as text, since a browser's numbers have 53 bits."""

    def table(node: dict[str, Any]) -> dict[str, Any]:
        return {"level": node["level"], "entries": [entry(one) for one in node["entries"]]}

    def entry(node: dict[str, Any]) -> dict[str, Any]:
        plain = {**node, "at": f"{node['at']:#x}", "value": f"{node['value'] & _WORD:#018x}"}
        if "table" in node:
            plain["table"] = table(node["table"])
        return plain

    return [{"name": one["name"], "table": table(one["table"])} for one in trees]


_WORD = (1 << 64) - 1


def _shell(title: str) -> tuple[str, str]:
    """What comes before the data, and after it."""
    page = (_ASSETS / "page.html").read_text(encoding="utf-8")
    page = page.replace("{{title}}", escape(title))
    page = page.replace("{{css}}", (_ASSETS / "page.css").read_text(encoding="utf-8"))
    page = page.replace("{{js}}", (_ASSETS / "page.js").read_text(encoding="utf-8"))
    head, _, tail = page.partition("{{data}}")
    return head, tail


def _put_json(file: TextIO, name: str, value: Any) -> None:
    _put(file, name, json.dumps(value, separators=(",", ":")).encode())


def _put(file: TextIO, name: str, data: bytes) -> None:
    packed = b64encode(zlib.compress(data, 6)).decode()
    file.write(f'<script type="application/octet-stream" id="data-{name}">{packed}</script>\n')


def _little_endian(column: array[Any]) -> bytes:
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()
