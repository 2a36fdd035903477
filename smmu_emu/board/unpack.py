# SPDX-License-Identifier: GPL-2.0-or-later
"""Images that are packed: gzip, xz, lzma, bzip2, zstd, and Linux's EFI zboot around one of those.

Distributions ship arm64 kernels as ``Image``, as ``Image.gz``, or as an EFI program that carries a
packed kernel (header: Linux's drivers/firmware/efi/libstub/zboot-header.S). A packed file is
unpacked once; bytes after the packed stream are ignored, as Linux appends the size there. zstd
needs the package zstandard.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack_from

from smmu_emu.errors import ImageError

LARGEST = 1 << 30
"""Bytes of an unpacked image."""

_PIECE = 4096
_ZBOOT_MAGIC = b"MZ\x00\x00zimg"
_ZBOOT_HEADER = 64
_MAGICS = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x02\x21\x4c\x18": "lz4",
    b"PK\x03\x04": "zip",
    _ZBOOT_MAGIC: "EFI zboot",
}


def packing(data: bytes) -> str | None:
    """The name of what a file is packed with; None if it is not."""
    return next((name for magic, name in _MAGICS.items() if data.startswith(magic)), None)


def unpack(name: str, data: bytes) -> bytes:
    """What is in a packed file; a file that is not packed is given back.

    Raises: ImageError if it is damaged, too large, or packed with something else.
    """
    packed_with = packing(data)
    if packed_with is None:
        return data
    if packed_with == "EFI zboot":
        packed_with, data = _zboot_payload(name, data)
        shown = f"EFI zboot, {packed_with}"
    else:
        shown = packed_with
    unpacker = _UNPACKERS.get(packed_with)
    if unpacker is None:
        raise ImageError(f"{name} is packed ({shown}): unpack it first")
    try:
        unpacked = unpacker(data)
    except ImportError:
        raise ImageError(
            f"{name} is packed ({shown}): unpack it first, or pip install zstandard"
        ) from None
    except Exception as error:  # each library has errors of its own
        why = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{name} is packed ({shown}) and damaged: {why}") from None
    if len(unpacked) > LARGEST:
        raise ImageError(f"{name} is packed ({shown}) and has more than {LARGEST} bytes inside")
    return unpacked


def _zboot_payload(name: str, data: bytes) -> tuple[str, bytes]:
    """How the kernel inside is packed, and its bytes."""
    if len(data) < _ZBOOT_HEADER:
        raise ImageError(f"{name} is truncated: an EFI zboot header has {_ZBOOT_HEADER} bytes")
    offset, size = unpack_from("<II", data, 8)
    kind = data[24:56].split(b"\0")[0].decode("latin-1")
    if not size or offset + size > len(data):
        raise ImageError(
            f"{name} is truncated: an EFI zboot payload of {size} bytes at {offset} "
            f"in a file of {len(data)}"
        )
    return kind if kind.isalnum() else repr(kind), data[offset : offset + size]


def _gzip(data: bytes) -> bytes:
    import zlib

    stream = zlib.decompressobj(31)
    unpacked = stream.decompress(data, LARGEST + 1)
    return _whole(unpacked, stream.eof)


def _xz(data: bytes) -> bytes:
    import lzma

    stream = lzma.LZMADecompressor()
    unpacked = stream.decompress(data, LARGEST + 1)
    return _whole(unpacked, stream.eof)


def _bzip2(data: bytes) -> bytes:
    import bz2

    stream = bz2.BZ2Decompressor()
    unpacked = stream.decompress(data, LARGEST + 1)
    return _whole(unpacked, stream.eof)


def _zstd(data: bytes) -> bytes:
    """In small pieces: each gives what it gives, and few bytes may give many."""
    from zstandard import ZstdDecompressor

    stream = ZstdDecompressor().decompressobj()
    unpacked = bytearray()
    at = 0
    while at < len(data) and not stream.eof and len(unpacked) <= LARGEST:
        unpacked += stream.decompress(data[at : at + _PIECE])
        at += _PIECE
    return _whole(bytes(unpacked), stream.eof)


def _whole(unpacked: bytes, ended: bool) -> bytes:
    if not ended and len(unpacked) <= LARGEST:
        raise EOFError("it ends in the middle")
    return unpacked


_UNPACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": _gzip,
    "xz": _xz,
    "xzkern": _xz,
    "lzma": _xz,
    "bzip2": _bzip2,
    "zstd": _zstd,
    "zstd22": _zstd,
}
"""By Linux's names, of the payload of an EFI zboot image as well."""
