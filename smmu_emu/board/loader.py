# SPDX-License-Identifier: GPL-2.0-or-later
"""What an image file holds: AArch64 or Arm ELF, arm64 Linux kernel, or raw bytes.

Reads only; nothing is written to memory here. Spec: System V gABI chapter 5 and the AArch64 ELF
supplement; for a kernel's header Linux's Documentation/arch/arm64/booting.rst. Only static ELF
executables are taken: a dynamic one needs a run-time linker, and there is none. What is packed is
unpacked first (`smmu_emu.board.unpack`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Any, NamedTuple

from smmu_emu.board.unpack import unpack
from smmu_emu.errors import ImageError

LARGEST_FILE = 1 << 30
LINUX_ALIGNMENT = 2 << 20
LINUX_LEGACY_OFFSET = 0x80000
LINUX_LOWEST_OFFSET = 0x1000

_ELF_MAGIC = b"\x7fELF"
AARCH64, AARCH32 = "AARCH64", "ARM"
"""What cores execute, as ELF calls it."""
_ELF_HEADERS, _PROGRAM_HEADERS = {AARCH64: 64, AARCH32: 52}, {AARCH64: 56, AARCH32: 32}
_BITS = {AARCH64: 64, AARCH32: 32}
_CORES = {AARCH64: "cortex-a57", AARCH32: "cortex-a15"}
_LINUX_MAGIC_OFFSET, _LINUX_MAGIC = 56, b"ARM\x64"
_LINUX_HEADER = 64

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
    source: Source,
    ram_base: int,
    *,
    load_address: int | None = None,
    entry: int | None = None,
    architecture: str = AARCH64,
) -> Image:
    """Understand an image; ``load_address`` is for raw bytes, ``entry`` replaces the image's own.

    ``architecture`` is what the core executes. Bit 0 of an AArch32 entry means T32 code.

    Raises: ImageError with what is wrong, in one line.
    """
    name, data = read_source(source)
    if load_address is None:
        data = unpack(name, data)
    if data.startswith(_ELF_MAGIC):
        if load_address is not None:
            raise ImageError(f"{name} is an ELF, which says itself where it is loaded")
        image = _read_elf(name, data, architecture)
    elif load_address is not None:
        image = Image(name, "raw", (Piece(name, load_address, data, len(data)),), load_address)
    elif data[_LINUX_MAGIC_OFFSET:].startswith(_LINUX_MAGIC):
        if architecture != AARCH64:
            raise ImageError(f"{name} is an arm64 Linux kernel; this core executes AArch32")
        image = _read_linux(name, data, ram_base)
    else:
        raise ImageError(_explain_unknown(name, data, architecture))
    image = image if entry is None else image._replace(entry=entry)
    _check_entry(image, architecture)
    return image


def _explain_unknown(name: str, data: bytes, architecture: str) -> str:
    if _ELF_MAGIC.startswith(data):
        header = _ELF_HEADERS[architecture]
        return f"{name} is truncated: {len(data)} bytes, an ELF header has {header}"
    return f"{name} is neither an ELF nor a Linux kernel; a raw binary needs a load address"


def _check_entry(image: Image, architecture: str) -> None:
    is_t32 = architecture == AARCH32 and image.entry & 1
    if image.entry & 3 and not is_t32:
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


def _read_elf(name: str, data: bytes, architecture: str) -> Image:
    try:
        header, program_headers = _parse_elf(name, data, architecture)
    except ImageError:
        raise
    except Exception as error:  # whatever a library says about a damaged file is one line
        raise ImageError(f"{name} is a damaged ELF: {' '.join(str(error).split())}") from error
    pieces = []
    entry = header["e_entry"]
    physical_entry = entry
    for number, segment in enumerate(program_headers):
        if segment["p_type"] == "PT_INTERP":
            raise ImageError(f"{name} is dynamically linked; link it with -static -no-pie")
        if segment["p_type"] != "PT_LOAD" or not segment["p_memsz"]:
            continue
        piece = _read_segment(f"{name} segment {number}", data, segment)
        pieces.append(piece)
        if segment["p_vaddr"] <= entry < segment["p_vaddr"] + segment["p_memsz"]:
            physical_entry = entry - segment["p_vaddr"] + segment["p_paddr"]
    if not pieces:
        raise ImageError(f"{name} has no segment to load")
    return Image(name, "elf", tuple(pieces), physical_entry)


def _parse_elf(
    name: str, data: bytes, architecture: str
) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """The ELF header and the program headers, by pyelftools' field names.

    Only the part of pyelftools that knows structures is imported: half the time of all of it.
    """
    from elftools.elf.structs import ELFStructs

    least, entry_size = _ELF_HEADERS[architecture], _PROGRAM_HEADERS[architecture]
    if len(data) < least:
        raise ImageError(f"{name} is truncated: {len(data)} bytes, an ELF header has {least}")
    wide, little = data[4] == 2, data[5] == 1
    structs = ELFStructs(little_endian=data[5] != 2, elfclass=64 if wide else 32)
    structs.create_basic_structs()
    header: Mapping[str, Any] = structs.Elf_Ehdr.parse(data)
    kind = _plain(header["e_machine"], "EM_")
    bits = 64 if wide else 32
    if not (little and kind == architecture and bits == _BITS[architecture]):
        other = _CORES.get(kind, "") if little and bits == _BITS.get(kind) else ""
        raise ImageError(
            f"{name} is a {bits}-bit {'little' if little else 'big'}-endian ELF for "
            f"{kind}; this machine runs {_BITS[architecture]}-bit little-endian {architecture}"
            + (f", one with a {other} (--cpu) runs it" if other else "")
        )
    if header["e_type"] != "ET_EXEC":
        raise ImageError(
            f"{name} is an ELF of type {_plain(header['e_type'], 'ET_')}, not a static "
            "executable; link it with -static -no-pie"
        )
    structs.create_advanced_structs(header["e_type"], header["e_machine"], None)
    count, start = header["e_phnum"], header["e_phoff"]
    if count and header["e_phentsize"] != entry_size:
        size = header["e_phentsize"]
        raise ImageError(f"{name}: program headers of {size} bytes, not {entry_size}")
    if start + count * entry_size > len(data):
        raise ImageError(f"{name} is truncated: its program headers lie past its end")
    offsets = range(start, start + count * entry_size, entry_size)
    return header, [structs.Elf_Phdr.parse(data[at : at + entry_size]) for at in offsets]


def _plain(value: object, prefix: str) -> str:
    """A name without its prefix, or the number of something that has none."""
    return value.removeprefix(prefix) if isinstance(value, str) else f"number {value}"


def _read_segment(name: str, data: bytes, segment: Mapping[str, Any]) -> Piece:
    offset, in_file, in_memory = segment["p_offset"], segment["p_filesz"], segment["p_memsz"]
    if in_file > in_memory:
        raise ImageError(f"{name}: {in_file:#x} bytes in the file, {in_memory:#x} in memory")
    if offset + in_file > len(data):
        raise ImageError(
            f"{name} is truncated: bytes {offset:#x}-{offset + in_file - 1:#x} "
            f"of a file of {len(data):#x}"
        )
    return Piece(name, segment["p_paddr"], data[offset : offset + in_file], in_memory)
