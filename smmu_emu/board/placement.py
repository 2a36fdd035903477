# SPDX-License-Identifier: GPL-2.0-or-later
"""Puts images and blobs into RAM, all or nothing, and again after a reset."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from smmu_emu.board.handover import Handover
from smmu_emu.board.loader import AARCH64, Image, Piece, Source, read_image, read_source
from smmu_emu.errors import ImageError
from smmu_emu.memory import PhysicalMemory

_ZEROS = bytes(1 << 20)
_NOTHING = Handover((), 0)


class Placement:
    """What was loaded into the RAM of one machine.

    Sizes and places are checked before the first byte is written. It remembers what it
    loaded, so that `restore` can bring a cleared RAM back to where a run starts.
    """

    def __init__(self, memory: PhysicalMemory) -> None:
        self.memory = memory
        self.image: Image | None = None
        self.handover = _NOTHING
        self.blobs: list[Piece] = []

    def load(
        self,
        source: Source,
        *,
        load_address: int | None = None,
        entry: int | None = None,
        hand_over: Callable[[Image], Handover] = lambda image: _NOTHING,
        architecture: str = AARCH64,
    ) -> Image:
        """Load an image, and what is handed over to it, in place of what was there before.

        Raises: ImageError in one line; memory is then as it was before.
        """
        base = self.memory.rams[0].base
        image = read_image(
            source, base, load_address=load_address, entry=entry, architecture=architecture
        )
        self.install(image, hand_over)
        return image

    def install(self, image: Image, hand_over: Callable[[Image], Handover]) -> None:
        """As `load`, for an image that was read, or is where it is.

        Raises: ImageError in one line; memory is then as it was before.
        """
        self._check(image.pieces, self.blobs)
        handover = hand_over(image)
        if not handover.x0 and _overlap(handover.pieces, self.blobs):
            handover = _NOTHING
        self._check(handover.pieces, [*self.blobs, *image.pieces])
        self._take_away(self._present)
        self.image, self.handover = image, handover
        for piece in self._present:
            self._write(piece)

    @property
    def _present(self) -> tuple[Piece, ...]:
        """The image, and what was handed over."""
        return (*(self.image.pieces if self.image else ()), *self.handover.pieces)

    def load_blob(self, address: int, source: Source, name: str | None = None) -> Piece:
        """Load the bytes of a file, or bytes, at a physical address; ``name`` is for messages.

        A device tree that the image was not told of gives way.

        Raises: ImageError in one line; memory is then as it was before.
        """
        own_name, data = read_source(source, name or "blob")
        blob = Piece(name or own_name, address, data, len(data))
        if not self.handover.x0 and _overlap(self.handover.pieces, [blob]):
            self._take_away(self.handover.pieces)
            self.handover = _NOTHING
        self._check([blob], [*self.blobs, *self._present])
        self.blobs.append(blob)
        self._write(blob)
        return blob

    def at(self, pa: int) -> Piece | None:
        """What was loaded to an address."""
        pieces = (*self._present, *self.blobs)
        return next((piece for piece in pieces if piece.address <= pa < piece.end), None)

    def restore(self) -> None:
        """Write everything again into RAM that is all zero."""
        for piece in (*self._present, *self.blobs):
            self.memory.write(piece.address, piece.data)

    def _take_away(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self._zero(piece.address, piece.size)

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
                if _overlap([piece], [other]):
                    raise ImageError(f"{piece} overlaps {other}")
            others.append(piece)

    def _write(self, piece: Piece) -> None:
        self.memory.write(piece.address, piece.data)
        self._zero(piece.address + len(piece.data), piece.size - len(piece.data))

    def _zero(self, address: int, size: int) -> None:
        for start in range(address, address + size, len(_ZEROS)):
            self.memory.write(start, _ZEROS[: address + size - start])


def _overlap(these: Iterable[Piece], those: Iterable[Piece]) -> bool:
    others = tuple(those)
    return any(
        piece.address < other.end and other.address < piece.end
        for piece in these
        for other in others
    )
