# SPDX-License-Identifier: GPL-2.0-or-later
"""Decoded configuration: what an STE and a CD mean for transactions, and when they are illegal.

Spec: IHI 0070 5.2 and 5.2.2 (STE), 5.4 and 5.4.2 (CD), 5.5 (A, R, S). Fields that a configuration
does not use are not looked at. Left out: substreams, Secure and Realm streams, EL2 StreamWorlds,
AArch32 tables, ATS; the ID registers never advertise them.
"""

from __future__ import annotations

from typing import NamedTuple

from smmu_emu.smmuv3 import attributes
from smmu_emu.smmuv3.ids import IPS_BITS, IdRegisters
from smmu_emu.smmuv3.spec.cd import CD
from smmu_emu.smmuv3.spec.ste import STE, Config
from smmu_emu.tlb import Entry, Space, Tlb
from smmu_emu.transaction import Attributes
from smmu_emu.walk.long_descriptor import Root, make_root, stage1_permissions, stage2_permissions

TG0_GRANULE_LG2 = {0: 12, 1: 16, 2: 14}
"""Granules (log2) by CD.TG0 and STE.S2TG; 3 is reserved."""
TG1_GRANULE_LG2 = {1: 14, 2: 12, 3: 16}
"""Granules (log2) by CD.TG1; 0 is reserved."""
_MAX_TXSZ = 39
_SAME_KINDS = (0, 1, 2, 3, 4, 1, 6, 3)
"""Kinds as they arrive; a write is never an instruction."""


class Tag(NamedTuple):
    """What tells translations of different address spaces apart in the TLB.

    ``world`` is ``"EL1"`` for translations that stage 1 took part in and ``"S2"`` for stage 2
    alone;
    ``asid`` is None for global entries and for stage 2 alone. Spec: 3.3.3, 3.17.
    """

    world: str
    vmid: int
    asid: int | None


class Stage2(NamedTuple):
    """Stage 2 of a stream. ``record`` is S2R, ``protect_walks`` S2PTW."""

    root: Root
    record: bool
    protect_walks: bool
    space: Space


class Stage1(NamedTuple):
    """Stage 1 of a context: the two halves of its addresses (None: EPDx), and CD flags."""

    halves: tuple[Root | None, Root | None]
    attributes: tuple[Attributes, ...]
    record: bool
    own: Space
    shared: Space


class Stream:
    """A legal STE, decoded."""

    __slots__ = ("cd_pointer", "config", "kinds", "stage2", "ste", "vmid")

    def __init__(self, ste: STE, ids: IdRegisters, tlb: Tlb) -> None:
        self.ste = ste
        self.config = ste.Config
        self.vmid = ste.S2VMID if ids.features.S2P else 0
        self.kinds = _kinds(ste) if ids.sizes.ATTR_PERMS_OVR else _SAME_KINDS
        self.cd_pointer = ste.S1ContextPtr
        self.stage2 = self._make_stage2(ids, tlb) if self.has(Config.STAGE2) else None

    def has(self, stage: Config) -> bool:
        """Whether a stage (`Config.STAGE1` or `Config.STAGE2`) translates."""
        return self.config & stage == stage

    def _make_stage2(self, ids: IdRegisters, tlb: Tlb) -> Stage2:
        ste = self.ste
        granule_lg2 = TG0_GRANULE_LG2[ste.S2TG]
        root = make_root(
            base=ste.S2TTB,
            granule_lg2=granule_lg2,
            input_bits=64 - ste.S2T0SZ,
            output_bits=min(IPS_BITS[ste.S2PS], ids.output_bits),
            permissions=stage2_permissions(xnx=bool(ids.extras.XNX)),
            start_level=_stage2_start_level(granule_lg2, ste.S2SL0),
            hierarchical=False,
            ignore_access_flag=bool(ste.S2AFFD),
        )
        space = tlb.space(Tag("S2", self.vmid, None))
        return Stage2(root, bool(ste.S2R), bool(ste.S2PTW), space)


class Context:
    """All that one kind of transaction of one stream needs, ready for the hot path.

    ``sizes`` and ``shared_sizes`` are the live size lists of the TLB spaces to look in (empty when
    nothing is translated); ``tbi`` has bit 0 and 1 set where the top byte is ignored; ``bypass``
    and
    ``aborts`` tell why a stream translates nothing.
    """

    __slots__ = (
        "aborts",
        "bypass",
        "kinds",
        "shared_sizes",
        "sizes",
        "stage1",
        "stage2",
        "stream",
        "tbi",
    )

    def __init__(self, stream: Stream, stage1: Stage1 | None, tbi: int) -> None:
        self.stream = stream
        self.kinds = stream.kinds
        self.stage1 = stage1
        self.stage2 = stream.stage2
        self.tbi = tbi
        self.bypass = stream.config == Config.BYPASS
        self.aborts = not stream.config & Config.BYPASS
        nothing: list[tuple[int, dict[int, Entry]]] = []
        self.sizes = nothing
        self.shared_sizes = nothing
        if stage1 is not None:
            self.sizes = stage1.own.sizes
            self.shared_sizes = stage1.shared.sizes
        elif self.stage2 is not None:
            self.sizes = self.stage2.space.sizes


def make_context(stream: Stream, cd: CD | None, ids: IdRegisters, tlb: Tlb) -> Context:
    """The context of a stream with its (legal) CD, or without one if stage 1 does not translate."""
    if cd is None:
        return Context(stream, None, 0)
    stage1 = Stage1(
        halves=(_half(cd, 0, ids), _half(cd, 1, ids)),
        attributes=attributes.stage1(cd.MAIR1 << 32 | cd.MAIR0),
        record=bool(cd.R),
        own=tlb.space(Tag("EL1", stream.vmid, cd.ASID)),
        shared=tlb.space(Tag("EL1", stream.vmid, None)),
    )
    return Context(stream, stage1, cd.TBI0 | cd.TBI1 << 1)


def _half(cd: CD, half: int, ids: IdRegisters) -> Root | None:
    """The root of TTB0 or TTB1; None where EPDx forbids walks."""
    if cd.EPD1 if half else cd.EPD0:
        return None
    granules = TG1_GRANULE_LG2 if half else TG0_GRANULE_LG2
    return make_root(
        base=cd.TTB1 if half else cd.TTB0,
        granule_lg2=granules[cd.TG1 if half else cd.TG0],
        input_bits=64 - (cd.T1SZ if half else cd.T0SZ),
        output_bits=min(IPS_BITS[cd.IPS], ids.output_bits),
        permissions=stage1_permissions(wxn=bool(cd.WXN), pan=bool(cd.PAN)),
        hierarchical=not (ids.extras.HAD and (cd.HAD1 if half else cd.HAD0)),
        ignore_access_flag=bool(cd.AFFD),
    )


def _kinds(ste: STE) -> tuple[int, ...]:
    """Effective kind by incoming kind, after PRIVCFG and INSTCFG. Spec: 5.2, 13.4."""
    kinds = []
    for kind in _SAME_KINDS:
        if ste.PRIVCFG & 2:
            kind = kind & ~2 | (ste.PRIVCFG & 1) << 1
        if ste.INSTCFG & 2 and not kind & 1:
            kind = kind & ~4 | (ste.INSTCFG & 1) << 2
        kinds.append(kind)
    return tuple(kinds)


# -- legality


def ste_problem(ste: STE, ids: IdRegisters) -> str | None:
    """Why an STE is ILLEGAL, or None. Spec: 5.2.2."""
    if not ste.V:
        return "STE.V is 0"
    if not ste.Config & Config.BYPASS or ste.Config == Config.BYPASS:
        return None
    if ste.Config & 1 and not ids.features.S1P:
        return "STE.Config enables stage 1, which IDR0.S1P says is absent"
    if ste.Config & 2 and not ids.features.S2P:
        return "STE.Config enables stage 2, which IDR0.S2P says is absent"
    if ids.features.S2P and not ids.features.VMID16 and ste.S2VMID > 0xFF:
        return "STE.S2VMID does not fit 8 bits"
    if ste.Config & 1 and (problem := _ste_stage1_problem(ste, ids)):
        return problem
    return _ste_stage2_problem(ste, ids) if ste.Config & 2 else None


def _ste_stage1_problem(ste: STE, ids: IdRegisters) -> str | None:
    if ste.S1STALLD and ids.features.STALL_MODEL:
        return "STE.S1STALLD is set though IDR0.STALL_MODEL is not 0"
    if not ste.Config & 2 and ste.S1ContextPtr >> ids.output_bits and ids.minor >= 1:
        return "STE.S1ContextPtr is beyond OAS"
    return None


def _ste_stage2_problem(ste: STE, ids: IdRegisters) -> str | None:
    granule_lg2 = TG0_GRANULE_LG2.get(ste.S2TG)
    output_bits = min(IPS_BITS[ste.S2PS], ids.output_bits)
    if not ste.S2AA64:
        return "STE.S2AA64 selects AArch32 tables, which IDR0.TTF says are absent"
    if ste.S2S:
        return "STE.S2S is set though stalling is not supported"
    if ste.S2HA or ste.S2HD:
        return "STE.S2HA or S2HD is set though IDR0.HTTU is 0"
    if granule_lg2 is None or not ids.supports_granule(granule_lg2):
        return "STE.S2TG selects an unsupported granule"
    if ste.S2TTB >> _base_bits(granule_lg2, output_bits):
        return "STE.S2TTB is beyond the effective S2PS"
    if not max(16 if granule_lg2 < 16 else 12, 64 - ids.input_bits) <= ste.S2T0SZ <= _MAX_TXSZ:
        return "STE.S2T0SZ is out of range"
    if not _stage2_consistent(granule_lg2, ste.S2SL0, 64 - ste.S2T0SZ):
        return "STE.S2SL0 is inconsistent with S2T0SZ and S2TG"
    if ste.S2ENDI:
        return "STE.S2ENDI selects big-endian tables, which IDR0.TTENDIAN says are absent"
    return None


def _stage2_start_level(granule_lg2: int, sl0: int) -> int:
    return (2 if granule_lg2 == 12 else 3) - sl0


def _stage2_consistent(granule_lg2: int, sl0: int, input_bits: int) -> bool:
    """Whether the walk of ``input_bits`` can start at SL0's level, with 1 to 16 start tables.

    Spec: DDI 0487 D8.2.5 (tables of start levels), AArch64.S2InconsistentSL.
    """
    if sl0 == 3:
        return False
    stride = granule_lg2 - 3
    levels_below = 3 - _stage2_start_level(granule_lg2, sl0)
    shortest = levels_below * stride + granule_lg2 + 1
    return shortest <= input_bits <= shortest + stride + 3


def _base_bits(granule_lg2: int, output_bits: int) -> int:
    """Bits a table base may have: the output size, but 48 for granules below 64 KiB."""
    return min(output_bits, 48) if granule_lg2 < 16 else output_bits


def cd_problem(cd: CD, ste: STE, ids: IdRegisters) -> str | None:
    """Why a CD reached through ``ste`` is ILLEGAL, or None. Spec: 5.4.2."""
    if not cd.V:
        return "CD.V is 0"
    if not cd.A and ids.features.TERM_MODEL:
        return "CD.A is 0 though IDR0.TERM_MODEL is 1"
    if cd.S:
        return "CD.S is set though stalling is not supported"
    if not cd.AA64:
        return "CD.AA64 selects AArch32 tables, which IDR0.TTF says are absent"
    if cd.HA or cd.HD:
        return "CD.HA or HD is set though IDR0.HTTU is 0"
    if cd.ENDI and not (cd.EPD0 and cd.EPD1):
        return "CD.ENDI selects big-endian tables, which IDR0.TTENDIAN says are absent"
    if cd.ASID > 0xFF and not ids.features.ASID16:
        return "CD.ASID does not fit 8 bits"
    output_bits = min(IPS_BITS[cd.IPS], ids.output_bits)
    return _half_problem(
        0, cd.EPD0, TG0_GRANULE_LG2.get(cd.TG0), cd.T0SZ, cd.TTB0, output_bits, ids
    ) or _half_problem(1, cd.EPD1, TG1_GRANULE_LG2.get(cd.TG1), cd.T1SZ, cd.TTB1, output_bits, ids)


def _half_problem(
    half: int,
    disabled: int,
    granule_lg2: int | None,
    txsz: int,
    ttb: int,
    output_bits: int,
    ids: IdRegisters,
) -> str | None:
    if disabled:
        return None
    if granule_lg2 is None or not ids.supports_granule(granule_lg2):
        return f"CD.TG{half} selects an unsupported granule"
    if not 16 <= txsz <= _MAX_TXSZ:
        return f"CD.T{half}SZ is out of range"
    if ttb >> _base_bits(granule_lg2, output_bits):
        return f"CD.TTB{half} is beyond the effective IPS"
    return None
