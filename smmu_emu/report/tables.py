# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables that walks went through, level by level, in words.

What nobody walked is not there: this is what the translation unit saw, with the last value it saw.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pgtable.inspect import Space
from smmu_emu.report.picture import Picture

Node = dict[str, Any]
_ABORTED = -1


def forest(picture: Picture) -> list[Node]:
    """One tree for each stream, substream and stage: tables with their entries, in order.

    A table is {"at", "level", "entries"}; an entry has "at", "value", "words", "seq" and, where it
    leads to a table that was walked, that "table".
    """
    trees = []
    for (unit, stream_id, substream_id, stage), known in picture.tables.items():
        name = f"{unit} stream {stream_id:#x}"
        if substream_id is not None:
            name += f" substream {substream_id:#x}"
        granule_lg2 = picture.granules.get((unit, stream_id), 12)
        decode = _decoder(stage, granule_lg2)
        tops = min(level for _, level, _ in known.values())
        pages: dict[tuple[int, int], list[Node]] = {}
        for where in sorted(known):
            value, level, seq = known[where]
            entry: Node = {"at": where, "value": value, "words": decode(value, level), "seq": seq}
            pages.setdefault((where >> granule_lg2, level), []).append(entry)
        for (_, level), entries in pages.items():
            for entry in entries:
                below = pages.get(((entry["value"] & _ADDRESS) >> granule_lg2, level + 1))
                if below and entry["value"] & 3 == 3 and level < 3:
                    entry["table"] = {"level": level + 1, "entries": below}
        roots = [entries for (_, level), entries in pages.items() if level == tops]
        top = {"level": tops, "entries": [entry for entries in roots for entry in entries]}
        trees.append({"name": f"{name}, stage {stage}", "table": top})
    return trees


_ADDRESS = 0x0000_FFFF_FFFF_F000


def _decoder(stage: int, granule_lg2: int) -> Callable[[int, int], str]:
    """Words for a descriptor of one level."""
    reader = Space(format=f"ARM_64_LPAE_S{stage}", root=0, granule=1 << granule_lg2).reader
    levels = {level.number: level for level in reader.levels}

    def decode(value: int, level: int) -> str:
        if value == _ABORTED:
            return "the fetch was aborted"
        if level not in levels:
            return ""
        descriptor = reader.decode(value, levels[level])
        return ", ".join([str(descriptor), *(words for _, words in descriptor.problems)])

    return decode
