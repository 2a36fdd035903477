# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces as columns, for analysis tools: Apache Parquet, through pyarrow.

What most kinds have is a column of its own, null where a kind has no such field; all other fields
are in ``detail``, a JSON object. pyarrow is an optional dependency: ``pip install
'smmu-emu[parquet]'``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smmu_emu.trace.codec import FORMAT, VERSION, TraceError, decode, make_encoder
from smmu_emu.trace.events import KIND_OF, Event
from smmu_emu.trace.sinks import FileSink

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = {
    "seq": "uint64",
    "time": "uint64",
    "unit": "string",
    "cause": "uint64",
    "kind": "string",
    "name": "string",
    "stream_id": "uint64",
    "substream_id": "uint64",
    "iova": "uint64",
    "pa": "uint64",
    "entry": "uint64",
    "transaction": "uint64",
    "command": "uint64",
    "write": "bool",
    "outcome": "string",
    "fault": "string",
}
"""Columns and their types; ``detail`` comes last."""
GROUP = 1 << 16
"""Rows of a row group."""
_METADATA = {"format": FORMAT, "version": str(VERSION)}


def _import() -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        raise TraceError(
            "Parquet needs the package pyarrow: pip install 'smmu-emu[parquet]'"
        ) from error
    return pa


def _schema(pa: Any) -> pa.Schema:
    types = {"bool": pa.bool_(), "uint64": pa.uint64()}
    dictionary = pa.dictionary(pa.int32(), pa.string())
    fields = [(name, types.get(kind, dictionary)) for name, kind in COLUMNS.items()]
    return pa.schema([*fields, ("detail", pa.string())], metadata=_METADATA)


_DETAILS = {
    one: make_encoder(one, tuple(name for name in one._fields if name not in COLUMNS))
    for one in KIND_OF
}
_INDEXES: dict[type[Event], list[int | None]] = {
    one: [one._fields.index(name) if name in one._fields else None for name in COLUMNS]
    for one in KIND_OF
}


class ParquetSink(FileSink):
    """Writes a row group for every `GROUP` events."""

    mode = "wb"

    def __init__(self, path: Path) -> None:
        self._pa = _import()
        self._rows: list[Event] = []
        super().__init__(path)

    def _begin(self) -> None:
        self._schema = _schema(self._pa)
        self._writer: Any = self._pa.parquet.ParquetWriter(
            self._file, self._schema, compression="zstd"
        )

    def _give_up(self) -> None:
        self._writer.is_open = False  # or it would try again when it is collected
        super()._give_up()

    def _write(self, events: list[Event]) -> None:
        self._rows += events
        if len(self._rows) >= GROUP:
            self._write_group()

    def _write_group(self) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return
        table = _columns(rows)
        batch = self._pa.record_batch(
            [
                self._pa.array(values, type=field.type)
                for values, field in zip(table, self._schema, strict=True)
            ],
            schema=self._schema,
        )
        self._writer.write_batch(batch)

    def _end(self) -> None:
        self._write_group()
        self._writer.close()


def _columns(events: list[Event]) -> list[list[Any]]:
    """Values by column, ``detail`` last; a kind at a time, as each has its fields elsewhere."""
    count = len(events)
    columns: list[list[Any]] = [[None] * count for _ in COLUMNS]
    details: list[Any] = [None] * count
    by_kind: dict[type[Event], list[int]] = {}
    for row, event in enumerate(events):
        by_kind.setdefault(type(event), []).append(row)
    kind_column = list(COLUMNS).index("kind")
    for kind, rows in by_kind.items():
        encode = _DETAILS[kind]
        for column, index in zip(columns, _INDEXES[kind], strict=True):
            if index is not None:
                for row in rows:
                    column[row] = events[row][index]
        for row in rows:
            columns[kind_column][row] = KIND_OF[kind]
            details[row] = encode(events[row])
    return [*columns, details]


def read_parquet(path: Path) -> Iterator[Event]:
    """The events of a file that `ParquetSink` wrote.

    Raises: TraceError if it is none.
    """
    pa = _import()
    try:
        file = pa.parquet.ParquetFile(path)
    except pa.ArrowException as error:
        raise TraceError(f"{path} is no Parquet file, or not a whole one") from error
    metadata = file.schema_arrow.metadata or {}
    if metadata.get(b"format") != FORMAT.encode():
        raise TraceError(f"{path} is no trace of smmu-emu (its metadata does not say so)")
    return _rows(path, file)


def _rows(path: Path, file: Any) -> Iterator[Event]:
    names = list(COLUMNS)
    for batch in file.iter_batches():
        table = [column.to_pylist() for column in batch.columns]
        for *values, detail in zip(*table, strict=True):
            try:
                fields = dict(zip(names, values, strict=True))
                yield decode(fields | json.loads(detail))
            except (ValueError, KeyError, TypeError) as error:
                raise TraceError(f"{path} has a row that is no event: {error}") from error
