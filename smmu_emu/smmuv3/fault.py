# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults become event records, and event records become words for people.

Spec: IHI 0070 7.3 (contents of each record).
"""

from __future__ import annotations

from smmu_emu.smmuv3.spec.event import (
    EVENT_SIZE,
    FIELDS_OF,
    EventCode,
    EventRecord,
    FetchClass,
    IpaEventRecord,
)
from smmu_emu.transaction import INSTRUCTION, PRIVILEGED, WRITE, Fault

GATED = frozenset(
    {EventCode.F_TRANSLATION, EventCode.F_ADDR_SIZE, EventCode.F_ACCESS, EventCode.F_PERMISSION}
)
"""Events that CD.R and STE.S2R can silence. Spec: 5.5."""


def encode(fault: Fault, output_bits: int) -> bytes:
    """The 32-byte record of a fault; addresses above ``output_bits`` (OAS) read as zero.

    Identifiers wider than the record's fields are cut, as an interconnect would cut them.
    """
    transaction, kind = fault.transaction, fault.kind
    address = fault.address & (1 << output_bits) - 1
    available = {
        "SSV": int(transaction.substream_id is not None),
        "SubstreamID": (transaction.substream_id or 0) & 0xFFFFF,
        "StreamID": transaction.stream_id & 0xFFFF_FFFF,
        "STAG": fault.stag or 0,
        "Stall": int(fault.stag is not None),
        "PnU": int(bool(kind & PRIVILEGED)),
        "InD": int(kind & INSTRUCTION and not kind & WRITE),
        "RnW": int(not kind & WRITE),
        "S2": int(fault.stage == 2),
        "CLASS": fault.fetch_class,
        "TTRnW": int(fault.fetch_class == FetchClass.TT and not fault.table_write),
        "InputAddr": transaction.iova,
    }
    names = FIELDS_OF[fault.code]
    record: type[EventRecord] | type[IpaEventRecord] = IpaEventRecord
    if "FetchAddr" in names:
        record, available["FetchAddr"] = EventRecord, address & ~7
    elif fault.stage == 2:
        available["IPA"] = address & ~0xFFF
    value = record.FIELDS["Number"].put(fault.code)
    for name in names:
        if name in available:
            value |= record.FIELDS[name].put(available[name])
    return value.to_bytes(EVENT_SIZE, "little")


def describe(fault: Fault) -> str:
    """One line for people: ``F_TRANSLATION stream 0x8 iova 0x203040 write stage 1 level 3``."""
    transaction = fault.transaction
    words = [EventCode(fault.code).name if fault.code else "abort without event"]
    words.append(f"stream {transaction.stream_id:#x}")
    if transaction.substream_id is not None:
        words.append(f"substream {transaction.substream_id:#x}")
    words.append(f"iova {transaction.iova:#x}")
    words.append("write" if transaction.write else "read")
    if fault.code in GATED or fault.code == EventCode.F_WALK_EABT:
        words.append(f"stage {fault.stage}")
        if fault.level is not None:
            words.append(f"level {fault.level}")
        if fault.stage == 2 and fault.code in GATED:
            words.append(f"ipa {fault.address:#x}")
        if fault.fetch_class != FetchClass.IN and fault.stage == 2:
            words.append(f"fetching {FetchClass(fault.fetch_class).name}")
    if fault.stag is not None:
        words.append(f"stalled, tag {fault.stag:#x}")
    if fault.code in (EventCode.F_STE_FETCH, EventCode.F_CD_FETCH, EventCode.F_WALK_EABT):
        words.append(f"at {fault.address:#x}")
    return " ".join(words)
