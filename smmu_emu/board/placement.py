# SPDX-License-Identifier: GPL-2.0-or-later
"""Puts images and blobs into RAM, all or nothing, and again after a reset."""

from __future__ import annotations

from smmu_emu.board.loader import Image, Piece, Source, read_image, read_source
from smmu_emu.errors import ImageError
from smmu_emu.memory import PhysicalMemory

_ZEROS = bytes(1 << 20)


class Placement:
    """What was loaded into the RAM of one machine.

    Sizes and places are checked before the first byte is written. It remembers what it
    loaded, so that `restore` can bring a cleared RAM back to where a run starts.
    """

    def __init__(self, memory: PhysicalMemory) -> None:
        self.memory = memory
        self.image: Image | None = None
        self.blobs: list[Piece] = []

    def load(
        self, source: Source, *, load_address: int | None = None, entry: int | None = None
    ) -> Image:
        """Load an image in place of the one before.

        Raises: ImageError in one line; memory is then as it was before.
        """
        base = self.memory.rams[0].base
        image = read_image(source, base, load_address=load_address, entry=entry)
        self._check(image.pieces, self.blobs)
        if self.image is not None:
            for piece in self.image.pieces:
                self._zero(piece.address, piece.size)
        self.image = image
        for piece in image.pieces:
            self._write(piece)
        return image

    def load_blob(self, address: int, source: Source, name: str | None = None) -> Piece:
        """Load the bytes of a file, or bytes, at a physical address; ``name`` is for messages.

        Raises: ImageError in one line; memory is then as it was before.
        """
        own_name, data = read_source(source, name or "blob")
        blob = Piece(name or own_name, address, data, len(data))
        self._check([blob], [*self.blobs, *(self.image.pieces if self.image else ())])
        self.blobs.append(blob)
        self._write(blob)
        return blob

    def restore(self) -> None:
        """Write everything again into RAM that is all zero."""
        for piece in (*(self.image.pieces if self.image else ()), *self.blobs):
            self.memory.write(piece.address, piece.data)

    def _check(self, pieces: list[Piece] | tuple[Piece, ...], others: list[Piece]) -> None:
        """Every piece in RAM, none over another.

        Raises: ImageError that names the two, or the RAM there is.
        """
        others = list(others)
        for piece in pieces:
            if self.memory.find_ram(piece.address, piece.size) is None:
                rams = ", ".join(f"{ram.base:#x}-{ram.end - 1:#x}" for ram in self.memory.rams)
                raise ImageError(f"{piece} is outside RAM, which is {rams}")
            for other in others:
                if piece.address < other.end and other.address < piece.end:
                    raise ImageError(f"{piece} overlaps {other}")
            others.append(piece)

    def _write(self, piece: Piece) -> None:
        self.memory.write(piece.address, piece.data)
        self._zero(piece.address + len(piece.data), piece.size - len(piece.data))

    def _zero(self, address: int, size: int) -> None:
        for start in range(address, address + size, len(_ZEROS)):
            self.memory.write(start, _ZEROS[: address + size - start])
