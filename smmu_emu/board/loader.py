# SPDX-License-Identifier: GPL-2.0-or-later
"""What an image file holds: AArch64 ELF, arm64 Linux kernel, or raw bytes.

Reads only; nothing is written to memory here. Spec: System V gABI chapter 5 and the AArch64 ELF
supplement; for a kernel's header Linux's Documentation/arch/arm64/booting.rst. Only static ELF
executables are taken: a dynamic one needs a run-time linker, and there is none.
"""

from __future__ import annotations

import os
import stat
from struct import Struct
from typing import Literal, NamedTuple

from smmu_emu.errors import ImageError

LARGEST_FILE = 1 << 30
LINUX_ALIGNMENT = 2 << 20
LINUX_LEGACY_OFFSET = 0x80000
LINUX_LOWEST_OFFSET = 0x1000

_ELF_MAGIC = b"\x7fELF"
_ELF_HEADER, _PROGRAM_HEADER = Struct("<16sHHIQQQIHHHHHH"), Struct("<IIQQQQQQ")
_ELF_CLASS = {1: 32, 2: 64}
_ELF_ORDER: dict[int, Literal["little", "big"]] = {1: "little", 2: "big"}
_ELF_TYPES = {0: "NONE", 1: "REL", 3: "DYN", 4: "CORE"}
_ET_EXEC, _EM_AARCH64, _PT_LOAD, _PT_INTERP = 2, 183, 1, 3
_LINUX_MAGIC_OFFSET, _LINUX_MAGIC = 56, b"ARM\x64"
_LINUX_HEADER = 64
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ": "xz",
    b"BZh": "bzip2",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
    b"MZ\x00\x00zimg": "EFI zboot",
}

Source = str | os.PathLike[str] | bytes


class Piece(NamedTuple):
    """Bytes for one stretch of RAM: ``data`` at ``address``, then zeros up to ``size`` bytes."""

    name: str
    address: int
    data: bytes
    size: int

    @property
    def end(self) -> int:
        """The address after the last byte."""
        return self.address + self.size

    def __str__(self) -> str:
        return f"{self.name} ({self.address:#x}-{self.end - 1:#x})"


class Image(NamedTuple):
    """What to put where, and the physical address of the first instruction."""

    name: str
    kind: str
    pieces: tuple[Piece, ...]
    entry: int


def read_source(source: Source, what: str = "image") -> tuple[str, bytes]:
    """Name for messages and bytes of a file, or of bytes that are here already.

    Raises: ImageError if there is no regular, readable, non-empty file of sane size.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        name, data = what, bytes(source)
    else:
        path = os.fspath(source)
        name = path if path.isprintable() else repr(path)
        data = _read_file(path, name)
    if not data:
        raise ImageError(f"{name} is empty")
    return name, data


def _read_file(path: str, name: str) -> bytes:
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name} is a directory, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{name} is not a regular file")
        if status.st_size > LARGEST_FILE:
            raise ImageError(f"{name} has {status.st_size} bytes; the limit is {LARGEST_FILE}")
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"{name} cannot be read: {reason}") from None


def read_image(
    source: Source, ram_base: int, *, load_address: int | None = None, entry: int | None = None
) -> Image:
    """Understand an image; ``load_address`` is for raw bytes, ``entry`` replaces the image's own.

    Raises: ImageError with what is wrong, in one line.
    """
    name, data = read_source(source)
    if data.startswith(_ELF_MAGIC):
        if load_address is not None:
            raise ImageError(f"{name} is an ELF, which says itself where it is loaded")
        image = _read_elf(name, data)
    elif load_address is not None:
        image = Image(name, "raw", (Piece(name, load_address, data, len(data)),), load_address)
    elif data[_LINUX_MAGIC_OFFSET:].startswith(_LINUX_MAGIC):
        image = _read_linux(name, data, ram_base)
    else:
        raise ImageError(_explain_unknown(name, data))
    image = image if entry is None else image._replace(entry=entry)
    _check_entry(image)
    return image


def _explain_unknown(name: str, data: bytes) -> str:
    for magic, packing in _PACKED.items():
        if data.startswith(magic):
            return f"{name} is packed ({packing}): unpack it first"
    if _ELF_MAGIC.startswith(data):
        return f"{name} is truncated: {len(data)} bytes, an ELF header has {_ELF_HEADER.size}"
    return f"{name} is neither an ELF nor a Linux kernel; a raw binary needs a load address"


def _check_entry(image: Image) -> None:
    if image.entry & 3:
        raise ImageError(f"{image.name}: entry {image.entry:#x} is not a multiple of 4")
    if not any(piece.address <= image.entry < piece.end for piece in image.pieces):
        raise ImageError(
            f"{image.name}: entry {image.entry:#x} is outside of what is loaded, "
            + ", ".join(f"{piece.address:#x}-{piece.end - 1:#x}" for piece in image.pieces)
        )


def _read_linux(name: str, data: bytes, ram_base: int) -> Image:
    """A kernel goes ``text_offset`` bytes above a 2 MiB border, never to the very start of RAM."""
    if len(data) < _LINUX_HEADER:
        raise ImageError(f"{name} is truncated: a kernel's header has {_LINUX_HEADER} bytes")
    text_offset = int.from_bytes(data[8:16], "little")
    size = int.from_bytes(data[16:24], "little")
    if size == 0:
        text_offset, size = LINUX_LEGACY_OFFSET, len(data)
    if text_offset < LINUX_LOWEST_OFFSET:
        text_offset += LINUX_ALIGNMENT
    address = ram_base + text_offset
    return Image(name, "linux", (Piece(name, address, data, max(size, len(data))),), address)


# -- ELF


class _Header(NamedTuple):
    """The ELF header of the 64-bit class."""

    ident: bytes
    type: int
    machine: int
    version: int
    entry: int
    phoff: int
    shoff: int
    flags: int
    ehsize: int
    phentsize: int
    phnum: int
    shentsize: int
    shnum: int
    shstrndx: int


class _Segment(NamedTuple):
    """A program header of the 64-bit class."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


def _read_elf(name: str, data: bytes) -> Image:
    header = _read_header(name, data)
    pieces = []
    physical_entry = header.entry
    for number, segment in enumerate(_read_segments(name, data, header)):
        if segment.type == _PT_INTERP:
            raise ImageError(f"{name} is dynamically linked; link it with -static -no-pie")
        if segment.type != _PT_LOAD or not segment.memsz:
            continue
        pieces.append(_read_segment(f"{name} segment {number}", data, segment))
        if segment.vaddr <= header.entry < segment.vaddr + segment.memsz:
            physical_entry = header.entry - segment.vaddr + segment.paddr
    if not pieces:
        raise ImageError(f"{name} has no segment to load")
    return Image(name, "elf", tuple(pieces), physical_entry)


def _read_header(name: str, data: bytes) -> _Header:
    if len(data) < _ELF_HEADER.size:
        raise ImageError(
            f"{name} is truncated: {len(data)} bytes, an ELF header has {_ELF_HEADER.size}"
        )
    bits, order = _ELF_CLASS.get(data[4]), _ELF_ORDER.get(data[5])
    if bits is None or order is None:
        raise ImageError(f"{name} is a damaged ELF: of class {data[4]} and byte order {data[5]}")
    machine = int.from_bytes(data[18:20], order)
    if (bits, order, machine) != (64, "little", _EM_AARCH64):
        raise ImageError(
            f"{name} is a {bits}-bit {order}-endian ELF for {_machine_name(machine)}; "
            "this machine runs 64-bit little-endian AARCH64"
        )
    header = _Header._make(_ELF_HEADER.unpack_from(data))
    if header.type != _ET_EXEC:
        kind = _ELF_TYPES.get(header.type, f"number {header.type}")
        raise ImageError(
            f"{name} is an ELF of type {kind}, not a static executable; "
            "link it with -static -no-pie"
        )
    return header


def _machine_name(machine: int) -> str:
    """pyelftools knows them all, and takes as long to import as the rest of a small run."""
    from elftools.elf.enums import ENUM_E_MACHINE

    names = (name for name, number in ENUM_E_MACHINE.items() if number == machine)
    return next(names, f"number {machine}").removeprefix("EM_")


def _read_segments(name: str, data: bytes, header: _Header) -> list[_Segment]:
    size, count, start = _PROGRAM_HEADER.size, header.phnum, header.phoff
    if count and header.phentsize != size:
        raise ImageError(f"{name}: program headers of {header.phentsize} bytes, not {size}")
    if start + count * size > len(data):
        raise ImageError(f"{name} is truncated: its program headers lie past its end")
    table = data[start : start + count * size]
    return [_Segment._make(fields) for fields in _PROGRAM_HEADER.iter_unpack(table)]


def _read_segment(name: str, data: bytes, segment: _Segment) -> Piece:
    offset, in_file, in_memory = segment.offset, segment.filesz, segment.memsz
    if in_file > in_memory:
        raise ImageError(f"{name}: {in_file:#x} bytes in the file, {in_memory:#x} in memory")
    if offset + in_file > len(data):
        raise ImageError(
            f"{name} is truncated: bytes {offset:#x}-{offset + in_file - 1:#x} "
            f"of a file of {len(data):#x}"
        )
    return Piece(name, segment.paddr, data[offset : offset + in_file], in_memory)
