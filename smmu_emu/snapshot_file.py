# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots in files: 8 bytes of magic, version, checksum, and plain data, compressed.

All numbers are little-endian: magic, format version (u32), length of the rest (u64), SHA-256 of the
rest. The rest is compressed by zlib and holds numbers, text, bytes, lists and tuples alone, so that
reading a file runs no code of its own. A file belongs to the version of the package that wrote it,
since another one may have other devices inside.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import pickle
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from smmu_emu.bits import Word
from smmu_emu.devices.virtio.disk import Disk, DiskMode
from smmu_emu.errors import ConfigurationError
from smmu_emu.snapshot_code import Decoder, Encoder, Node, find_global
from smmu_emu.state import Kept, StateError, keep

if TYPE_CHECKING:
    from smmu_emu.machine import Machine
    from smmu_emu.snapshot import Snapshot

MAGIC = b"SMMUSNAP"
FORMAT = 1
_HEAD = struct.Struct("<8sIQ32s")
_QUICKLY = 1
"""zlib's level: pages of RAM are large, and much of them is zero."""


class Contents(NamedTuple):
    """What is in a file. ``board`` are the arguments of `Machine.virt`, None if it was built
    otherwise; ``disks`` are path, size and time of change of each image."""

    package: str
    time: int
    instructions: int
    has_core: bool
    board: dict[str, Any] | None
    disks: list[tuple[str, int, int]]
    nodes: list[Node]


@cache
def package_version() -> str:
    """Version of this package."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("smmu-emu")
    except PackageNotFoundError:
        return "unknown"


# -- between machines and plain data


def tell(snapshot: Snapshot, machine: Machine, kept: Kept) -> Contents:
    """A snapshot as plain data.

    Raises: StateError for something that has no name.
    """
    return Contents(
        package=package_version(),
        time=snapshot.time,
        instructions=snapshot.instructions,
        has_core=snapshot.has_core,
        board=tell_board(machine),
        disks=[_tell_disk(disk) for disk in machine.board.disks],
        nodes=Encoder(machine, kept).nodes(),
    )


def fit(contents: Contents, machine: Machine) -> Kept:
    """What to put back into a machine.

    Raises: ConfigurationError if it has another board or other disks.
    """
    board = tell_board(machine)
    if board != contents.board:
        raise ConfigurationError(
            f"the snapshot is of another board: {_difference(contents, board)}"
        )
    for (path, size, changed), disk in zip(contents.disks, machine.board.disks, strict=True):
        if _tell_disk(disk)[1:] != (size, changed):
            raise ConfigurationError(
                f"disk {disk.path} is not as the snapshot left {path}: other size or time of change"
            )
    if contents.has_core:
        machine.core  # noqa: B018 - made when first asked for
    return Decoder(machine, keep(machine), contents.nodes).kept()


def _difference(contents: Contents, board: dict[str, Any] | None) -> str:
    """The first thing that is not the same."""
    if contents.board is None or board is None:
        return "one of them was not made by Machine.virt"
    for name in sorted(contents.board.keys() | board.keys()):
        there, here = contents.board.get(name), board.get(name)
        if there != here:
            return f"its {name} is {_shown(there)}, this machine's is {_shown(here)}"
    return ""


def _shown(value: Any) -> str:
    text = repr(value[1] if isinstance(value, tuple) and len(value) == 2 else value)
    return text if len(text) <= 60 else text[:57] + "..."


def _tell_disk(disk: Disk) -> tuple[str, int, int]:
    status = os.stat(disk.path)
    return os.path.abspath(disk.path), disk.sectors, status.st_mtime_ns


def tell_board(machine: Machine) -> dict[str, Any] | None:
    """The arguments that a machine was built with, as plain data; None if nobody knows them.

    Raises: StateError for arguments that cannot be told.
    """
    if machine.recipe is None:
        return None
    return {name: _tell_argument(name, value) for name, value in machine.recipe.items()}


def _tell_argument(name: str, value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if isinstance(value, tuple | list):
        return ("list", [_tell_argument(name, item) for item in value])
    if isinstance(value, Disk):
        return ("disk", value.path, value.mode.value, value.bus)
    path = f"{type(value).__module__}:{type(value).__qualname__}"
    if isinstance(value, Word):
        return ("word", path, value.value)
    if dataclasses.is_dataclass(value):
        fields = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        told = {key: _tell_argument(name, item) for key, item in fields.items()}
        return ("data", path, told)
    raise StateError(f"no snapshot in a file: the machine was built with {name}={value!r}")


def rebuild(contents: Contents) -> dict[str, Any]:
    """The arguments for `Machine.virt`.

    Raises: ConfigurationError if the machine was built otherwise, or a disk cannot be opened.
    """
    if contents.board is None:
        raise ConfigurationError(
            "the snapshot is of a machine that Machine.virt did not make: build one like it, and "
            "restore Snapshot.load(path)"
        )
    return {name: _argument(value) for name, value in contents.board.items()}


def _argument(told: Any) -> Any:
    if not isinstance(told, tuple):
        return told
    tag, *rest = told
    if tag == "list":
        return tuple(_argument(item) for item in rest[0])
    if tag == "disk":
        path, mode, bus = rest
        return Disk(path, DiskMode(mode), bus)
    path, value = rest
    if tag == "word":
        return find_global(path)(value)
    return find_global(path)(**{name: _argument(item) for name, item in value.items()})


# -- between plain data and files


def write(path: str | os.PathLike[str], contents: Contents) -> None:
    """Write a file; if that fails there is none, or the one from before.

    Raises: OSError.
    """
    plain = contents._replace(nodes=[tuple(node) for node in contents.nodes])  # type: ignore[misc]
    packed = zlib.compress(pickle.dumps(tuple(plain), protocol=4), _QUICKLY)
    head = _HEAD.pack(MAGIC, FORMAT, len(packed), hashlib.sha256(packed).digest())
    target = Path(path)
    beside = target.with_name(target.name + ".part")
    try:
        with beside.open("wb") as file:
            file.write(head)
            file.write(packed)
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def read(path: str | os.PathLike[str]) -> Contents:
    """Read a file.

    Raises: ConfigurationError in one line for a file that is no snapshot, damaged, or of another
        version; OSError.
    """
    data = Path(path).read_bytes()
    where = f"snapshot {os.fspath(path)}"
    if len(data) < _HEAD.size or data[: len(MAGIC)] != MAGIC:
        raise ConfigurationError(f"{where}: no snapshot of a machine")
    _, version, length, checksum = _HEAD.unpack_from(data)
    if version != FORMAT:
        raise ConfigurationError(f"{where}: format {version}; this version reads {FORMAT}")
    packed = data[_HEAD.size :]
    if len(packed) != length:
        raise ConfigurationError(
            f"{where}: truncated or too long: {len(packed)} bytes follow the header, not {length}"
        )
    if hashlib.sha256(packed).digest() != checksum:
        raise ConfigurationError(f"{where}: damaged: the checksum is wrong")
    contents = _unpack(packed, where)
    if contents.package != package_version():
        raise ConfigurationError(
            f"{where}: written by smmu-emu {contents.package}; this is {package_version()}"
        )
    return contents


class _PlainReader(pickle.Unpickler):
    """Reads plain data; everything else would be code that somebody put there."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name}")


def _unpack(packed: bytes, where: str) -> Contents:
    try:
        plain = _PlainReader(io.BytesIO(zlib.decompress(packed))).load()
        contents = Contents(*plain)
        return contents._replace(nodes=[Node(*node) for node in contents.nodes])
    except (pickle.UnpicklingError, zlib.error, TypeError, ValueError, EOFError) as error:
        raise ConfigurationError(f"{where}: damaged: {error}") from None
