# SPDX-License-Identifier: GPL-2.0-or-later
"""What a boot loader leaves for an image: device tree, initrd, and X0.

As QEMU's hw/arm/boot.c does it. A Linux kernel gets the tree's address in X0; the initrd lies half
of RAM above its start, 128 MiB at most, and the tree at the next 2 MiB border after it. Any other
image finds the tree at the start of RAM, if it leaves room there, and 0 in X0.

Spec: Linux's Documentation/arch/arm64/booting.rst.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from smmu_emu.board.loader import Image, Piece, Source, read_source
from smmu_emu.errors import ImageError
from smmu_emu.memory import PAGE, Ram

_MEGABYTE = 1 << 20
_INITRD_OFFSET = 128 * _MEGABYTE
_TREE_ALIGNMENT = 2 * _MEGABYTE
LARGEST_TREE = 2 * _MEGABYTE
"""Bytes that Linux maps for it."""

_TREE = "device tree"

MakeTree = Callable[[tuple[int, int] | None], bytes]
"""Makes the tree once it is known where the initrd begins and ends."""


class Handover(NamedTuple):
    """What lies in RAM beside the image, and X0 at its entry."""

    pieces: tuple[Piece, ...]
    x0: int

    @property
    def tree(self) -> bytes:
        """The device tree blob; empty if there is none."""
        return next((piece.data for piece in self.pieces if piece.name == _TREE), b"")


def prepare(image: Image, ram: Ram, make_tree: MakeTree, initrd: Source | None) -> Handover:
    """Place everything that ``image`` expects.

    Raises: ImageError for an initrd that is none, or that nobody would look for.
    """
    if image.kind == "linux":
        return _for_linux(image, ram, make_tree, initrd)
    if initrd is not None:
        raise ImageError(f"{image.name} is no Linux kernel: it would not find an initrd")
    tree = Piece(_TREE, ram.base, *_sized(make_tree(None)))
    if any(piece.address < tree.end and ram.base < piece.end for piece in image.pieces):
        return Handover((), 0)
    return Handover((tree,), 0)


def _for_linux(image: Image, ram: Ram, make_tree: MakeTree, initrd: Source | None) -> Handover:
    after_kernel = max(piece.end for piece in image.pieces)
    free = max(ram.base + min(ram.size // 2, _INITRD_OFFSET), _align(after_kernel, PAGE))
    pieces = []
    where = None
    if initrd is not None:
        name, data = read_source(initrd, "initrd")
        pieces.append(Piece(name, free, *_sized(data)))
        where = free, free + len(data)
        free += len(data)
    blob = make_tree(where)
    if len(blob) > LARGEST_TREE:
        raise ImageError(f"a device tree of {len(blob)} bytes: Linux takes {LARGEST_TREE}")
    tree = Piece(_TREE, _align(free, _TREE_ALIGNMENT), *_sized(blob))
    return Handover((*pieces, tree), tree.address)


def _align(address: int, size: int) -> int:
    return (address + size - 1) & -size


def _sized(data: bytes) -> tuple[bytes, int]:
    return data, len(data)
