# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults of the twin, and the event records made of them. Spec: IHI 0070 7.3."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .twin import Twin

C_BAD_STREAMID = 0x02
F_STE_FETCH = 0x03
C_BAD_STE = 0x04
F_CD_FETCH = 0x09
C_BAD_CD = 0x0A
F_WALK_EABT = 0x0B
F_TRANSLATION = 0x10
F_ADDR_SIZE = 0x11
F_ACCESS = 0x12
F_PERMISSION = 0x13

CLASS_CD = 0
CLASS_TT = 1
CLASS_IN = 2

IPA_FIELD = (1 << 44) - 0x1000  # of a record's last doubleword; nothing above the output size
FETCH_FIELD = (1 << 44) - 8

_WITH_INPUT = {F_WALK_EABT, F_TRANSLATION, F_ADDR_SIZE, F_ACCESS, F_PERMISSION}


class Fault(Exception):  # noqa: N818  (Arm's word)
    """The end of a transaction that is aborted; without a ``kind`` no event exists for it.

    ``address`` is what the record's last doubleword holds, ``fetching`` says that the fault arose
    while the SMMU fetched a CD or a table through stage 2.
    """

    def __init__(
        self,
        kind: int | None,
        *,
        stage2: bool = False,
        klass: int = CLASS_IN,
        address: int = 0,
        recorded: bool = True,
        fetching: bool = False,
    ) -> None:
        super().__init__(kind)
        self.kind = kind
        self.stage2 = stage2
        self.klass = klass
        self.address = address
        self.recorded = recorded
        self.fetching = fetching

    def __repr__(self) -> str:
        if self.kind is None:
            return "abort"
        return (
            f"event {self.kind:#04x} stage {1 + self.stage2} class {self.klass} "
            f"address {self.address:#x}{'' if self.recorded else ' (not recorded)'}"
        )


def record(twin: Twin, fault: Fault, stream_id: int, iova: int, write: bool) -> bytes:
    """Return the 32 bytes that the event queue gets for ``fault``."""
    assert fault.kind is not None
    flags = input_address = address = 0
    if fault.kind == F_STE_FETCH:
        address = _field(twin, fault.address, FETCH_FIELD)
    elif fault.kind == F_CD_FETCH:
        where = _field(twin, fault.address, FETCH_FIELD)
        input_address, address = twin.acts("cd-fetch-address", (where, 0), (0, where))
    elif fault.kind in _WITH_INPUT:
        read = twin.acts("walk-rnw", fault.fetching or not write, not write)
        flags = read << 3 | fault.stage2 << 7 | fault.klass << 8
        if fault.kind == F_PERMISSION and fault.stage2 and fault.klass == CLASS_TT:
            flags |= twin.acts("ttrnw", 0, 1) << 12
        input_address, address = iova, _last_doubleword(twin, fault)
    return struct.pack("<4I2Q", fault.kind, stream_id, 0, flags, input_address, address)


def _last_doubleword(twin: Twin, fault: Fault) -> int:
    field = FETCH_FIELD if fault.kind == F_WALK_EABT else IPA_FIELD
    return _field(twin, fault.address, field)


def _field(twin: Twin, address: int, field: int) -> int:
    return twin.acts("address-fields", address, address & field)
