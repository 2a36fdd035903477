# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads long descriptors: VMSAv8-64 and VMSAv8-32 stage 1 and stage 2, and Mali's variant.

Spec: DDI 0487 D8.3.1 (VMSAv8-64 descriptors, tables D8-50 to D8-53), D8.2 (levels, granules,
concatenation), D8.4 (permissions), D8.6 (memory types), D8.7.1 (contiguous bit); G5.5 (VMSAv8-32).
Mali has no public specification: its fields are those that the GPU's drivers use.

Left out: FEAT_LPA2 (52-bit addresses with 4K and 16K granules), 128-bit descriptors, indirect and
overlay permissions, FEAT_XNX. Bits that only such extensions use are read as reserved or ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtable.inspect.fields import Field, Kind, Layout, address, flag, ignored, reserved
from pgtable.inspect.meaning import (
    EXECUTE,
    READ,
    SHAREABILITY,
    WRITE,
    Meaning,
    MemoryType,
    mair_type,
    stage_2_type,
)
from pgtable.inspect.reader import EMPTY, ILLEGAL, LEAF, TABLE, Level, Reader, Shape

if TYPE_CHECKING:
    from pgtable.inspect.space import Space

CONTIGUOUS = {
    (12, 1): 16,
    (12, 2): 16,
    (12, 3): 16,
    (14, 2): 32,
    (14, 3): 128,
    (16, 2): 32,
    (16, 3): 32,
}
"""Entries that one contiguous bit speaks for, by (log2 of the granule, level)."""

STAGE_1_ACCESS = (
    "read/write, privileged only",
    "read/write",
    "read-only, privileged only",
    "read-only",
)
STAGE_2_ACCESS = ("no access", "read-only", "write-only", "read/write")
TABLE_ACCESS = (
    "no effect",
    "no unprivileged access below",
    "no writes below",
    "no unprivileged access and no writes below",
)
SH = Field("SH", 9, 8, Kind.ATTRIBUTE, SHAREABILITY)
AF = flag("AF", 10, "not accessed yet: faults", "accessed")
CONT = flag("Contiguous", 52, "stands alone", "one of a contiguous group")
DBM = flag("DBM", 51, "dirty state not managed", "hardware may manage the dirty state")


def kind_of(name: str) -> Field:
    """Return the field that tells what a descriptor is."""
    return Field("type", 1, 0, Kind.TYPE, (name,) * 4)


class LongReader(Reader):
    """Stage 1 and stage 2 of both architectures."""

    def __init__(self, space: Space) -> None:
        self.stage_2 = space.format.endswith("S2")
        self.narrow = space.format.startswith("ARM_32")
        if not self.stage_2:
            # NSTable, APTable, UXNTable, PXNTable.
            self.inherited_mask = 0b11111 << 59
        super().__init__(space)

    # --- shape ----------------------------------------------------------------------------

    def make_levels(self) -> tuple[Level, ...]:
        space = self.space
        granule = space.granule_lg2
        stride = granule - 3
        levels = []
        for number in range(space.start_level, 4):
            shift = granule + stride * (3 - number)
            top = number == space.start_level
            entries = 1 << max(0, space.input_bits - shift) if top else 1 << stride
            levels.append(self._level(number, shift, entries))
        return tuple(levels)

    def _level(self, number: int, shift: int, entries: int) -> Level:
        granule = self.space.granule_lg2
        first_block = 1 if granule == 12 or self.space.wide else 2
        shapes = {}
        if number == 3:
            codes = (EMPTY, ILLEGAL, EMPTY, LEAF)
        else:
            block = LEAF if number >= first_block else ILLEGAL
            codes = (EMPTY, block, EMPTY, TABLE)
            shapes[TABLE] = Shape("table", self.table_layout())
        contiguous = CONTIGUOUS.get((granule, number), 1)
        if LEAF in codes:
            name = "page" if number == 3 else "block"
            shapes[LEAF] = Shape(name, self.leaf_layout(name, shift, contiguous > 1), shift)
        return Level(number, shift, entries, 8, (0, 1), codes, shapes, contiguous)

    def _address(self, lowest: int, block: bool) -> tuple[Field, ...]:
        """Return the fields of bits 47:12: an address from bit `lowest` up."""
        fields = [address(47, lowest)]
        if block and not self.narrow:
            fields += [reserved(lowest - 1, 17), flag("nT", 16, "", "the block size is changing")]
            lowest = 16
        if self.space.wide:
            if lowest > 16:
                fields.append(reserved(lowest - 1, 16))
            fields.append(address(15, 12, 48, "address high"))
        elif lowest > 12:
            fields.append(reserved(lowest - 1, 12))
        return tuple(fields)

    def table_layout(self) -> Layout:
        """Return the fields of a table descriptor."""
        if self.stage_2:
            upper: tuple[Field, ...] = (reserved(63, 59),)
        else:
            upper = (
                flag("NSTable", 63, "no effect", "tables and memory below are Non-secure"),
                Field("APTable", 62, 61, Kind.ATTRIBUTE, TABLE_ACCESS),
                flag("UXNTable", 60, "no effect", "no unprivileged execution below"),
                flag("PXNTable", 59, "no effect", "no privileged execution below"),
            )
        lower = (
            (ignored(58, 52), reserved(51, 48))
            if self.narrow
            else (ignored(58, 51), reserved(50, 48))
        )
        place = self._address(self.space.granule_lg2, block=False)
        return Layout("table", 64, (*upper, *lower, *place, ignored(11, 2), kind_of("table")))

    def leaf_layout(self, name: str, shift: int, contiguous: bool) -> Layout:
        """Return the fields of a block or page that maps 1 << `shift` bytes."""
        cont = CONT if contiguous else reserved(52)
        place = (cont, *self._dirty(), *self._address(shift, block=name == "block"))
        if self.stage_2:
            fields: tuple[Field, ...] = (
                reserved(63),
                ignored(62, 59, "PBHA"),
                ignored(58, 55, "software"),
                Field("XN", 54, 53, Kind.ATTRIBUTE, self._execute_words),
                *place,
                reserved(11) if self.narrow else flag("FnXS", 11, "", "XS attribute cleared"),
                AF,
                SH,
                Field("S2AP", 7, 6, Kind.ATTRIBUTE, STAGE_2_ACCESS),
                Field("MemAttr", 5, 2, Kind.ATTRIBUTE, lambda n: self._stage_2_type(n).words),
            )
        else:
            fields = (
                ignored(63, name="software"),
                ignored(62, 59, "PBHA"),
                ignored(58, 55, "software"),
                flag("UXN", 54, "unprivileged execution", "no unprivileged execution"),
                flag("PXN", 53, "privileged execution", "no privileged execution"),
                *place,
                flag("nG", 11, "global", "of one ASID"),
                AF,
                SH,
                Field("AP", 7, 6, Kind.ATTRIBUTE, STAGE_1_ACCESS),
                flag("NS", 5, "", "Non-secure"),
                Field("AttrIndx", 4, 2, Kind.ATTRIBUTE, lambda n: self._stage_1_type(n).words),
            )
        return Layout(name, 64, (*fields, kind_of(name)))

    def _dirty(self) -> tuple[Field, ...]:
        """Return the fields of bits 51:48."""
        if self.narrow:
            return (reserved(51, 48),)
        if self.stage_2:
            return (DBM, reserved(50, 48))
        return (DBM, flag("GP", 50, "not guarded", "guarded"), reserved(49, 48))

    @staticmethod
    def _execute_words(number: int) -> str:
        if number == 3:
            return "no execution (with FEAT_XNX: privileged execution only)"
        return ("execution", "execution (with FEAT_XNX: unprivileged only)", "no execution")[number]

    def _stage_1_type(self, index: int) -> MemoryType:
        return mair_type(self.space.mair >> 8 * index & 0xFF)

    def _stage_2_type(self, attribute: int) -> MemoryType:
        return stage_2_type(attribute, self.space.fwb)

    # --- meaning --------------------------------------------------------------------------

    def meaning(self, shape: Shape, word: int, inherited: int) -> Meaning:
        return self._stage_2(shape, word) if self.stage_2 else self._stage_1(shape, word, inherited)

    def _stage_1(self, shape: Shape, word: int, inherited: int) -> Meaning:
        get = shape.layout.get
        read_only = word >> 7 & 1 or inherited >> 62 & 1
        user_may = word >> 6 & 1 and not inherited >> 61 & 1
        uxn = word >> 54 & 1 or inherited >> 60 & 1
        pxn = word >> 53 & 1 or inherited >> 59 & 1
        data = READ if read_only else READ | WRITE
        user = data if user_may else 0
        privileged = data
        if not uxn:
            user |= EXECUTE
        if not pxn and not user & WRITE:
            privileged |= EXECUTE
        flags = ["" if get(word, "nG") else "global", *self._common_flags(shape, word)]
        if get(word, "DBM"):
            flags.append("clean" if word >> 7 & 1 else "dirty")
        flags += ["ns" if get(word, "NS") or inherited >> 63 else ""]
        flags += ["guarded" if get(word, "GP") else ""]
        memory = self._stage_1_type(get(word, "AttrIndx"))
        return Meaning(
            user,
            privileged,
            "xn" if uxn and pxn else "uxn" if uxn else "pxn" if pxn else "",
            memory,
            SHAREABILITY[get(word, "SH")],
            tuple(filter(None, flags)),
            (word & shape.layout.mask(Kind.IGNORED)) >> 55,
        )

    def _stage_2(self, shape: Shape, word: int) -> Meaning:
        get = shape.layout.get
        access = get(word, "S2AP")
        never = get(word, "XN") & 2
        rights = access if never else access | EXECUTE
        flags = self._common_flags(shape, word)
        if get(word, "DBM"):
            flags.append("dirty" if access & WRITE else "clean")
        if get(word, "FnXS"):
            flags.append("fnxs")
        return Meaning(
            rights,
            rights,
            "xn" if never else "",
            self._stage_2_type(get(word, "MemAttr")),
            SHAREABILITY[get(word, "SH")],
            tuple(filter(None, flags)),
            (word & shape.layout.mask(Kind.IGNORED)) >> 55,
        )

    @staticmethod
    def _common_flags(shape: Shape, word: int) -> list[str]:
        get = shape.layout.get
        return [
            "contiguous" if get(word, "Contiguous") else "",
            "" if get(word, "AF") else "no-AF",
            "nT" if get(word, "nT") else "",
        ]


MALI_POLICIES = {
    0x88: MemoryType("gpu-policy", "the GPU's own caching policy"),
    0x8D: MemoryType("cached", "write-allocate"),
    0x8F: MemoryType("cache-all", "everything cached"),
}


class MaliReader(LongReader):
    """Mali Midgard and Bifrost: leaves have the block type on every level, no access flag."""

    def __init__(self, space: Space) -> None:
        super().__init__(space)
        self.inherited_mask = 0

    def _level(self, number: int, shift: int, entries: int) -> Level:
        shapes = {}
        if number:
            name = "page" if number == 3 else "block"
            shapes[LEAF] = Shape(name, self.leaf_layout(name, shift, False), shift)
        if number < 3:
            shapes[TABLE] = Shape("table", self.table_layout())
        codes = (EMPTY, LEAF if number else ILLEGAL, EMPTY, TABLE if number < 3 else ILLEGAL)
        return Level(number, shift, entries, 8, (0, 1), codes, shapes)

    def table_layout(self) -> Layout:
        return Layout(
            "table", 64, (ignored(63, 48), address(47, 12), ignored(11, 2), kind_of("table"))
        )

    def leaf_layout(self, name: str, shift: int, contiguous: bool) -> Layout:
        below = (reserved(shift - 1, 12),) if shift > 12 else ()
        never = ("execution", "no execution", "no execution", "no execution")
        return Layout(
            name,
            64,
            (
                ignored(63, 55),
                Field("XN", 54, 53, Kind.ATTRIBUTE, never),
                reserved(52, 48),
                address(47, shift),
                *below,
                ignored(11),
                flag("access", 10),
                SH,
                Field("access bits", 7, 6, Kind.ATTRIBUTE, STAGE_2_ACCESS),
                ignored(5),
                Field("AttrIndx", 4, 2, Kind.ATTRIBUTE, lambda n: self._policy(n).words),
                kind_of(name),
            ),
        )

    def _policy(self, index: int) -> MemoryType:
        """Return the caching policy that the MEMATTR register gives to an index."""
        byte = self.space.mair >> 8 * index & 0xFF
        known = MALI_POLICIES.get(byte)
        if known is not None:
            return known
        return MemoryType(f"memattr-{byte:#04x}", f"MEMATTR {byte:#04x}")

    def meaning(self, shape: Shape, word: int, inherited: int) -> Meaning:
        get = shape.layout.get
        access = get(word, "access bits")
        never = get(word, "XN")
        rights = access if never else access | EXECUTE
        index = get(word, "AttrIndx")
        memory = self._policy(index)
        # Linux keeps devices apart by index 2, which has the policy of index 0.
        flags = (f"attr{index}",) if memory.short == "gpu-policy" and index else ()
        shareability = get(word, "SH")
        return Meaning(
            rights,
            rights,
            "xn" if never else "",
            memory,
            # Drivers make everything outer-shareable; that is not worth a word.
            "" if shareability == 2 else SHAREABILITY[shareability],
            flags,
            (word & shape.layout.mask(Kind.IGNORED)) >> 55,
        )
