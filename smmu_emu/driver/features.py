# SPDX-License-Identifier: GPL-2.0-or-later
"""What an SMMUv3 has, as its driver sees it: the ID registers in the driver's words.

Spec: IHI 0070 6.3.1 to 6.3.6.
"""

from __future__ import annotations

from dataclasses import dataclass

from smmu_emu.driver.queues import DriverError, Registers
from smmu_emu.smmuv3.ids import OAS_BITS
from smmu_emu.smmuv3.spec.registers import IDR0, IDR1, IDR3, IDR5

_LARGEST_OUTPUT = 48
"""Bits that tables of every granule can hold."""


@dataclass(frozen=True)
class Features:
    """Sizes are log2 or in bits. ``messages`` asks for coherent ones, which CMD_SYNC needs;
    ``updates`` is IDR0.HTTU, ``stalls`` whether faults can be configured to stall."""

    stage1: bool
    stage2: bool
    granules: tuple[int, ...]
    output_bits: int
    asid_bits: int
    vmid_bits: int
    stream_bits: int
    substream_bits: int
    commands_lg2: int
    events_lg2: int
    page_requests_lg2: int
    two_level_streams: bool
    two_level_contexts: bool
    ranges: bool
    el2: bool
    messages: bool
    stalls: bool
    updates: int
    ats: bool
    pri: bool

    @classmethod
    def probe(cls, registers: Registers) -> Features:
        """Read the ID registers.

        Raises: DriverError if there is nothing that this driver can use.
        """
        has, sizes = IDR0(registers.read("IDR0")), IDR1(registers.read("IDR1"))
        extras, addresses = IDR3(registers.read("IDR3")), IDR5(registers.read("IDR5"))
        if not has.S1P or not has.TTF & 2:
            raise DriverError("the device has no stage 1 with AArch64 tables")
        granules = {12: addresses.GRAN4K, 14: addresses.GRAN16K, 16: addresses.GRAN64K}
        return cls(
            stage1=bool(has.S1P),
            stage2=bool(has.S2P),
            granules=tuple(size_lg2 for size_lg2, there in granules.items() if there),
            output_bits=min(OAS_BITS[addresses.OAS], _LARGEST_OUTPUT),
            asid_bits=16 if has.ASID16 else 8,
            vmid_bits=16 if has.VMID16 else 8,
            stream_bits=sizes.SIDSIZE,
            substream_bits=sizes.SSIDSIZE,
            commands_lg2=sizes.CMDQS,
            events_lg2=sizes.EVENTQS,
            page_requests_lg2=sizes.PRIQS,
            two_level_streams=has.ST_LEVEL == 1,
            two_level_contexts=bool(has.CD2L),
            ranges=bool(extras.RIL),
            el2=bool(has.Hyp),
            messages=bool(has.MSI and has.COHACC),
            stalls=has.STALL_MODEL == 0,
            updates=has.HTTU,
            ats=bool(has.ATS),
            pri=bool(has.PRI),
        )
