# SPDX-License-Identifier: GPL-2.0-or-later
"""What travels through a translation unit: a Transaction in, a Translation or a Fault out.

These three are the whole vocabulary between DMA masters and every SMMU in this package. They are
named tuples because they are made on the hot path (a frozen dataclass costs three times as much).

An access is summed up in three bits, its *kind*: ``write | privileged << 1 | instruction << 2``.
Permissions are bytes in which bit ``kind`` says whether that kind may pass, so that one shift
answers the question for a cached translation.
"""

from __future__ import annotations

from typing import NamedTuple

WRITE = 1
PRIVILEGED = 2
INSTRUCTION = 4
ALL_KINDS = 0xFF
"""Permission byte that lets every kind of access pass."""


class Transaction(NamedTuple):
    """One access by a DMA master, as it arrives at the translation unit.

    A transfer longer than a page is split by its port into one transaction a page.

    Spec: IHI 0070 3.3 (StreamID, SubstreamID), 13.1.3 (privilege and instruction attributes).
    """

    stream_id: int
    iova: int
    write: bool = False
    privileged: bool = False
    instruction: bool = False
    substream_id: int | None = None

    @property
    def kind(self) -> int:
        """``write | privileged << 1 | instruction << 2``."""
        return self.write | self.privileged << 1 | self.instruction << 2


class Attributes(NamedTuple):
    """Memory attributes that leave the translation unit with an access.

    ``memory`` is a MAIR-style byte (IHI 0070 13.1), ``shareability`` the SH encoding
    (0 non-shareable, 2 outer, 3 inner).
    """

    memory: int
    shareability: int


class Translation(NamedTuple):
    """The access may pass, to physical address ``pa``.

    ``size_lg2`` tells how far it holds: any byte of the naturally aligned block of
    ``1 << size_lg2`` bytes around the input address goes through the same translation.
    """

    pa: int
    size_lg2: int
    attributes: Attributes


class Fault(NamedTuple):
    """The access may not pass; why, and what was told to software.

    ``code`` is the event number (IHI 0070 7.3; 0 when the architecture aborts without any event).
    ``stage`` and ``level`` say where the walk stopped (level is None outside walks),
    ``fetch_class`` is the record's CLASS, ``address`` its IPA or fetch address. ``kind`` is that of
    the access after the stream's overrides. ``recorded`` tells whether the configuration asks for
    a record, ``reason`` in words which rule ended the access.

    ``abort`` False lets the master see success: reads give zero, writes are ignored. ``stall`` says
    that the configuration wants the access held; ``stag`` is its tag once it is, and then there is
    no answer yet. ``table_write`` marks a stage-2 fault of the SMMU's own write to a table.
    """

    code: int
    transaction: Transaction
    stage: int = 1
    level: int | None = None
    fetch_class: int = 0
    address: int = 0
    kind: int = 0
    recorded: bool = True
    reason: str = ""
    abort: bool = True
    stall: bool = False
    stag: int | None = None
    table_write: bool = False
