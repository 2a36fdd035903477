# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of a write, and of the structure behind a fault: for reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from smmu_emu.trace.structures import WORD, Read
from smmu_emu.trace.symbols import NOWHERE, Place


class Write(NamedTuple):
    """One write, as far as it concerns one aligned word of 8 bytes.

    ``pa`` and ``size`` are the bytes that were written, ``old`` and ``new`` the whole word before
    and after. ``agent`` is "core", "host" (semihosting), "python", or the name of a port.
    ``pc`` is the instruction that stored or that started the DMA, None if no core did;
    ``source`` is Python's "file.py:12". ``instructions`` counts those begun by then.
    """

    number: int
    time: int
    instructions: int
    pc: int | None
    agent: str
    source: str
    pa: int
    size: int
    old: int
    new: int


class Offence(NamedTuple):
    """A structure that made the SMMU refuse an access, and who wrote it.

    ``word`` are the bytes of the writer's instruction; ``place`` names it. ``loaded`` is what lay
    there from the start, where nobody has written.
    """

    read: Read
    write: Write | None
    word: bytes | None
    loaded: str
    place: Place = NOWHERE
    isa: str = "a64"
    """What the core executed when the SMMU refused, for the writer's instruction."""

    def __str__(self) -> str:
        read = self.read
        head = f"{read.what} at {read.pa:#x}"
        if len(read.value) == WORD:
            head += f" = {int.from_bytes(read.value, 'little'):#x}"
        return f"{head}, {self.by()}"

    def by(self) -> str:
        """Who wrote it, when, and what was there before."""
        write = self.write
        if write is None:
            return f"loaded with {self.loaded}" if self.loaded else "never written"
        who = " ".join(one for one in self._who(write) if one)
        when = f"at {write.time:,} ns (instruction {write.instructions:,})"
        word = write.pa & -WORD
        where = "" if word == self.read.pa else f" at {word:#x}"
        return f"written by: {who} {when}: {write.new:#x} over {write.old:#x}{where}"

    def _who(self, write: Write) -> Iterator[str]:
        if write.agent not in ("core", "python"):
            yield f"{write.agent}, for"
        if write.pc is None:
            yield write.source
            return
        yield f"{write.pc:#x}"
        yield str(self.place)
        if self.word is not None:
            from smmu_emu.trace.disassembly import disassemble

            yield f"`{disassemble(self.word, write.pc, self.isa)}`"

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        write = self.write
        written = None
        if write is not None:
            written = write._asdict() | {
                "symbol": self.place.symbol,
                "offset": self.place.offset,
                "line": self.place.source,
            }
        read = self.read
        told = {"structure": read.what, "pa": read.pa, "value": read.value.hex()}
        return told | {"written": written, "loaded": self.loaded or None}
