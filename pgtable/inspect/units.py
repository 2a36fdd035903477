# SPDX-License-Identifier: GPL-2.0-or-later
"""Sizes and numbers the way people write them."""

from __future__ import annotations

from functools import lru_cache

from pgtable.inspect.errors import SpaceError

_UNITS = " KMGTPE"
TIMES = "\N{MULTIPLICATION SIGN}"


@lru_cache(maxsize=256)
def size_words(size: int) -> str:
    """Write a number of bytes exactly, with the largest unit that divides it: 4K, 2M, 1G, 520K."""
    unit = 0
    while size and not size & 0x3FF and unit < len(_UNITS) - 1:
        size >>= 10
        unit += 1
    return f"{size}{_UNITS[unit].strip()}"


def about(size: int) -> str:
    """Write a number of bytes with about three digits: 1.5 GiB, 640 KiB, 12 bytes."""
    if size < 1024:
        return f"{size} bytes"
    amount = float(size)
    unit = 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount /= 1024
        unit += 1
    digits = 0 if amount >= 100 or amount == int(amount) else 1 if amount >= 10 else 2
    text = f"{amount:.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text} {_UNITS[unit]}iB"


def plural(count: int, noun: str) -> str:
    """Write a count and its noun: 1 table, 2 tables, 3 entries, 4 leaves."""
    if count == 1:
        return f"1 {noun}"
    endings = {"y": "ies", "f": "ves"}
    end = endings.get(noun[-1:])
    return f"{count:,} {noun[:-1]}{end}" if end else f"{count:,} {noun}s"


def parse_size(text: str | int, field: str = "granule") -> int:
    """Read a number of bytes: 4096, 0x1000, 4K, 64k.

    Raises: SpaceError.
    """
    if isinstance(text, int):
        return text
    word = text.strip().upper().removesuffix("IB").removesuffix("B") if text else ""
    shift = 0
    if word[-1:] in _UNITS.strip() and word[-1:] and not word.startswith("0X"):
        shift = 10 * _UNITS.index(word[-1])
        word = word[:-1]
    try:
        return int(word, 0) << shift
    except ValueError:
        raise SpaceError(field, f"{text!r} is not a size such as 4K, 64K or 0x1000") from None
