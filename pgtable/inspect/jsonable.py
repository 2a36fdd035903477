# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything the readers find, as plain values for JSON.

Addresses and descriptors are hexadecimal strings, for JSON's readers lose integers above 53 bits;
sizes and counts are numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pgtable.inspect.changes import Unsafe
from pgtable.inspect.diff import Change, What
from pgtable.inspect.find import Found
from pgtable.inspect.findings import Finding
from pgtable.inspect.meaning import EXECUTE, READ, WRITE, Meaning
from pgtable.inspect.reader import Descriptor
from pgtable.inspect.space import Space
from pgtable.inspect.tree import Range, Tree
from pgtable.inspect.walk import Walk

Plain = dict[str, Any]


def space(of: Space) -> Plain:
    return {
        "format": of.format,
        "roots": [None if root is None else hex(root) for root in of.roots],
        "granule": of.granule,
        "input_bits": of.input_bits,
        "output_bits": of.output_bits,
        "first_level": of.levels[0].number,
        "lowest": hex(of.base),
    }


def _rights(rights: int) -> str:
    pairs = ((READ, "r"), (WRITE, "w"), (EXECUTE, "x"))
    return "".join(name if rights & bit else "-" for bit, name in pairs)


def meaning(of: Meaning) -> Plain:
    return {
        "words": str(of),
        "user": _rights(of.user),
        "privileged": _rights(of.privileged),
        "memory": of.memory.words,
        "shareability": of.shareability,
        "flags": list(of.flags),
        "software": hex(of.software),
    }


def part(of: Range) -> Plain:
    return {
        "start": hex(of.start),
        "last": hex(of.last),
        "address": hex(of.address),
        "leaf": of.leaf,
        "leaves": of.size // of.leaf,
        "meaning": str(of.meaning),
    }


def tree(of: Tree, with_tables: bool = True) -> Plain:
    """Return a tree: its space, totals, meanings, ranges, tables and findings."""
    out: Plain = {
        "space": space(of.space),
        "mapped": of.mapped,
        "leaves": of.leaves,
        "table_bytes": of.table_bytes,
        "meanings": {str(m): meaning(m) for m in of.meanings},
        "ranges": [part(one) for one in of.ranges()],
        "findings": [finding(one) for one in of.findings],
    }
    if with_tables:
        columns = zip(
            of.tables.address.tolist(),
            of.tables.depth.tolist(),
            of.tables.iova.tolist(),
            of.tables.used.tolist(),
            strict=True,
        )
        out["tables"] = [
            {
                "level": of.space.levels[depth].number,
                "address": hex(address),
                "start": hex(of.space.base + iova),
                "used": used,
                "entries": of.space.levels[depth].entries,
            }
            for address, depth, iova, used in columns
        ]
    return out


def descriptor(of: Descriptor) -> Plain:
    """Return a descriptor with every field."""
    return {
        "word": hex(of.word),
        "level": of.level,
        "kind": of.kind,
        "address": None if of.address is None else hex(of.address),
        "size": of.size,
        "meaning": None if of.meaning is None else meaning(of.meaning),
        "fields": [
            {
                "name": field.name,
                "msb": field.msb,
                "lsb": field.lsb,
                "kind": field.kind.value,
                "value": hex(number),
                "words": words,
            }
            for field, number, words in of.fields
        ],
        "problems": [{"rule": rule, "message": words} for rule, words in of.problems],
    }


def walk(of: Walk) -> Plain:
    return {
        "iova": hex(of.iova),
        "target": None if of.target is None else hex(of.target),
        "leaf": of.leaf,
        "meaning": None if of.meaning is None else meaning(of.meaning),
        "fault": of.fault,
        "steps": [
            {
                "level": step.level,
                "table": hex(step.table),
                "index": step.entry,
                "address": hex(step.address),
                "descriptor": None if step.descriptor is None else descriptor(step.descriptor),
            }
            for step in of.steps
        ],
    }


def change(of: Change) -> Plain:
    return {
        "what": [one.name.lower() for one in What if of.what & one and one.name],
        "start": hex(of.start),
        "last": hex(of.last),
        "old": None if of.old is None else part(of.old),
        "new": None if of.new is None else part(of.new),
    }


def unsafe(of: Unsafe) -> Plain:
    return {
        "start": hex(of.start),
        "last": hex(of.last),
        "level": of.level,
        "address": hex(of.address),
        "old": hex(of.old),
        "new": hex(of.new),
        "count": of.count,
        "reasons": [reason.name.lower() for reason in of.verdict.reasons],
    }


def found(of: Found) -> Plain:
    return {
        "ranges": [part(one) for one in of.ranges],
        "tables": [
            {
                "level": table.level,
                "address": hex(table.address),
                "size": table.size,
                "start": hex(table.iova),
            }
            for table in of.tables
        ],
    }


def finding(of: Finding) -> Plain:
    return {
        "severity": of.severity,
        "rule": of.rule,
        "message": of.message,
        "level": of.level,
        "address": None if of.address is None else hex(of.address),
        "word": None if of.word is None else hex(of.word),
        "count": of.count,
        "start": None if of.iova is None else hex(of.iova),
        "size": of.size,
    }


def findings(of: Sequence[Finding]) -> list[Plain]:
    return [finding(one) for one in of]
