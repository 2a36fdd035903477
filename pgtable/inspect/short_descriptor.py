# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads short descriptors (ARM_V7S), with MediaTek's wider physical addresses.

Level 1 holds sections (1M), supersections (16M) and tables, level 2 small (4K) and large (64K)
pages. Supersections and large pages are written 16 times. MediaTek's MMUs keep address bits 32,
33, 34 in descriptor bits 9, 4 and 5, which the architecture uses otherwise.

Spec: DDI 0487 G5.4 (descriptors), G5.6.1.1 (AP[2:1] with the access flag, SCTLR.AFE), G5.7.3 (TEX
remap). Left out: AP[2:0] without an access flag, domains other than by number, memory types
without TEX remap.
"""

from __future__ import annotations

from pgtable.inspect.fields import Field, Kind, Layout, address, flag, ignored, reserved
from pgtable.inspect.meaning import EXECUTE, READ, WRITE, Meaning, MemoryType, remapped_type
from pgtable.inspect.reader import EMPTY, LEAF, TABLE, WIDE_LEAF, Level, Reader, Shape

REPEATED = 16
TABLE_NS, TABLE_PXN = 1 << 3, 1 << 2


class ShortReader(Reader):
    """Two levels of 32-bit descriptors."""

    inherited_mask = TABLE_NS | TABLE_PXN

    def make_levels(self) -> tuple[Level, ...]:
        entries = 1 << max(0, self.space.input_bits - 20)
        # Bits 1:0, and bit 18 which tells a supersection from a section.
        sections = (EMPTY, TABLE, LEAF, LEAF, EMPTY, TABLE, WIDE_LEAF, WIDE_LEAF)
        pages = (EMPTY, WIDE_LEAF, LEAF, LEAF)
        return (
            Level(
                1,
                20,
                entries,
                4,
                (0, 1, 18),
                sections,
                {
                    TABLE: Shape("table", self._table()),
                    LEAF: Shape("section", self._section(), 20),
                    WIDE_LEAF: Shape("supersection", self._supersection(), 24, REPEATED),
                },
            ),
            Level(
                2,
                12,
                256,
                4,
                (0, 1),
                pages,
                {
                    LEAF: Shape("small page", self._small(), 12),
                    WIDE_LEAF: Shape("large page", self._large(), 16, REPEATED),
                },
            ),
        )

    # --- layouts --------------------------------------------------------------------------

    def _table(self) -> Layout:
        space = self.space
        if space.mtk_tables:
            middle: tuple[Field, ...] = (
                address(9, 9, 32, "address 32"),
                reserved(8, 6),
                address(5, 4, 33, "address 34:33"),
            )
        else:
            middle = (
                ignored(9, name="implementation defined"),
                Field("Domain", 8, 5),
                reserved(4),
            )
        return Layout(
            "table",
            32,
            (
                address(31, 10),
                *middle,
                flag("NS", 3, "", "Non-secure"),
                flag("PXN", 2, "privileged execution", "no privileged execution"),
                Field("type", 1, 0, Kind.TYPE, ("", "table")),
            ),
        )

    def _low_section(self, domain: Field) -> tuple[Field, ...]:
        """Return bits 9:0 of a section or supersection."""
        memory = (flag("C", 3), flag("B", 2))
        kind = (
            Field("type", 1, 1, Kind.TYPE, ("", "section")),
            flag("PXN", 0, "privileged execution", "no privileged execution"),
        )
        if self.space.mtk:
            return (
                address(9, 9, 32, "address 32"),
                reserved(8, 6),
                address(5, 4, 33, "address 34:33"),
                *memory,
                *kind,
            )
        return (
            ignored(9, name="implementation defined"),
            domain,
            flag("XN", 4, "execution", "no execution"),
            *memory,
            *kind,
        )

    def _middle_section(self) -> tuple[Field, ...]:
        """Return bits 19:10 of a section or supersection."""
        return (
            flag("NS", 19, "", "Non-secure"),
            Field("supersection", 18, 18, Kind.TYPE, ("section", "supersection")),
            *self._attributes(17, 14),
        )

    def _attributes(self, top: int, tex: int) -> tuple[Field, ...]:
        """Return nG, S, AP[2], TEX and AP[1:0], which both levels have in this order."""
        return (
            flag("nG", top, "global", "of one ASID"),
            flag("S", top - 1, "non-shareable", "shareable"),
            flag("AP[2]", top - 2, "writable", "read-only"),
            Field("TEX", tex, tex - 2),
            flag("AP[1]", tex - 3, "privileged only", "any privilege"),
            flag("AF", tex - 4, "not accessed yet: faults", "accessed"),
        )

    def _section(self) -> Layout:
        low = self._low_section(Field("Domain", 8, 5))
        return Layout("section", 32, (address(31, 20), *self._middle_section(), *low))

    def _supersection(self) -> Layout:
        high = self.space.output_bits > 32 and not self.space.mtk
        extended = address(23, 20, 32, "address 35:32") if high else reserved(23, 20)
        domain = address(8, 5, 36, "address 39:36") if high else reserved(8, 5)
        low = self._low_section(domain)
        place = (address(31, 24), extended)
        return Layout("supersection", 32, (*place, *self._middle_section(), *low))

    def _small(self) -> Layout:
        memory = (flag("C", 3), flag("B", 2), Field("type", 1, 1, Kind.TYPE, ("", "small page")))
        never = flag("XN", 0, "execution", "no execution")
        if self.space.mtk:
            fields: tuple[Field, ...] = (
                flag("nG", 11, "global", "of one ASID"),
                flag("S", 10, "non-shareable", "shareable"),
                address(9, 9, 32, "address 32"),
                Field("TEX", 8, 6),
                address(5, 4, 33, "address 34:33"),
            )
        else:
            fields = self._attributes(11, 8)
        return Layout("small page", 32, (address(31, 12), *fields, *memory, never))

    def _large(self) -> Layout:
        upper = (flag("XN", 15, "execution", "no execution"), Field("TEX", 14, 12))
        memory = (flag("C", 3), flag("B", 2), Field("type", 1, 0, Kind.TYPE, ("", "large page")))
        middle: tuple[Field, ...] = (
            flag("nG", 11, "global", "of one ASID"),
            flag("S", 10, "non-shareable", "shareable"),
        )
        if self.space.mtk:
            middle += (
                address(9, 9, 32, "address 32"),
                reserved(8, 6),
                address(5, 4, 33, "address 34:33"),
            )
        else:
            middle += (
                flag("AP[2]", 9, "writable", "read-only"),
                reserved(8, 6),
                flag("AP[1]", 5, "privileged only", "any privilege"),
                flag("AF", 4, "not accessed yet: faults", "accessed"),
            )
        return Layout("large page", 32, (address(31, 16), *upper, *middle, *memory))

    # --- meaning --------------------------------------------------------------------------

    def _memory(self, shape: Shape, word: int) -> MemoryType:
        get = shape.layout.get
        index = (get(word, "TEX") & 1) << 2 | get(word, "C") << 1 | get(word, "B")
        return remapped_type(index, self.space.prrr, self.space.nmrr)

    def _shareability(self, shape: Shape, word: int, index_memory: MemoryType) -> str:
        """Apply PRRR.NS0/NS1 to the S bit. Spec: DDI 0487 G5.7.3.1."""
        shared = self.space.prrr >> 18 + shape.layout.get(word, "S") & 1
        if not index_memory.is_normal_cached:
            return "outer-shareable"
        if not shared:
            return "non-shareable"
        get = shape.layout.get
        index = (get(word, "TEX") & 1) << 2 | get(word, "C") << 1 | get(word, "B")
        return "inner-shareable" if self.space.prrr >> 24 + index & 1 else "outer-shareable"

    def meaning(self, shape: Shape, word: int, inherited: int) -> Meaning:
        get = shape.layout.get
        user, privileged, never, flags = READ | WRITE, READ | WRITE, "", []
        if self.space.permissions:
            data = READ if get(word, "AP[2]") else READ | WRITE
            user = data if get(word, "AP[1]") else 0
            privileged = data
            if get(word, "XN"):
                never = "xn"
            elif get(word, "PXN") or inherited & TABLE_PXN:
                never = "pxn"
            if never != "xn" and user:
                user |= EXECUTE
            if not never and not user & WRITE:
                privileged |= EXECUTE
            if not get(word, "AF"):
                flags.append("no-AF")
        else:
            user |= EXECUTE
            privileged |= EXECUTE
        if not get(word, "nG"):
            flags.append("global")
        if get(word, "NS") or inherited & TABLE_NS:
            flags.append("ns")
        domain = get(word, "Domain")
        if domain:
            flags.append(f"domain{domain}")
        memory = self._memory(shape, word)
        software = word & shape.layout.mask(Kind.IGNORED)
        return Meaning(
            user,
            privileged,
            never,
            memory,
            self._shareability(shape, word, memory),
            tuple(flags),
            software,
        )
