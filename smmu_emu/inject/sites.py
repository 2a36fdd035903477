# SPDX-License-Identifier: GPL-2.0-or-later
"""Where faults enter: ports, registers, wires, the clock, transactions, and structures at rest.

A site says which effects make sense there and by which properties of an access a fault can be
aimed (`Site.filters`). What happens at rest (structures, a device of its own mind) is triggered by
an access somewhere else: `When.at`.
"""

from __future__ import annotations

from typing import NamedTuple


class Site(NamedTuple):
    """One place. ``at_rest`` ones are acted upon between two accesses of another site."""

    name: str
    what: str
    effects: tuple[str, ...]
    filters: tuple[str, ...]
    at_rest: bool = False


_DATA = ("flip", "stuck", "replace")
_READ = ("abort", "poison", *_DATA)
_WRITE = ("abort", *_DATA, "drop", "duplicate", "reorder", "delay")
_ALWAYS = ("pc", "time")
_WALKER = ("address", "stream", "substream", "iova", *_ALWAYS)
_REQUEST = ("stream", "substream", "iova", "write", *_ALWAYS)

_SITES = (
    Site("walk-read", "the SMMU reads a table descriptor", _READ, _WALKER),
    Site("walk-write", "the SMMU updates a descriptor", ("abort", *_DATA, "drop"), _WALKER),
    Site("config-fetch", "the SMMU reads an STE, a CD or a level-1 descriptor", _READ, _WALKER),
    Site(
        "command-fetch",
        "the SMMU reads a command",
        (*_READ, "drop", "duplicate", "reorder"),
        ("address", "opcode", "stream", *_ALWAYS),
    ),
    Site("event-write", "the SMMU writes an event record", _WRITE, ("event", *_WALKER)),
    Site("pri-write", "the SMMU writes a page request record", _WRITE, ("address", *_ALWAYS)),
    Site("msi-write", "the SMMU sends a message", _WRITE, ("address", *_ALWAYS)),
    Site("dma-read", "a DMA master reads memory", _READ, ("address", "stream", *_ALWAYS)),
    Site("dma-write", "a DMA master writes memory", _WRITE, ("address", "stream", *_ALWAYS)),
    Site(
        "transaction",
        "a DMA master's transaction arrives at the SMMU",
        ("flip", "rewrite", "drop", "abort", "duplicate"),
        _REQUEST,
    ),
    Site(
        "ats-request",
        "an endpoint asks for a translation",
        ("flip", "rewrite", "drop", "duplicate"),
        _REQUEST,
    ),
    Site(
        "ats-translated",
        "an endpoint sends a Translated transaction",
        ("flip", "rewrite", "drop", "duplicate"),
        _REQUEST,
    ),
    Site(
        "ats-invalidate",
        "the SMMU tells an endpoint to forget",
        ("drop", "delay", "duplicate"),
        ("stream", "substream", "iova", *_ALWAYS),
    ),
    Site(
        "page-request",
        "an endpoint asks for a page",
        ("flip", "rewrite", "drop", "duplicate"),
        _REQUEST,
    ),
    Site(
        "register-read",
        "software reads a register of the SMMU",
        ("abort", *_DATA),
        ("register", *_ALWAYS),
    ),
    Site(
        "register-write",
        "software writes a register of the SMMU",
        _WRITE,
        ("register", *_ALWAYS),
    ),
    Site(
        "interrupt",
        "a wire rises",
        ("drop", "duplicate", "reorder", "delay", "stuck"),
        ("line", *_ALWAYS),
    ),
    Site(
        "clock",
        "something is to happen later, or is acknowledged",
        ("drop", "duplicate", "delay"),
        ("action", *_ALWAYS),
    ),
    Site("ste", "a Stream Table Entry in memory", (*_DATA, "set"), (), at_rest=True),
    Site("cd", "a Context Descriptor in memory", (*_DATA, "set"), (), at_rest=True),
    Site("descriptor", "a table descriptor in memory", _DATA, (), at_rest=True),
    Site("command", "a command that waits in its queue", _DATA, (), at_rest=True),
    Site("event", "the newest event record in its queue", _DATA, (), at_rest=True),
    Site(
        "tlb-entry",
        "the output address of a cached translation",
        (*_DATA, "drop"),
        (),
        at_rest=True,
    ),
    Site("register", "a register of the SMMU", _DATA, (), at_rest=True),
    Site("device", "a device of its own mind", ("dma", "page-requests"), (), at_rest=True),
)

SITES: dict[str, Site] = {site.name: site for site in _SITES}
"""Every site by its name."""

TRIGGERS = ("transaction", "command-fetch", "register-write", "register-read", "time")
"""Where `When.at` may point: between these, nothing in the SMMU is half done."""

FILTERS_OF_ALL = ("nth", "times", "probability", "after")
"""What every fault can be aimed by."""
