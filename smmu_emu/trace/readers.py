# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces out of files, event by event: JSON lines and Parquet.

A run that was killed leaves a last line that is not whole: what is before it counts, and a `Note`
says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from smmu_emu.trace.codec import FORMAT, VERSION, TraceError, decode
from smmu_emu.trace.events import Event, Note

_ONE_WAY = (".perfetto-trace", ".pftrace", ".txt")


def read_trace(path: Path) -> Iterator[Event]:
    """The events of a file, in order.

    Raises: TraceError, before the first event, if it is no trace; with the first event that is
    damaged. OSError if it cannot be read.
    """
    if path.suffix == ".parquet":
        from smmu_emu.trace.parquet import read_parquet

        return read_parquet(path)
    if path.suffix in _ONE_WAY:
        raise TraceError(f"{path}: {path.suffix} is for people; keep a .jsonl or .parquet to read")
    return _read_lines(path)


def _read_lines(path: Path) -> Iterator[Event]:
    with path.open("rb") as file:
        _check_header(path, file.readline())
        last: Event | None = None
        for number, line in enumerate(file, 2):
            try:
                event = decode(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                if not line.endswith(b"\n"):
                    yield _cut_off(last, number)
                    return
                raise TraceError(f"{path}: line {number} is no event: {_what(error)}") from error
            yield event
            last = event


def _check_header(path: Path, line: bytes) -> None:
    try:
        head = json.loads(line)
    except ValueError:
        head = None
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise TraceError(f"{path} is no trace of smmu-emu (its first line does not say so)")
    if head.get("version") != VERSION:
        raise TraceError(
            f"{path} is a trace of version {head.get('version')}, this smmu-emu reads {VERSION}"
        )


def _cut_off(last: Event | None, number: int) -> Note:
    seq, time = (last.seq, last.time) if last is not None else (0, 0)
    return Note(seq, time, "machine", 0, "cut-off", f"the trace ends inside of line {number}")


def _what(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no kind or field {error}"
    return str(error)
