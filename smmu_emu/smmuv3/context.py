# SPDX-License-Identifier: GPL-2.0-or-later
"""Decoded configuration: what an STE and a CD mean for transactions, and when they are illegal.

Spec: IHI 0070 5.2 and 5.2.2 (STE), 5.4 and 5.4.2 (CD), 5.5 (A, R, S). Fields that a configuration
does not use are not looked at. Left out: Secure and Realm streams, AArch32 tables; the ID
registers never advertise them.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from smmu_emu.smmuv3 import attributes
from smmu_emu.smmuv3.httu import Updates
from smmu_emu.smmuv3.ids import IPS_BITS, IdRegisters
from smmu_emu.smmuv3.spec.cd import CD
from smmu_emu.smmuv3.spec.ste import STE, AtsMode, Config, StreamWorld
from smmu_emu.tlb import Entry, Space, Tlb
from smmu_emu.transaction import Attributes
from smmu_emu.walk.long_descriptor import Root, make_root, stage1_permissions, stage2_permissions

TG0_GRANULE_LG2 = {0: 12, 1: 16, 2: 14}
"""Granules (log2) by CD.TG0 and STE.S2TG; 3 is reserved."""
TG1_GRANULE_LG2 = {1: 14, 2: 12, 3: 16}
"""Granules (log2) by CD.TG1; 0 is reserved."""
_SAME_KINDS = (0, 1, 2, 3, 4, 1, 6, 3)
"""Kinds as they arrive; a write is never an instruction."""


class World(Enum):
    """StreamWorld of translations that stage 1 took part in, and S2 for those of stage 2 alone.

    NS-EL1 has two: what a stream that bypasses stage 2 caches must not let a nested stream with the
    same tags escape its stage 2. Spec: 3.3.3, 5.2.1, 5.4.1.
    """

    EL1 = "NS-EL1"
    EL1_NESTED = "NS-EL1 through stage 2"
    EL2 = "NS-EL2"
    EL2_E2H = "NS-EL2-E2H"
    S2 = "stage 2"


class Tag(NamedTuple):
    """What tells translations of different address spaces apart in the TLB.

    ``asid`` is None for global entries and where there are no ASIDs (EL2, stage 2 alone); ``vmid``
    is 0 where there are no VMIDs. ``aset`` divides global entries (3.17.1). ``incoming`` keeps
    streams apart whose STEs override attributes that stage 2 combines with. Spec: 3.3.3, 3.17.
    """

    world: World
    vmid: int
    asid: int | None
    incoming: Attributes | None = None
    aset: int = 0


class Stage2(NamedTuple):
    """Stage 2 of a stream. ``record`` is S2R, ``stall`` S2S, ``protect_walks`` S2PTW, ``forced``
    S2FWB; ``flags`` says what hardware updates.

    ``attributes`` are those of leaves where stage 1 does not translate.
    """

    root: Root
    record: bool
    stall: bool
    flags: Updates
    protect_walks: bool
    forced: bool
    attributes: tuple[Attributes, ...]
    space: Space


class Stage1(NamedTuple):
    """Stage 1 of a context: the two halves of its addresses (None: no walks), and CD flags.

    ``record``, ``stall`` and ``abort`` are CD.R, S and A; ``flags`` says what hardware updates.
    """

    halves: tuple[Root | None, Root | None]
    attributes: tuple[Attributes, ...]
    record: bool
    stall: bool
    abort: bool
    flags: Updates
    own: Space
    shared: Space


class Stream:
    """A legal STE, decoded. ``contexts`` are the keys of the contexts made through it.

    ``ats`` is EATS, OFF where that is ignored or reserved; CR0.ATSCHK has its say besides.
    """

    __slots__ = (
        "ats",
        "cd_pointer",
        "config",
        "contexts",
        "incoming",
        "kinds",
        "stage2",
        "ste",
        "substream_lg2",
        "vmid",
        "world",
    )

    def __init__(self, ste: STE, ids: IdRegisters, tlb: Tlb, *, e2h: bool) -> None:
        self.ste = ste
        self.config = ste.Config
        self.world = _stream_world(ste, ids, e2h)
        self.vmid = ste.S2VMID if ids.features.S2P and self.world is World.EL1 else 0
        self.kinds = _kinds(ste) if ids.sizes.ATTR_PERMS_OVR else _SAME_KINDS
        self.incoming = _incoming(ste) if ids.sizes.ATTR_TYPES_OVR else attributes.INCOMING
        self.ats = AtsMode(ste.EATS) if ste.Config & 3 and ste.EATS < 3 else AtsMode.OFF
        self.cd_pointer = ste.S1ContextPtr
        self.substream_lg2 = ste.S1CDMax if ids.sizes.SSIDSIZE else 0
        self.stage2 = self._make_stage2(ids, tlb) if self.has(Config.STAGE2) else None
        self.contexts: set[int] = set()

    def has(self, stage: Config) -> bool:
        """Whether a stage (`Config.STAGE1` or `Config.STAGE2`) translates."""
        return self.config & stage == stage

    def _make_stage2(self, ids: IdRegisters, tlb: Tlb) -> Stage2:
        ste = self.ste
        granule_lg2 = TG0_GRANULE_LG2[ste.S2TG]
        root = make_root(
            base=ste.S2TTB & ids.table_base_mask,
            granule_lg2=granule_lg2,
            input_bits=64 - ste.S2T0SZ,
            output_bits=min(IPS_BITS[ste.S2PS], ids.output_bits),
            permissions=stage2_permissions(xnx=bool(ids.extras.XNX)),
            start_level=_stage2_start_level(granule_lg2, ste.S2SL0),
            wide=ids.output_bits == 52,
            hierarchical=False,
            ignore_access_flag=bool(ste.S2AFFD or ste.S2HA),
        )
        forced = bool(ids.extras.FWB and ste.S2FWB)
        space = tlb.space(Tag(World.S2, self.vmid, None, self.incoming))
        return Stage2(
            root=root,
            record=bool(ste.S2R),
            stall=bool(ste.S2S),
            flags=Updates.of(ste.S2HA, ste.S2HD),
            protect_walks=bool(ste.S2PTW),
            forced=forced,
            attributes=attributes.stage2(self.incoming, forced),
            space=space,
        )


def _stream_world(ste: STE, ids: IdRegisters, e2h: bool) -> World:
    """Spec: 5.2 STRW; only stage-1-only streams of an SMMU with Hyp can be anything but EL1."""
    if ste.Config != Config.STAGE1 or not ids.features.Hyp or ste.STRW != StreamWorld.EL2:
        return World.EL1
    return World.EL2_E2H if e2h else World.EL2


def _incoming(ste: STE) -> Attributes:
    return attributes.override(
        attributes.INCOMING,
        mtcfg=ste.MTCFG,
        memattr=ste.MemAttr,
        alloccfg=ste.ALLOCCFG,
        shcfg=ste.SHCFG,
    )


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
        self.aborts = not stream.config & Config.BYPASS
        self.bypass = not self.aborts and stage1 is None and stream.stage2 is None
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
    world, vmid = stream.world, stream.vmid
    if stream.stage2 is not None:
        world = World.EL1_NESTED
    aset = 0 if world is World.EL2 else cd.ASET
    shared = tlb.space(Tag(world, vmid, None, aset=aset))
    if world is World.EL2:
        # One table, no ASIDs: nG and everything about the upper half are without meaning.
        halves: tuple[Root | None, Root | None] = (_half(cd, 0, ids, world), None)
        own, tbi = shared, cd.TBI0
    else:
        halves = (_half(cd, 0, ids, world), _half(cd, 1, ids, world))
        own, tbi = tlb.space(Tag(world, vmid, cd.ASID)), cd.TBI0 | cd.TBI1 << 1
    stage1 = Stage1(
        halves=halves,
        attributes=attributes.stage1(cd.MAIR1 << 32 | cd.MAIR0),
        record=bool(cd.R),
        stall=bool(cd.S),
        abort=bool(cd.A),
        flags=Updates.of(cd.HA, cd.HD),
        own=own,
        shared=shared,
    )
    return Context(stream, stage1, tbi)


def _half(cd: CD, half: int, ids: IdRegisters, world: World) -> Root | None:
    """The root of TTB0 or TTB1; None where EPDx, which EL2 ignores, forbids walks."""
    if world is not World.EL2 and (cd.EPD1 if half else cd.EPD0):
        return None
    one_level = world is World.EL2
    granules = TG1_GRANULE_LG2 if half else TG0_GRANULE_LG2
    return make_root(
        base=(cd.TTB1 if half else cd.TTB0) & ids.table_base_mask,
        granule_lg2=granules[cd.TG1 if half else cd.TG0],
        input_bits=64 - (cd.T1SZ if half else cd.T0SZ),
        output_bits=min(IPS_BITS[cd.IPS], ids.output_bits),
        permissions=stage1_permissions(
            wxn=bool(cd.WXN), pan=bool(cd.PAN and not one_level), one_level=one_level
        ),
        wide=ids.output_bits == 52,
        hierarchical=not (ids.extras.HAD and (cd.HAD1 if half else cd.HAD0)),
        ignore_access_flag=bool(cd.AFFD or cd.HA),
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
    if ids.features.ATS and (problem := _ats_problem(ste, ids)):
        return problem
    if not ste.Config & 2 and ids.features.Hyp and ste.STRW & 1:
        return "STE.STRW is reserved"
    vmid_used = ids.features.S2P and _stream_world(ste, ids, e2h=False) is World.EL1
    if vmid_used and not ids.features.VMID16 and ste.S2VMID > 0xFF:
        return "STE.S2VMID does not fit 8 bits"
    if ste.Config & 1 and (problem := _ste_stage1_problem(ste, ids)):
        return problem
    return _ste_stage2_problem(ste, ids) if ste.Config & 2 else None


def _ats_problem(ste: STE, ids: IdRegisters) -> str | None:
    """Spec: 5.2 EATS; S2S counts only where stage 2 translates, as Arm recommends."""
    if ste.EATS == AtsMode.SPLIT:
        if ste.Config != Config.NESTED:
            return "STE.EATS splits stages that STE.Config does not both enable"
        if ids.features.NS1ATS:
            return "STE.EATS selects split-stage ATS, which IDR0.NS1ATS says is absent"
    if ste.EATS in (AtsMode.FULL, AtsMode.SPLIT) and ste.Config & 2 and ste.S2S:
        return "STE.S2S stalls a stream whose EATS enables ATS"
    return None


def _ste_stage1_problem(ste: STE, ids: IdRegisters) -> str | None:
    if ste.S1STALLD and ids.features.STALL_MODEL:
        return "STE.S1STALLD is set though IDR0.STALL_MODEL is not 0"
    if ids.sizes.SSIDSIZE and ste.S1CDMax > ids.sizes.SSIDSIZE:
        return "STE.S1CDMax is beyond IDR1.SSIDSIZE"
    two_level = ids.sizes.SSIDSIZE and ste.S1CDMax and ste.S1Fmt in (1, 2)
    if two_level and not ids.features.CD2L:
        return "STE.S1Fmt selects two-level CD tables, which IDR0.CD2L says are absent"
    if not ste.Config & 2 and ste.S1ContextPtr >> ids.output_bits and ids.minor >= 1:
        return "STE.S1ContextPtr is beyond OAS"
    return None


def _ste_stage2_problem(ste: STE, ids: IdRegisters) -> str | None:
    granule_lg2 = TG0_GRANULE_LG2.get(ste.S2TG)
    output_bits = min(IPS_BITS[ste.S2PS], ids.output_bits)
    if not ste.S2AA64:
        return "STE.S2AA64 selects AArch32 tables, which IDR0.TTF says are absent"
    if problem := _stall_problem("STE.S2S", ste.S2S, ids):
        return problem
    if problem := _update_problem("STE.S2", ste.S2HA, ste.S2HD, ids):
        return problem
    if granule_lg2 is None or not ids.supports_granule(granule_lg2):
        return "STE.S2TG selects an unsupported granule"
    if (ste.S2TTB & ids.table_base_mask) >> _base_bits(granule_lg2, output_bits):
        return "STE.S2TTB is beyond the effective S2PS"
    smallest, largest = ids.s2t0sz_limits(granule_lg2)
    if not smallest <= ste.S2T0SZ <= largest:
        return "STE.S2T0SZ is out of range"
    consistent = _stage2_consistent(granule_lg2, ste.S2SL0, 64 - ste.S2T0SZ, bool(ids.extras.STT))
    if not consistent or (ste.S2SL0 == 2 and ids.output_bits < _LEVEL0_OAS[granule_lg2]):
        return "STE.S2SL0 is inconsistent with S2T0SZ and S2TG"
    if ste.S2ENDI:
        return "STE.S2ENDI selects big-endian tables, which IDR0.TTENDIAN says are absent"
    return None


def _stall_problem(field: str, stall: int, ids: IdRegisters) -> str | None:
    """Spec: 5.5; STALL_MODEL 1 cannot stall, 2 must."""
    model = ids.features.STALL_MODEL
    if stall and model == 1:
        return f"{field} is set though IDR0.STALL_MODEL says that stalling is absent"
    if not stall and model == 2:
        return f"{field} is clear though IDR0.STALL_MODEL says that every fault stalls"
    return None


def _update_problem(prefix: str, access: int, dirty: int, ids: IdRegisters) -> str | None:
    """Spec: 5.2 S2HA, S2HD, 5.4 HA, HD."""
    supported = ids.features.HTTU
    if access and supported < 1:
        return f"{prefix}HA is set though IDR0.HTTU is 0"
    if dirty and supported < 2:
        return f"{prefix}HD is set though IDR0.HTTU is {supported}"
    return None


_LEVEL0_OAS = {12: 44, 14: 42, 16: 44}
"""Output sizes that S2SL0 2 asks for, by granule. Spec: DDI 0487 AArch64.S2InvalidSL."""


def _stage2_start_level(granule_lg2: int, sl0: int) -> int:
    """Level that SL0 names; 3 is level 3 for 4 KiB with small tables, else reserved."""
    if sl0 == 3:
        return 3
    return (2 if granule_lg2 == 12 else 3) - sl0


def _stage2_consistent(granule_lg2: int, sl0: int, input_bits: int, small_tables: bool) -> bool:
    """Whether the walk of ``input_bits`` can start at SL0's level, with 1 to 16 start tables.

    Spec: DDI 0487 D8.2.5 (tables of start levels), AArch64.S2InconsistentSL.
    """
    if sl0 == 3 and not (small_tables and granule_lg2 == 12):
        return False
    stride = granule_lg2 - 3
    levels_below = 3 - _stage2_start_level(granule_lg2, sl0)
    shortest = levels_below * stride + granule_lg2 + 1
    return shortest <= input_bits <= shortest + stride + 3


def _base_bits(granule_lg2: int, output_bits: int) -> int:
    """Bits a table base may have: the output size, but 48 for granules below 64 KiB."""
    return min(output_bits, 48) if granule_lg2 < 16 else output_bits


def cd_problem(cd: CD, stream: Stream, ids: IdRegisters) -> str | None:
    """Why a CD reached through a stream is ILLEGAL, or None. Spec: 5.4.2."""
    el2 = stream.world is World.EL2
    if not cd.V:
        return "CD.V is 0"
    if not cd.A and ids.features.TERM_MODEL:
        return "CD.A is 0 though IDR0.TERM_MODEL is 1"
    if cd.S and stream.ste.S1STALLD:
        return "CD.S is set though STE.S1STALLD forbids stalling"
    if problem := _stall_problem("CD.S", cd.S, ids):
        return problem
    if not cd.AA64:
        return "CD.AA64 selects AArch32 tables, which IDR0.TTF says are absent"
    if problem := _update_problem("CD.", cd.HA, cd.HD, ids):
        return problem
    if cd.ENDI and (el2 or not (cd.EPD0 and cd.EPD1)):
        return "CD.ENDI selects big-endian tables, which IDR0.TTENDIAN says are absent"
    if cd.ASID > 0xFF and not ids.features.ASID16 and not el2:
        return "CD.ASID does not fit 8 bits"
    if el2:
        return _half_problem(cd, 0, ids)
    return (None if cd.EPD0 else _half_problem(cd, 0, ids)) or (
        None if cd.EPD1 else _half_problem(cd, 1, ids)
    )


def _half_problem(cd: CD, half: int, ids: IdRegisters) -> str | None:
    granules = TG1_GRANULE_LG2 if half else TG0_GRANULE_LG2
    granule_lg2 = granules.get(cd.TG1 if half else cd.TG0)
    if granule_lg2 is None or not ids.supports_granule(granule_lg2):
        return f"CD.TG{half} selects an unsupported granule"
    smallest, largest = ids.txsz_limits(granule_lg2)
    if not smallest <= (cd.T1SZ if half else cd.T0SZ) <= largest:
        return f"CD.T{half}SZ is out of range"
    output_bits = min(IPS_BITS[cd.IPS], ids.output_bits)
    base = (cd.TTB1 if half else cd.TTB0) & ids.table_base_mask
    if base >> _base_bits(granule_lg2, output_bits):
        return f"CD.TTB{half} is beyond the effective IPS"
    return None
