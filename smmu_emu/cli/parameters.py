# SPDX-License-Identifier: GPL-2.0-or-later
"""Kinds of arguments that subcommands share: numbers in any base, sizes, files at addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

_UNITS = {"K": 10, "M": 20, "G": 30}


class Number(click.ParamType[int]):
    """An integer in C notation (``0x40200000``), 64 bits, optionally with K, M or G."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip()
        shift = _UNITS.get(text[-1:].upper(), 0)
        try:
            number = int(text[:-1] if shift else text, 0) << shift
        except ValueError:
            self.fail(f"{value!r} is not a number such as 4096, 0x1000 or 512M", param, ctx)
        if not 0 <= number < 1 << 64:
            self.fail(f"{value!r} is not between 0 and 2^64 - 1", param, ctx)
        return number


class FileAt(click.ParamType[tuple[int, Path]]):
    """``ADDRESS=FILE``: a file to be loaded at a physical address."""

    name = "address=file"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, Path]:
        if isinstance(value, tuple):
            return value
        address, equals, path = str(value).partition("=")
        if not equals or not path:
            self.fail(f"{value!r} is not of the form 0x48000000=FILE", param, ctx)
        return NUMBER.convert(address, param, ctx), Path(path)


FILE = click.Path(path_type=Path, readable=False)
"""A file that is opened where it is used: what is wrong with it is told there, with status 123."""
NUMBER = Number()
FILE_AT = FileAt()
