# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m bench [PART ...] [--json]``: measure and print one table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from importlib import import_module

from bench.measure import Row

PARTS = (
    "startup",
    "core",
    "smmu",
    "pgtable",
    "machine",
    "provenance",
    "campaign",
    "trace",
    "check",
)
SLOW_PARTS = ("linux",)
"""Measured only where they are named."""


def _rows(parts: list[str]) -> Iterator[tuple[str, Row]]:
    for part in parts:
        for row in import_module(f"bench.{part}").rows():
            yield part, row


def _print_table(parts: list[str]) -> None:
    """Row by row, as they are measured."""
    last = None
    for part, row in _rows(parts):
        if part != last:
            print(f"{part if last is None else chr(10) + part}")
            last = part
        verdict = "" if row.met is None else "ok" if row.met else "NOT MET"
        line = f"  {row.name:48}{row.value:12,.2f} {row.unit:8}{row.aim:>8}  {verdict}"
        print(line.rstrip(), flush=True)


def main() -> None:
    """Measure the parts that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    known = ", ".join((*PARTS, *SLOW_PARTS))
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{known}; {SLOW_PARTS[0]} if named"
    )
    parser.add_argument("--json", action="store_true", help="print a list of rows instead")
    arguments = parser.parse_args()
    parts = arguments.parts or list(PARTS)
    for part in parts:
        if part not in PARTS + SLOW_PARTS:
            parser.error(f"no part {part!r}; there are {known}")
    if arguments.json:
        rows = [{"part": part, **row._asdict(), "met": row.met} for part, row in _rows(parts)]
        print(json.dumps(rows, indent=1))
    else:
        _print_table(parts)


if __name__ == "__main__":
    main()
