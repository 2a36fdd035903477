# SPDX-License-Identifier: GPL-2.0-or-later
"""What one must know of an address space to read its tables: format, root, sizes, registers.

Everything a table does not say about itself is here, checked once: a space that was made can be
walked.

Spec: DDI 0487 D8.1.9 and D8.2 (input sizes, initial levels, concatenated tables, alignment).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from pgtable.inspect.errors import SpaceError
from pgtable.inspect.units import size_words

if TYPE_CHECKING:
    from pgtable.inspect.reader import Level, Reader

K4, K16, K64 = 0x1000, 0x4000, 0x10000
MOST_CONCATENATED = 16

LINUX_MAIR = 0xFFFF_FFFF_F404_FF44
"""0: Normal non-cacheable, 1: write-back, 2: Device-nGnRE, 3: inner non-cacheable/outer write-back;
what Linux's SMMU drivers use, which fill the upper half with ones."""
LINUX_MEMATTR = 0x888D88
"""Mali's attributes as Linux sets them: 0 and 2 the GPU's own policy, 1 write-allocate."""
LINUX_PRRR = 0x800B_8204
LINUX_NMRR = 0x4000_4000
"""TEX remap as Linux sets it: index 1 Device-nGnRE, 4 Normal non-cacheable, 7 write-back."""


class Family(NamedTuple):
    """The limits of a format and its defaults, sizes in bits."""

    granules: tuple[int, ...]
    input_bits: int
    lowest_input: int
    most_input: int
    output_bits: int
    outputs: tuple[int, ...]


_LONG_OUTPUTS = (32, 36, 40, 42, 44, 48, 52)
FAMILIES = {
    "ARM_64_LPAE_S1": Family((K4, K16, K64), 48, 13, 52, 48, _LONG_OUTPUTS),
    "ARM_64_LPAE_S2": Family((K4, K16, K64), 48, 13, 52, 48, _LONG_OUTPUTS),
    "ARM_32_LPAE_S1": Family((K4,), 32, 13, 32, 40, _LONG_OUTPUTS[:3]),
    "ARM_32_LPAE_S2": Family((K4,), 40, 13, 40, 40, _LONG_OUTPUTS[:3]),
    "ARM_MALI_LPAE": Family((K4,), 48, 13, 48, 40, tuple(range(12, 41))),
    "ARM_V7S": Family((K4,), 32, 20, 34, 32, (32, 33, 34, 35, 40)),
    "APPLE_DART": Family((K4, K16), 0, 12, 47, 36, (36, 42)),
    "APPLE_DART2": Family((K4, K16), 0, 12, 47, 42, (36, 42)),
}
FORMATS = tuple(FAMILIES)


@dataclass(frozen=True, kw_only=True)
class Space:
    """An address space: where its tables start and how to read them.

    `root`: physical address of the first table; for DARTs, of up to four, in the order of the
    TTBRs (None for one that is not valid). `granule`: size in bytes of a page and of a table.
    `input_bits`, `output_bits`: address sizes; 0 takes the format's usual ones. `start_level`: of
    a stage 2 walk, which may start later and with concatenated tables. `upper`: the addresses are
    those of TTBR1, with all bits above `input_bits` set. `mair` (Mali: MEMATTR), `prrr`, `nmrr`:
    what memory attribute indices stand for; by default as Linux sets them. `fwb`: stage 2
    attributes as with FEAT_S2FWB. `permissions=False`: an MMU that has none (MediaTek's). `mtk`,
    `mtk_tables`: MediaTek's address bits 34:32 in leaves, and in table descriptors as well.

    Raises: SpaceError that names the field.
    """

    format: str
    root: int | tuple[int | None, ...]
    granule: int = 0
    input_bits: int = 0
    output_bits: int = 0
    start_level: int = -1
    upper: bool = False
    mair: int = -1
    fwb: bool = False
    permissions: bool = True
    mtk: bool = False
    mtk_tables: bool = False
    prrr: int = LINUX_PRRR
    nmrr: int = LINUX_NMRR
    roots: tuple[int | None, ...] = field(init=False, repr=False)
    granule_lg2: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        family = FAMILIES.get(self.format)
        if family is None:
            raise SpaceError("format", f"{self.format!r} is none of {', '.join(FORMATS)}")
        self._set("roots", self.root if isinstance(self.root, tuple) else (self.root,))
        usual = K16 if self.is_dart else K4
        self._set("granule", self.granule or usual)
        if self.granule not in family.granules:
            sizes = ", ".join(map(size_words, family.granules))
            raise SpaceError("granule", f"{self.granule:#x} bytes; {self.format} has {sizes}")
        self._set("granule_lg2", self.granule.bit_length() - 1)
        if self.mtk_tables and not self.mtk:
            self._set("mtk", True)
        if self.mtk:
            self._set("permissions", False)
        self._set("mair", self._default_mair() if self.mair < 0 else self.mair)
        self._check_options()
        self._check_sizes(family)
        self._set("start_level", self._start_level())
        self._check_roots()

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _default_mair(self) -> int:
        return LINUX_MEMATTR if self.format == "ARM_MALI_LPAE" else LINUX_MAIR

    @property
    def is_dart(self) -> bool:
        return self.format.startswith("APPLE_DART")

    @property
    def is_long(self) -> bool:
        return "LPAE" in self.format

    @property
    def stage_2(self) -> bool:
        return self.format.endswith("S2")

    @property
    def wide(self) -> bool:
        """Whether descriptors hold 52-bit addresses (64K granule, FEAT_LPA)."""
        return self.granule == K64 and self.output_bits == 52

    # --- checks ---------------------------------------------------------------------------

    def _check_sizes(self, family: Family) -> None:
        output = self.output_bits or (35 if self.mtk else family.output_bits)
        self._set("output_bits", output)
        if output not in family.outputs:
            sizes = f"{family.outputs[0]} to {family.outputs[-1]}"
            raise SpaceError("output bits", f"{output}; {self.format} has {sizes}")
        if output == 52 and self.granule != K64:
            raise SpaceError("output bits", "52 needs the 64K granule here (no FEAT_LPA2)")
        if self.is_dart:
            self._check_dart_input()
            return
        bits = self.input_bits or (family.input_bits)
        self._set("input_bits", bits)
        most = family.most_input
        if self.granule != K64 and self.format.startswith("ARM_64"):
            most = 48
        lowest = max(family.lowest_input, self.granule_lg2 + 1)
        if not lowest <= bits <= most:
            what = f"{self.format} with {size_words(self.granule)} pages has {lowest} to {most}"
            raise SpaceError("input bits", f"{bits}; {what}")
        if self.format == "ARM_MALI_LPAE":
            # Nothing tells a GPU how far its addresses go: one entry of level 0 is the least.
            self._set("input_bits", max(bits, 39))

    def _check_dart_input(self) -> None:
        """A DART's input size follows from its levels; 0 means two levels."""
        stride = self.granule_lg2 - 3
        roots_lg2 = (len(self.roots) - 1).bit_length()
        if not 1 <= len(self.roots) <= 4:
            raise SpaceError("root", f"{len(self.roots)} roots; a DART has one to four TTBRs")
        asked = self.input_bits or self.granule_lg2 + 2 * stride + roots_lg2
        levels = max(2, -(-(asked - self.granule_lg2 - roots_lg2) // stride))
        if self.start_level >= 0:
            levels = 4 - self.start_level
        if not 2 <= levels <= 3 or asked < self.granule_lg2:
            most = self.granule_lg2 + 3 * stride + roots_lg2
            raise SpaceError(
                "input bits", f"{asked}; a DART of two or three levels has up to {most}"
            )
        self._set("start_level", 4 - levels)
        self._set("input_bits", self.granule_lg2 + levels * stride + roots_lg2)

    def _start_level(self) -> int:
        """Return the level of the first table. Spec: DDI 0487 D8.2, table D8-9."""
        asked, stride = self.start_level, self.granule_lg2 - 3
        if self.is_dart:
            return asked
        if not self.is_long:
            return 1
        natural = 4 - -(-(self.input_bits - self.granule_lg2) // stride)
        if self.format == "ARM_MALI_LPAE":
            natural = 0
        if asked == natural or (asked < 0 and not self.stage_2):
            return natural
        if asked < 0:
            first = max(natural, self._first_permitted())
            return first if self._concatenated(first) <= MOST_CONCATENATED else natural
        if self.stage_2 and natural < asked <= 3:
            tables = self._concatenated(asked)
            if tables <= MOST_CONCATENATED:
                return asked
            why = f"it would need {tables} concatenated tables, {MOST_CONCATENATED} are the limit"
        else:
            why = f"{self.input_bits} bits with {size_words(self.granule)} pages begin on {natural}"
        raise SpaceError("start level", f"{asked}: {why}")

    def _concatenated(self, level: int) -> int:
        """Return how many tables the first level would be made of."""
        bits = self.input_bits - (self.granule_lg2 + (self.granule_lg2 - 3) * (4 - level))
        return 1 << max(0, bits)

    def _first_permitted(self) -> int:
        """Return the first level a stage 2 walk may start on, by the physical address size."""
        output = self.output_bits
        if self.granule == K4:
            return 0 if output >= 44 else 1
        if self.granule == K16:
            return 1 if output >= 42 else 2
        return 1 if output >= 44 else 2

    def _check_options(self) -> None:
        stage_1 = self.format.endswith("S1")
        wrong: list[tuple[str, bool, str]] = [
            ("upper", self.upper and not stage_1, "only stage 1 has a TTBR1"),
            ("fwb", self.fwb and not self.stage_2, "only stage 2 knows FEAT_S2FWB"),
            ("mtk", self.mtk and self.format != "ARM_V7S", "only ARM_V7S has this extension"),
            (
                "input bits",
                self.format == "ARM_V7S" and self.input_bits > 32 and not self.mtk,
                "more than 32 need MediaTek's extension",
            ),
            (
                "permissions",
                not self.permissions and self.format != "ARM_V7S",
                "only an MMU of ARM_V7S can lack them",
            ),
        ]
        for name, is_wrong, why in wrong:
            if is_wrong:
                raise SpaceError(name, why)
        for name in ("mair", "prrr", "nmrr"):
            if not 0 <= getattr(self, name) < 1 << 64:
                raise SpaceError(name, f"{getattr(self, name):#x} does not fit the register")

    def _check_roots(self) -> None:
        if not self.is_dart and len(self.roots) != 1:
            raise SpaceError("root", f"{len(self.roots)} roots; only DARTs have more than one")
        if all(root is None for root in self.roots):
            raise SpaceError("root", "none given")
        for root in self.roots:
            if root is None:
                continue
            if root < 0 or root >> max(self.output_bits, 48):
                raise SpaceError("root", f"{root:#x} is not a physical address")
            if root & self.root_alignment - 1:
                raise SpaceError(
                    "root",
                    f"{root:#x} is not aligned to its table's {self.root_alignment:#x} bytes "
                    "(a TTBR holds more than the address: clear the ASID and the low bits)",
                )

    @property
    def root_alignment(self) -> int:
        """Bytes that the root must be a multiple of."""
        size = self.levels[0].table_size
        if self.is_dart:
            return K4
        return max(size, 64) if self.output_bits == 52 else size

    # --- reading --------------------------------------------------------------------------

    @cached_property
    def reader(self) -> Reader:
        """What knows the descriptors of this format."""
        return _reader_class(self.format)(self)

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """The levels of a walk, the first one first."""
        return self.reader.levels

    @property
    def base(self) -> int:
        """The lowest input address."""
        return (1 << 64) - (1 << self.input_bits) if self.upper else 0

    @property
    def size(self) -> int:
        """Bytes of input addresses."""
        return 1 << self.input_bits

    @property
    def root_span_lg2(self) -> int:
        """Log2 of the input bytes under one root."""
        first = self.levels[0]
        return first.shift + (first.entries.bit_length() - 1)

    def offset(self, iova: int) -> int | None:
        """Return an input address counted from the lowest one; None if it is out of range."""
        offset = iova - self.base
        return offset if 0 <= offset < self.size else None

    def __str__(self) -> str:
        roots = ", ".join("none" if root is None else hex(root) for root in self.roots)
        half = ", TTBR1" if self.upper else ""
        return (
            f"{self.format}, {size_words(self.granule)} granule, {self.input_bits}-bit input, "
            f"{self.output_bits}-bit output{half}, root {roots}"
        )


def _reader_class(fmt: str) -> Callable[[Space], Reader]:
    from pgtable.inspect.dart import DartReader
    from pgtable.inspect.long_descriptor import LongReader, MaliReader
    from pgtable.inspect.short_descriptor import ShortReader

    if fmt == "ARM_MALI_LPAE":
        return MaliReader
    if fmt == "ARM_V7S":
        return ShortReader
    return DartReader if fmt.startswith("APPLE") else LongReader
