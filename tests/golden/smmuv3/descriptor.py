# SPDX-License-Identifier: GPL-2.0-or-later
"""Long descriptors, as far as both stages share them. Spec: DDI 0487 D8.2, D8.3, D8.15."""

from __future__ import annotations

from .fields import bits, level_shift, low_mask

VALID, TABLE, ACCESSED = 1 << 0, 1 << 1, 1 << 10
LAST_LEVEL = 3


def is_invalid(descriptor: int, level: int) -> bool:
    """Say whether a descriptor is neither a table, a block nor a page."""
    return not descriptor & VALID or (level == LAST_LEVEL and not descriptor & TABLE)


def is_leaf(descriptor: int, level: int) -> bool:
    """Say whether a valid descriptor ends the walk."""
    return level == LAST_LEVEL or not descriptor & TABLE


def is_block_level(granule: int, level: int) -> bool:
    """Say whether the architecture has leaves at ``level``, outputs being below 52 bits."""
    return level >= 2 or (granule == 12 and level == 1)


def is_device(descriptor: int) -> bool:
    """Say whether a stage-2 leaf's MemAttr is a Device type."""
    return bits(descriptor, 4, 2) == 0


def output(descriptor: int, shift: int) -> int:
    """Return the output address of a descriptor that maps ``1 << shift`` bytes."""
    return descriptor & low_mask(48) & ~low_mask(shift)


def index(address: int, input_bits: int, level: int, granule: int) -> int:
    """Return the index of ``address`` in a table of ``level``."""
    return (address & low_mask(input_bits)) >> level_shift(level, granule) & low_mask(granule - 3)


def first(*checks: tuple[bool, int]) -> int | None:
    """Return the event of the first check that fails."""
    return next((kind for fails, kind in checks if fails), None)
