# SPDX-License-Identifier: GPL-2.0-or-later
"""The command queue's consumer: one small function for each opcode, in a table.

Spec: IHI 0070 4.1 to 4.7, 7.1 (command errors). A function returns the error that the command
meets, or NONE. Reserved bits are ignored, except SSec, which must be zero on the Non-secure
queue (4.1.6). Commands for features that the ID registers do not advertise are CERROR_ILL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from smmu_emu.ats import Invalidation, PageResponse, ResponseCode
from smmu_emu.smmuv3.ats import Ats
from smmu_emu.smmuv3.config import ConfigurationCache
from smmu_emu.smmuv3.context import Tag, World
from smmu_emu.smmuv3.ids import IdRegisters
from smmu_emu.smmuv3.interrupt import CMDQ_ERR, Interrupts
from smmu_emu.smmuv3.pri import PageRequests
from smmu_emu.smmuv3.queue import CommandQueue
from smmu_emu.smmuv3.register_file import RegisterFile
from smmu_emu.smmuv3.spec.command import (
    AtcInvalidate,
    CommandError,
    ConfigInvalidate,
    ConfigInvalidateRange,
    Opcode,
    PriResponse,
    Resume,
    Sync,
    SyncSignal,
    TlbInvalidate,
)
from smmu_emu.smmuv3.spec.registers import CMDQ_CONS, CR0, CR2
from smmu_emu.smmuv3.stall import terminated
from smmu_emu.smmuv3.translate import TranslationPath
from smmu_emu.tlb import InvalidateScope, Space, Tlb, WalkCache

ILL, NONE = CommandError.ILL, CommandError.NONE
_CMDQEN = CR0.mask("CMDQEN")
_SMMUEN = CR0.mask("SMMUEN")
_SEC = 1 << 10
_EL1 = (World.EL1, World.EL1_NESTED)
_GRANULE_OF_TG = {1: 12, 2: 14, 3: 16}


class CommandProcessor:
    """Consumes commands while the queue is enabled, not empty and free of errors.

    ``consumed`` counts commands by opcode.
    """

    def __init__(
        self,
        registers: RegisterFile,
        queue: CommandQueue,
        interrupts: Interrupts,
        configuration: ConfigurationCache,
        tlb: Tlb,
        walk_cache: WalkCache,
        path: TranslationPath,
        ats: Ats,
        page_requests: PageRequests,
    ) -> None:
        self.registers = registers
        self.queue = queue
        self.interrupts = interrupts
        self.configuration = configuration
        self.tlb = tlb
        self.walk_cache = walk_cache
        self.path = path
        self.ats = ats
        self.page_requests = page_requests
        self.ids: IdRegisters = registers.ids
        self.consumed: Counter[int] = Counter()
        self._running = False

    def run(self, most: int | None = None) -> None:
        """Consume what there is to consume, or ``most`` commands of it. Spec: 4.1, 7.1."""
        if self._running:
            return
        self._running = True
        try:
            while most != 0 and self.ready() and self._step():
                most = most - 1 if most is not None else None
        finally:
            self._running = False

    def ready(self) -> bool:
        """Whether there is a command, and it may be consumed."""
        return bool(
            self.registers.values["CR0ACK"] & _CMDQEN
            and not self.path.failed
            and not self.interrupts.is_active(CMDQ_ERR)
            and not self.queue.empty
        )

    def _step(self) -> bool:
        """Consume one command; False if that is not possible now."""
        data = self.queue.peek()
        if data is None:
            return self._fail(CommandError.ABT)
        command = int.from_bytes(data, "little")
        opcode = command & 0xFF
        if opcode == Opcode.SYNC and self.sync_waits():
            return False
        function = COMMANDS.get(opcode)
        error = ILL if function is None else function(self, command)
        if error is not NONE:
            return self._fail(error)
        self.consumed[opcode] += 1
        self.queue.consume()
        if opcode == Opcode.SYNC:
            self._complete_sync(command)
        return True

    def sync_waits(self) -> bool:
        """Whether CMD_SYNC may not complete yet; who holds it up runs the queue again. Spec: 4.7.3.

        Here that is an endpoint that has not answered.
        """
        return self.ats.invalidations.waiting

    def _fail(self, error: CommandError) -> bool:
        """Stop at the command: CONS.ERR first, then the global error. Spec: 7.1."""
        values = self.registers.values
        values["CMDQ_CONS"] = CMDQ_CONS(values["CMDQ_CONS"]).replace(ERR=error).value
        self.interrupts.raise_error(CMDQ_ERR)
        return False

    def _complete_sync(self, command: int) -> None:
        """CONS has moved already: completion is never signalled before it is visible (3.18)."""
        sync = Sync(command)
        if sync.CS == SyncSignal.IRQ:
            self.interrupts.sync_completed(sync.MSIAddress, sync.MSIData)
        elif sync.CS == SyncSignal.SEV and self.ids.features.SEV:
            self.interrupts.wfe_event.pulse()

    # -- ATS and PRI

    @property
    def smmu_enabled(self) -> bool:
        """Whether SMMUEN is 1."""
        return bool(self.registers.values["CR0ACK"] & _SMMUEN)

    def substream_of(self, command: AtcInvalidate | PriResponse) -> int | None:
        """The PASID a command names; without substreams SSV acts as 0. Spec: 4.5.1, 4.5.2."""
        return command.SubstreamID if command.SSV and self.ids.sizes.SSIDSIZE else None

    # -- TLB invalidation: which spaces, which addresses

    def vmid_of(self, command: TlbInvalidate) -> int:
        """The VMID a command names; without stage 2 there are none and the field is ignored."""
        return command.VMID if self.ids.features.S2P else 0

    @property
    def el2_world(self) -> World:
        """The EL2 regime that CR2.E2H selects."""
        return World.EL2_E2H if CR2(self.registers.values["CR2"]).E2H else World.EL2

    def spaces(self, matches: Callable[[Tag], bool], cache: Tlb | None = None) -> list[Space]:
        """The spaces of the TLB, or of another cache, whose tag matches."""
        spaces = (self.tlb if cache is None else cache).spaces
        return [space for tag, space in spaces.items() if isinstance(tag, Tag) and matches(tag)]

    def invalidate(
        self,
        matches: Callable[[Tag], bool],
        scope: InvalidateScope | None = None,
        *,
        leaf: bool = False,
    ) -> None:
        """Have translations under tags that match forgotten; with ``leaf`` pointers to tables stay.

        Spec: 4.4 (Leaf).
        """
        self.carry_out(partial(self.forget, matches, scope, leaf))

    def carry_out(self, effect: Callable[[], None]) -> None:
        """Do what an invalidation asks for, at the latest before the next CMD_SYNC completes: here
        at once. Spec: 4.8."""
        effect()

    def forget(
        self, matches: Callable[[Tag], bool], scope: InvalidateScope | None, leaf: bool
    ) -> None:
        """The effect of an invalidation."""
        self.tlb.invalidate(self.spaces(matches), scope)
        if not leaf and self.walk_cache.spaces:
            self.walk_cache.invalidate(self.spaces(matches, self.walk_cache), scope)

    def scope(self, command: TlbInvalidate) -> InvalidateScope | None:
        """The addresses an invalidation by address names; None if it is illegal.

        Spec: 4.4.1.1 (range, TTL). Without IDR3.RIL, or with TG 0, it is one address of any size.
        """
        address = command.Address
        if not self.ids.extras.RIL or not command.TG:
            return InvalidateScope(address, address + 0xFFF)
        granule_lg2 = _GRANULE_OF_TG[command.TG]
        level = (
            command.TTL if command.TTL and not (granule_lg2 == 14 and command.TTL == 1) else None
        )
        if command.NUM == 0 and command.SCALE == 0 and level is None:
            return None
        size = (command.NUM + 1) << command.SCALE + granule_lg2
        return InvalidateScope(address, address + size - 1, granule_lg2, level)


def _nothing(processor: CommandProcessor, command: int) -> CommandError:
    """PREFETCH_* may do nothing (4.2); SYNC's effect comes with its consumption (4.7.3)."""
    return ILL if command & _SEC else NONE


def _sync(processor: CommandProcessor, command: int) -> CommandError:
    """Fails once if an endpoint has not answered an invalidation in time. Spec: 4.7.3."""
    if Sync(command).CS == 3:
        return ILL
    return CommandError.ATC_INV_SYNC if processor.ats.invalidations.take_timeout() else NONE


def _cfgi_ste(processor: CommandProcessor, command: int) -> CommandError:
    """Spec: 4.3.1."""
    if command & _SEC:
        return ILL
    fields = ConfigInvalidate(command)
    drop = processor.configuration.drop_ste
    processor.carry_out(partial(drop, fields.StreamID, leaf=bool(fields.Leaf)))
    return NONE


def _cfgi_ste_range(processor: CommandProcessor, command: int) -> CommandError:
    """An aligned block of 2^(Range+1) StreamIDs; Range 31 is CFGI_ALL. Spec: 4.3.2, 4.3.6."""
    if command & _SEC:
        return ILL
    fields = ConfigInvalidateRange(command)
    count = 2 << fields.Range
    drop = processor.configuration.drop_ste_range
    processor.carry_out(partial(drop, fields.StreamID & -count, count))
    return NONE


def _cfgi_cd(processor: CommandProcessor, command: int) -> CommandError:
    """One CD of one stream; the SubstreamID is its index in the table. Spec: 4.3.3."""
    if command & _SEC or not processor.ids.features.S1P:
        return ILL
    fields = ConfigInvalidate(command)
    drop, leaf = processor.configuration.drop_cd, bool(fields.Leaf)
    processor.carry_out(partial(drop, fields.StreamID, fields.SubstreamID, leaf=leaf))
    return NONE


def _cfgi_cd_all(processor: CommandProcessor, command: int) -> CommandError:
    """Every CD of one stream. Spec: 4.3.4."""
    if command & _SEC or not processor.ids.features.S1P:
        return ILL
    stream_id = ConfigInvalidate(command).StreamID
    processor.carry_out(partial(processor.configuration.drop_cds, stream_id))
    return NONE


def _nh_all(processor: CommandProcessor, command: int) -> CommandError:
    """All stage-1 entries of a VMID. Spec: 4.4.2.1."""
    if not processor.ids.features.S1P:
        return ILL
    vmid = processor.vmid_of(TlbInvalidate(command))
    processor.invalidate(lambda tag: tag.world in _EL1 and tag.vmid == vmid)
    return NONE


def _nh_asid(processor: CommandProcessor, command: int) -> CommandError:
    """Non-global entries of an ASID. Spec: 4.4.2.2."""
    if not processor.ids.features.S1P:
        return ILL
    fields = TlbInvalidate(command)
    vmid = processor.vmid_of(fields)
    processor.invalidate(
        lambda tag: tag.world in _EL1 and tag.vmid == vmid and tag.asid == fields.ASID
    )
    return NONE


def _nh_va(processor: CommandProcessor, command: int) -> CommandError:
    """One address or range under an ASID, and global entries whatever theirs. Spec: 4.4.2.4."""
    fields = TlbInvalidate(command)
    vmid = processor.vmid_of(fields)
    return _by_address(
        processor,
        fields,
        lambda tag: tag.world in _EL1 and tag.vmid == vmid and tag.asid in (None, fields.ASID),
    )


def _nh_vaa(processor: CommandProcessor, command: int) -> CommandError:
    """One address or range under every ASID. Spec: 4.4.2.3."""
    fields = TlbInvalidate(command)
    vmid = processor.vmid_of(fields)
    return _by_address(processor, fields, lambda tag: tag.world in _EL1 and tag.vmid == vmid)


def _by_address(
    processor: CommandProcessor, fields: TlbInvalidate, matches: Callable[[Tag], bool]
) -> CommandError:
    scope = processor.scope(fields)
    if not processor.ids.features.S1P or scope is None:
        return ILL
    processor.invalidate(matches, scope, leaf=bool(fields.Leaf))
    return NONE


def _s12_vmall(processor: CommandProcessor, command: int) -> CommandError:
    """Both stages of a VMID. Spec: 4.4.3.2."""
    if not processor.ids.features.S2P:
        return ILL
    vmid = TlbInvalidate(command).VMID
    worlds = (*_EL1, World.S2)
    processor.invalidate(lambda tag: tag.world in worlds and tag.vmid == vmid)
    return NONE


def _s2_ipa(processor: CommandProcessor, command: int) -> CommandError:
    """Stage-2-only entries by IPA; combined entries may stay, and do. Spec: 4.4.3.1."""
    fields = TlbInvalidate(command)
    scope = processor.scope(fields)
    if not processor.ids.features.S2P or scope is None:
        return ILL
    processor.invalidate(
        lambda tag: tag.world is World.S2 and tag.vmid == fields.VMID,
        scope,
        leaf=bool(fields.Leaf),
    )
    return NONE


def _nsnh_all(processor: CommandProcessor, command: int) -> CommandError:
    """Everything of EL1, any VMID, both stages. Spec: 4.4.4.1."""
    worlds = (*_EL1, World.S2)
    processor.invalidate(lambda tag: tag.world in worlds)
    return NONE


_EL2_WORLDS = (World.EL2, World.EL2_E2H)


def _el2_all(processor: CommandProcessor, command: int) -> CommandError:
    """Everything of EL2, with and without E2H. Spec: 4.4.2.7."""
    if not processor.ids.features.Hyp:
        return ILL
    processor.invalidate(lambda tag: tag.world in _EL2_WORLDS)
    return NONE


def _el2_asid(processor: CommandProcessor, command: int) -> CommandError:
    """Non-global EL2-E2H entries of an ASID. Spec: 4.4.2.10."""
    if not processor.ids.features.Hyp:
        return ILL
    tag = Tag(World.EL2_E2H, 0, TlbInvalidate(command).ASID)
    processor.invalidate(lambda other: other == tag)
    return NONE


def _el2_va(processor: CommandProcessor, command: int) -> CommandError:
    """An address of the regime that CR2.E2H selects; the ASID counts with E2H. Spec: 4.4.2.8."""
    fields = TlbInvalidate(command)
    world = processor.el2_world
    return _by_el2_address(
        processor, fields, lambda tag: tag.world is world and tag.asid in (None, fields.ASID)
    )


def _el2_vaa(processor: CommandProcessor, command: int) -> CommandError:
    """An address under every ASID of the regime that CR2.E2H selects. Spec: 4.4.2.9."""
    world = processor.el2_world
    return _by_el2_address(processor, TlbInvalidate(command), lambda tag: tag.world is world)


def _by_el2_address(
    processor: CommandProcessor, fields: TlbInvalidate, matches: Callable[[Tag], bool]
) -> CommandError:
    scope = processor.scope(fields)
    if not processor.ids.features.Hyp or scope is None:
        return ILL
    processor.invalidate(matches, scope, leaf=bool(fields.Leaf))
    return NONE


def _atc_inv(processor: CommandProcessor, command: int) -> CommandError:
    """Ask an endpoint to forget translations; a Size above 52 is ILL here. Spec: 4.5.1."""
    fields = AtcInvalidate(command)
    if not processor.ids.features.ATS or fields.Size > 52:
        return ILL
    if processor.smmu_enabled:
        size_lg2 = 12 + fields.Size
        substream_id = processor.substream_of(fields)
        every = bool(fields.Global and substream_id is not None)
        request = Invalidation(fields.Address & -(1 << size_lg2), size_lg2, substream_id, every)
        processor.ats.invalidate(fields.StreamID, request)
    return NONE


_RESPONSE_CODES = (ResponseCode.FAILURE, ResponseCode.INVALID_REQUEST, ResponseCode.SUCCESS)


def _pri_resp(processor: CommandProcessor, command: int) -> CommandError:
    """Answer a page request group. Spec: 4.5.2, 8.3."""
    fields = PriResponse(command)
    if not processor.ids.features.PRI or fields.Resp == 3:
        return ILL
    if processor.smmu_enabled:
        code, substream_id = _RESPONSE_CODES[fields.Resp], processor.substream_of(fields)
        response = PageResponse(fields.PRGIndex, code, substream_id)
        processor.page_requests.respond(fields.StreamID, response)
    return NONE


def _resume(processor: CommandProcessor, command: int) -> CommandError:
    """Retry or end one stalled transaction; a tag that fits none is no error. Spec: 4.7.1."""
    if command & _SEC or processor.ids.features.STALL_MODEL == 1:
        return ILL
    fields = Resume(command)
    path = processor.path
    held = path.stalls.take(fields.StreamID, fields.STAG)
    if held is not None:
        if fields.Ac:
            path.retry(held)
        else:
            abort = bool(fields.Ab or processor.ids.features.TERM_MODEL)
            held.answer(terminated(held, abort=abort))
        path.retry_waiting()
    return NONE


def _stall_term(processor: CommandProcessor, command: int) -> CommandError:
    """End every stalled transaction of a stream. Spec: 4.7.2."""
    if command & _SEC or processor.ids.features.STALL_MODEL == 1:
        return ILL
    path = processor.path
    for held in path.stalls.take_stream(Resume(command).StreamID):
        held.answer(terminated(held, abort=True))
    path.retry_waiting()
    return NONE


COMMANDS: dict[int, Callable[[CommandProcessor, int], CommandError]] = {
    Opcode.PREFETCH_CONFIG: _nothing,
    Opcode.PREFETCH_ADDR: _nothing,
    Opcode.CFGI_STE: _cfgi_ste,
    Opcode.CFGI_STE_RANGE: _cfgi_ste_range,
    Opcode.CFGI_CD: _cfgi_cd,
    Opcode.CFGI_CD_ALL: _cfgi_cd_all,
    Opcode.TLBI_NH_ALL: _nh_all,
    Opcode.TLBI_NH_ASID: _nh_asid,
    Opcode.TLBI_NH_VA: _nh_va,
    Opcode.TLBI_NH_VAA: _nh_vaa,
    Opcode.TLBI_EL2_ALL: _el2_all,
    Opcode.TLBI_EL2_ASID: _el2_asid,
    Opcode.TLBI_EL2_VA: _el2_va,
    Opcode.TLBI_EL2_VAA: _el2_vaa,
    Opcode.TLBI_S12_VMALL: _s12_vmall,
    Opcode.TLBI_S2_IPA: _s2_ipa,
    Opcode.TLBI_NSNH_ALL: _nsnh_all,
    Opcode.ATC_INV: _atc_inv,
    Opcode.PRI_RESP: _pri_resp,
    Opcode.RESUME: _resume,
    Opcode.STALL_TERM: _stall_term,
    Opcode.SYNC: _sync,
}
"""What this model executes; every other opcode is CERROR_ILL."""
