# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be wrong with a question. What is wrong with a table is a `Finding`, never an error."""

from __future__ import annotations

from pgtable.errors import PgtableError


class InspectError(PgtableError):
    """Root of the readers' errors; one clear line each."""


class DumpError(InspectError):
    """A dump cannot be used: unreadable, truncated, empty, overlapping, or without an address."""


class SpaceError(InspectError):
    """The description of an address space makes no sense; `field` is what to change."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
