# SPDX-License-Identifier: GPL-2.0-or-later
"""Physical memory as somebody dumped it: pieces of bytes, each at its address.

Pieces come from raw files (QEMU's `pmemsave` writes those), from ELF cores whose program headers
tell physical addresses (QEMU's `dump-guest-memory`, crash dumps), and from memory that is in use.
Files are mapped, not read: of a dump of gigabytes, only the tables are touched.

Left out: compressed dumps (kdump's own format, gzip), and cores of processes, which hold no
physical addresses.
"""

from __future__ import annotations

import io
import mmap
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pgtable.inspect.arrays import I64, U64, Mask
from pgtable.inspect.errors import DumpError
from pgtable.inspect.units import parse_size

ELF_MAGIC = b"\x7fELF"

RowArray = npt.NDArray[np.unsignedinteger[Any]]


class Window(Protocol):
    """Memory in use, such as an `Arena`."""

    base: int
    bytes: memoryview


class Piece(NamedTuple):
    """Bytes at a physical address."""

    base: int
    data: memoryview
    name: str

    @property
    def end(self) -> int:
        return self.base + len(self.data)

    def __str__(self) -> str:
        return f"{self.name} at {self.base:#x}-{self.end - 1:#x}"


class Image:
    """Pieces of physical memory, read by address.

    Raises: DumpError when pieces are empty, overlap, or leave the 64-bit space.
    """

    def __init__(self, pieces: Iterable[tuple[int, Any] | tuple[int, Any, str]]) -> None:
        found = []
        for base, data, *name in pieces:
            piece = Piece(base, memoryview(data).cast("B"), name[0] if name else "memory")
            if not len(piece.data):
                raise DumpError(f"{piece.name}: empty")
            if base < 0 or piece.end > 1 << 64:
                raise DumpError(f"{piece}: leaves the 64-bit physical address space")
            found.append(piece)
        if not found:
            raise DumpError("no memory given")
        self.pieces = sorted(found, key=lambda piece: piece.base)
        for one, other in pairwise(self.pieces):
            if other.base < one.end:
                raise DumpError(f"two pieces overlap: {one}, {other}")
        self._bases = np.array([piece.base for piece in self.pieces], dtype=np.uint64)
        self._spans()
        self._views: dict[tuple[int, int], tuple[int, RowArray]] = {}

    def _spans(self) -> None:
        """Join adjacent pieces, so that a table may lie across them."""
        spans: list[list[int]] = []
        for piece in self.pieces:
            if spans and spans[-1][1] == piece.base:
                spans[-1][1] = piece.end
            else:
                spans.append([piece.base, piece.end])
        self.spans = [(start, end) for start, end in spans]
        self._starts = np.array([start for start, _ in self.spans], dtype=np.uint64)
        self._lasts = np.array([end - 1 for _, end in self.spans], dtype=np.uint64)

    @classmethod
    def of(cls, memory: Window) -> Image:
        """Return an image of memory in use; it shows changes as they happen."""
        return cls([(memory.base, memory.bytes, type(memory).__name__)])

    @property
    def size(self) -> int:
        """Bytes in all pieces together."""
        return sum(len(piece.data) for piece in self.pieces)

    def __str__(self) -> str:
        return ", ".join(f"{start:#x}-{end - 1:#x}" for start, end in self.spans)

    def __contains__(self, address: int) -> bool:
        return self.holds(address, 1)

    def holds(self, address: int, size: int) -> bool:
        """Say whether all of `size` bytes at an address are here."""
        return any(start <= address and address + size <= end for start, end in self.spans)

    def held(self, addresses: U64, size: int) -> Mask:
        """`holds` for each of many addresses."""
        span = np.searchsorted(self._starts, addresses, side="right") - 1
        lasts = self._lasts[np.maximum(span, 0)]
        room: Mask = (span >= 0) & (addresses <= lasts)
        return room & (lasts - np.minimum(addresses, lasts) >= np.uint64(size - 1))

    def read(self, address: int, size: int) -> bytes | None:
        """Return `size` bytes, or None when not all of them are here."""
        if not self.holds(address, size):
            return None
        out = bytearray()
        for piece in self.pieces:
            low, high = max(address, piece.base), min(address + size, piece.end)
            if low < high:
                out += piece.data[low - piece.base : high - piece.base]
        return bytes(out)

    def word(self, address: int, width: int) -> int | None:
        """Return the little-endian word of `width` bytes at an address, or None."""
        data = self.read(address, width)
        return None if data is None else int.from_bytes(data, "little")

    def rows(self, addresses: U64, entries: int, width: int) -> RowArray:
        """Return one row of `entries` words of `width` bytes for each address.

        All of it must be held, at addresses that are multiples of the width.
        """
        out: RowArray = np.zeros((len(addresses), entries), dtype=f"<u{width}")
        which: I64 = np.searchsorted(self._bases, addresses, side="right") - 1
        steps = np.arange(entries, dtype=np.int64)
        for number in np.unique(which).tolist():
            rows = np.flatnonzero(which == number)
            skipped, view = self._view(number, width)
            base = np.uint64(self.pieces[number].base + skipped)
            first = ((addresses[rows] - base) // np.uint64(width)).astype(np.int64)
            inside = first + entries <= len(view)
            rows_inside = rows[inside]
            out[rows_inside] = view[first[inside][:, None] + steps]
            for row in rows[~inside].tolist():
                data = self.read(int(addresses[row]), entries * width)
                assert data is not None
                out[row] = np.frombuffer(data, dtype=f"<u{width}")
        return out

    def _view(self, number: int, width: int) -> tuple[int, RowArray]:
        """Return a piece as words, and how many bytes before the first whole word there are."""
        found = self._views.get((number, width))
        if found is None:
            piece = self.pieces[number]
            skipped = -piece.base % width
            count = max(0, len(piece.data) - skipped) // width
            view: RowArray = np.frombuffer(
                piece.data[skipped : skipped + count * width], dtype=f"<u{width}"
            )
            found = self._views[number, width] = (skipped, view)
        return found


def load(*sources: str | Path | tuple[int, str | Path]) -> Image:
    """Open dumps: `ADDRESS=FILE` or (address, file) for raw memory, a plain path for an ELF core.

    Raises: DumpError.
    """
    pieces: list[tuple[int, Any, str]] = []
    for source in sources:
        base, path = _split(source)
        data = _map(path)
        if base is not None:
            pieces.append((base, data, str(path)))
        elif data[:4].tobytes() == ELF_MAGIC:
            pieces.extend(elf_pieces(data, str(path)))
        else:
            raise DumpError(
                f"{path}: raw memory, so its address is needed: 0x40000000={path} "
                "(only ELF cores tell it themselves)"
            )
    return Image(pieces)


def _split(source: str | Path | tuple[int, str | Path]) -> tuple[int | None, Path]:
    if isinstance(source, tuple):
        return source[0], Path(source[1])
    if isinstance(source, str):
        address, equals, name = source.partition("=")
        if equals and re.fullmatch(r"0[xX][0-9a-fA-F_]+|[1-9][0-9_]*[KMGkmg]?|0", address):
            if not name:
                raise DumpError(f"{source!r}: no file after the address")
            return parse_size(address, "address"), Path(name)
    return None, Path(source)


def _map(path: Path) -> memoryview:
    """Return a file's bytes, mapped where that can be done."""
    try:
        with path.open("rb") as file:
            try:
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            except (ValueError, OSError):
                return memoryview(file.read())
    except OSError as error:
        raise DumpError(f"{path}: {error.strerror or error}") from error


def elf_pieces(data: memoryview, name: str) -> list[tuple[int, Any, str]]:
    """Return the loadable segments of an ELF file, at their physical addresses.

    Raises: DumpError.
    """
    if len(data) < 52 or data[:4].tobytes() != ELF_MAGIC:
        raise DumpError(f"{name}: not an ELF file, or cut off in its header")
    if data[4] not in (1, 2) or data[5] != 1:
        raise DumpError(f"{name}: not a little-endian ELF file of 32 or 64 bits")
    pieces = []
    for number, header in enumerate(_loadable(data, name)):
        offset, physical, size = header
        if not size:
            continue
        if offset + size > len(data):
            raise DumpError(
                f"{name}: truncated: segment {number} ends at byte {offset + size:#x}, "
                f"the file at {len(data):#x}"
            )
        pieces.append((physical, data[offset : offset + size], f"{name} segment {number}"))
    if not pieces:
        raise DumpError(f"{name}: the ELF file has no loadable segment")
    if len(pieces) > 1 and not any(base for base, _, _ in pieces):
        raise DumpError(f"{name}: segments without physical addresses (the core of a process?)")
    return pieces


def _loadable(data: memoryview, name: str) -> Iterable[tuple[int, int, int]]:
    """Yield (offset, physical address, size in the file) of each loadable segment."""
    from elftools.elf.elffile import ELFFile

    mapped = data.obj
    try:
        stream: Any = mapped if isinstance(mapped, mmap.mmap) else io.BytesIO(data)
        elf = ELFFile(stream)
        size, count = elf["e_phentsize"], elf.num_segments()
        wanted = elf.structs.Elf_Phdr.sizeof()
        if count and size < wanted:
            raise DumpError(f"{name}: program headers of {size} bytes, {wanted} needed")
        if elf["e_phoff"] + count * size > len(data):
            raise DumpError(f"{name}: truncated in its program headers")
        for segment in elf.iter_segments("PT_LOAD"):
            header = segment.header
            yield header["p_offset"], header["p_paddr"], header["p_filesz"]
    except DumpError:
        raise
    except Exception as error:  # whatever a library says about a damaged file is one line
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DumpError(f"{name}: truncated or damaged in its headers ({reason})") from error
