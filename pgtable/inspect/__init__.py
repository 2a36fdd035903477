# SPDX-License-Identifier: GPL-2.0-or-later
"""Page tables for people: decode, walk, print, compare, search, check and draw them.

    from pgtable import inspect

    space = inspect.Space(format="ARM_64_LPAE_S1", root=0x4800_0000, input_bits=39)
    image = inspect.load("0x40000000=dump.bin")
    tree = inspect.read(space, image)
    for part in tree.ranges():
        print(hex(part.start), hex(part.address), part.meaning)
    for finding in tree.findings:
        print(finding)
    print(inspect.walk(space, image, 0x20_1000).target)

The readers are independent of the code in `pgtable.formats` that writes tables: their fields are
declared anew from the specifications, so that one mistake cannot hide the other. Tables may be
damaged in any way; that makes findings, not exceptions.
"""

from __future__ import annotations

from pgtable.inspect.dumps import Image, Piece, load
from pgtable.inspect.errors import DumpError, InspectError, SpaceError
from pgtable.inspect.find import Found, TableAt, find
from pgtable.inspect.findings import RULES, Finding
from pgtable.inspect.meaning import Meaning, MemoryType
from pgtable.inspect.reader import Descriptor, FieldValue
from pgtable.inspect.reading import read
from pgtable.inspect.space import FORMATS, Space
from pgtable.inspect.tree import Range, Tree
from pgtable.inspect.walk import Step, Walk, walk

__all__ = [
    "FORMATS",
    "RULES",
    "Descriptor",
    "DumpError",
    "FieldValue",
    "Finding",
    "Found",
    "Image",
    "InspectError",
    "Meaning",
    "MemoryType",
    "Piece",
    "Range",
    "Space",
    "SpaceError",
    "Step",
    "TableAt",
    "Tree",
    "Walk",
    "find",
    "load",
    "read",
    "walk",
]
