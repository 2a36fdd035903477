# SPDX-License-Identifier: GPL-2.0-or-later
"""The walk of `long_descriptor`, for an array of addresses at once.

Held to be the same walk by a property test. Only RAM of one block is read; an address whose walk
needs anything else, or ends in a fault, is left to the walk that takes one address.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from smmu_emu.memory import Ram
from smmu_emu.walk.long_descriptor import AF, Root

Words = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]

_CHUNK = 1 << 14
_LOW48 = (1 << 48) - 1


class Leaves(NamedTuple):
    """One row an address: ``size_lg2`` is 0 where the walk did not end at a leaf.

    ``descriptor``, ``address`` and ``tables`` are those of `Leaf`; ``page`` is the output address
    of the leaf's first byte.
    """

    page: Words
    size_lg2: Numbers
    descriptor: Words
    address: Words
    tables: Words


def walk_array(ram: Ram, root: Root, addresses: Words) -> Leaves:
    """Walk for each address, whose bits from ``input_bits`` up do not count."""
    words = ram.array("<u8")
    count = len(addresses)
    leaves = Leaves(
        np.zeros(count, np.uint64),
        np.zeros(count, np.int64),
        np.zeros(count, np.uint64),
        np.zeros(count, np.uint64),
        np.zeros(count, np.uint64),
    )
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        _walk_chunk(words, ram, root, addresses[part], Leaves._make(row[part] for row in leaves))
    return leaves


def _walk_chunk(words: Words, ram: Ram, root: Root, addresses: Words, out: Leaves) -> None:
    """Fill the rows of one chunk; ``rows`` are those whose walks still go on."""
    u64 = np.uint64
    shift, stride = root.start_shift, root.granule_lg2 - 3
    rows = np.arange(len(addresses))
    here = addresses
    tables = np.zeros(len(addresses), u64)
    where = u64(root.table) + ((here & u64(root.input_mask)) >> u64(shift) << u64(3))
    for level in range(root.start_level, 4):
        offset = where - u64(ram.base)
        inside = offset < u64(ram.size)
        descriptor = words[np.where(inside, offset, u64(0)) >> u64(3)]
        kind = descriptor & u64(3)
        is_leaf = kind == (3 if level == 3 else 1)
        if level < root.first_block_level:
            is_leaf = np.zeros(len(rows), bool)
        _keep(root, shift, rows, descriptor, where, tables, inside & is_leaf, out)
        if level == 3:
            return
        table = descriptor & u64(root.table_mask)
        if root.wide:
            table |= (descriptor & u64(0xF000)) << u64(36)
        on = inside & (kind == 3) & (table >> u64(root.output_bits) == 0)
        if not on.all():
            rows, here, tables = rows[on], here[on], tables[on]
            table, descriptor = table[on], descriptor[on]
        if not len(rows):
            return
        tables = tables | descriptor & u64(root.hierarchical)
        shift -= stride
        where = table + (here >> u64(shift - 3) & u64(root.index_mask))


def _keep(
    root: Root,
    shift: int,
    rows: Numbers,
    descriptor: Words,
    where: Words,
    tables: Words,
    is_leaf: npt.NDArray[np.bool_],
    out: Leaves,
) -> None:
    """Write down the rows that ended at a good leaf."""
    u64 = np.uint64
    page = descriptor & u64(_LOW48 & -(1 << shift))
    if root.wide:
        page |= (descriptor & u64(0xF000)) << u64(36)
    good = is_leaf & (page >> u64(root.output_bits) == 0)
    if not root.ignore_access_flag:
        good &= descriptor & u64(AF) != 0
    if good.all():
        chosen = rows
    else:
        chosen = rows[good]
        page, descriptor, where, tables = page[good], descriptor[good], where[good], tables[good]
    out.page[chosen] = page
    out.size_lg2[chosen] = shift
    out.descriptor[chosen] = descriptor
    out.address[chosen] = where
    out.tables[chosen] = tables
