# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tracer tells of an SMMU that Python drives: kinds of events, order, causes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import pytest

from smmu_emu.ats import TranslationRequest
from smmu_emu.interpose import Function, Layer, interpose
from smmu_emu.policy import Adversary, Choice
from smmu_emu.port import DmaPort
from smmu_emu.smmuv3.device import Delays
from smmu_emu.tlb import Tlb
from smmu_emu.trace.events import (
    KINDS,
    Access,
    AtcInvalidation,
    Command,
    ConfigFetch,
    ConfigInvalidation,
    DmaData,
    Event,
    Evict,
    Fill,
    Interrupt,
    Invalidation,
    Note,
    Origin,
    Record,
    RegisterAccess,
    Sync,
    Update,
    Walk,
)
from smmu_emu.trace.filters import Filter
from smmu_emu.trace.readers import read_trace
from smmu_emu.trace.tracer import Tracer
from smmu_emu.transaction import Fault
from tests.unit.smmuv3.ats_rig import ats_ids
from tests.unit.smmuv3.rig import (
    AF,
    BLOCK,
    CD_AT,
    CFGI_ALL,
    COMMAND_QUEUE,
    EVENT_QUEUE,
    GUEST,
    NG,
    PAGE,
    RAM,
    RW,
    S2_RW,
    SID,
    STREAM_TABLE,
    SYNC,
    USER,
    Bench,
    Tree,
    cmd,
    make_ids,
    nested_bench,
    stage1_bench,
    stage2_bench,
)

IOVA = 0x5000
OUT = RAM + 0x20_0000
_Kind = TypeVar("_Kind", bound=Event)


class Log:
    """Events of one bench, traced until the test is over."""

    def __init__(self, bench: Bench, **how: Any) -> None:
        self.events: list[Event] = []
        self.tracer = Tracer(bench.smmu, self.events.append, **how)

    def all(self, kind: type[_Kind]) -> list[_Kind]:
        """The events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def one(self, kind: type[_Kind]) -> _Kind:
        """The only event of a kind."""
        found = self.all(kind)
        assert len(found) == 1, found
        return found[0]

    def kinds(self) -> list[str]:
        """What was told, origins aside, as words."""
        words = {one: kind for kind, one in KINDS.items()}
        return [words[type(e)] for e in self.events if not isinstance(e, Origin)]

    def forget(self) -> None:
        """Begin anew."""
        self.events.clear()


def _stage1(**cd: int) -> tuple[Bench, Tree, int]:
    bench, tree = stage1_bench(**cd)
    return bench, tree, tree.page(IOVA, OUT, RW | NG)


# -- numbers and order


def test_events_are_numbered_from_one_without_gaps() -> None:
    bench, _, _ = _stage1()
    log = Log(bench)
    bench.pa(IOVA)
    bench.do(cmd("TLBI_NH_ALL"))
    assert [event.seq for event in log.events] == list(range(1, len(log.events) + 1))


def test_everything_of_an_access_comes_before_it_and_names_it() -> None:
    bench, _, leaf = _stage1()
    log = Log(bench)
    bench.pa(IOVA)
    assert log.kinds() == ["note", "config-fetch", "config-fetch", "walk", "fill", "access"]
    access = log.one(Access)
    assert log.one(Walk).transaction == log.one(Fill).transaction == access.seq
    assert log.one(Walk).reads[-2:] == (leaf, OUT | RW | NG | PAGE)


def test_origins_come_before_what_names_them() -> None:
    bench, _, _ = _stage1()
    log = Log(bench)
    bench.pa(IOVA)
    bench.do(cmd("TLBI_NH_ALL"))
    known = {0}
    for event in log.events:
        assert event.cause in known
        if isinstance(event, Origin):
            known.add(event.seq)


def test_a_line_of_python_is_the_cause_where_no_core_runs() -> None:
    bench, _, _ = _stage1()
    log = Log(bench)
    bench.pa(IOVA)
    origin = next(o for o in log.all(Origin) if o.seq == log.one(Access).cause)
    assert origin.source.startswith("rig.py:")
    assert origin.symbol == "Bench.go"
    assert (origin.pc, origin.word) == (None, None)


def test_without_python_lines_nothing_has_a_cause() -> None:
    bench, _, _ = _stage1()
    log = Log(bench, python_lines=False)
    bench.pa(IOVA)
    assert {event.cause for event in log.events} == {0}


# -- accesses


def test_a_miss_is_a_walk_and_the_next_access_a_hit_of_the_same_entry() -> None:
    bench, _, _ = _stage1()
    log = Log(bench)
    bench.pa(IOVA)
    bench.pa(IOVA + 8, write=True)
    first, second = log.all(Access)
    fill = log.one(Fill)
    assert (first.outcome, first.entry, first.pa) == ("walk", fill.entry, OUT)
    assert (second.outcome, second.entry, second.pa) == ("hit", fill.entry, OUT + 8)
    assert (first.write, second.write) == (False, True)
    assert second.stream_id == SID
    assert second.substream_id is None
    assert second.config == log.all(ConfigFetch)[-1].entry != 0


def test_a_fault_names_its_event_and_is_recorded_before() -> None:
    bench, _, _ = _stage1()
    log = Log(bench)
    bench.go(0x9000)
    access, record = log.one(Access), log.one(Record)
    assert (access.outcome, access.fault, access.entry, access.pa) == (
        "fault",
        "F_TRANSLATION",
        0,
        None,
    )
    assert (record.name, record.iova, record.queue, record.written) == (
        "F_TRANSLATION",
        0x9000,
        "event",
        True,
    )
    assert record.transaction == access.seq
    assert record.data == bench.memory.read(EVENT_QUEUE, 32)
    walk = log.one(Walk)
    assert (walk.fault, walk.page, walk.level) == ("F_TRANSLATION", None, 3)


def test_a_permission_fault_of_a_cached_entry_names_it() -> None:
    bench, tree = stage1_bench()
    tree.page(IOVA, OUT, RW | NG | 1 << 7)
    log = Log(bench)
    bench.pa(IOVA)
    bench.go(IOVA, write=True)
    access = log.all(Access)[-1]
    assert (access.outcome, access.fault) == ("fault", "F_PERMISSION")
    assert access.entry == log.one(Fill).entry


def test_a_bypassed_access_has_no_entry() -> None:
    bench = Bench()
    bench.ste(V=1, Config=0b100, SHCFG=1)
    log = Log(bench)
    bench.go(0x1234)
    access = log.one(Access)
    assert (access.outcome, access.pa, access.entry) == ("bypass", 0x1234, 0)
    assert access.config == log.one(ConfigFetch).entry


def test_while_the_smmu_is_disabled_accesses_have_no_configuration() -> None:
    bench = Bench(setup=False)
    log = Log(bench)
    bench.go(0x1234)
    assert (log.one(Access).outcome, log.one(Access).config) == ("bypass", 0)


def test_a_record_that_is_lost_is_told_as_lost() -> None:
    bench, _, _ = _stage1()
    bench.w("CR0", 0x9)  # EVENTQEN is 0
    log = Log(bench)
    bench.go(0x9000)
    assert not log.one(Record).written


def test_a_stalled_access_is_told_of_again_when_it_is_retried() -> None:
    bench, tree = stage1_bench(make_ids(STALL_MODEL=0), S=1)
    log = Log(bench)
    port = DmaPort(bench.memory, bench.smmu, SID)
    transfer = port.start_read(IOVA, 8)
    assert [a.outcome for a in log.all(Access)] == ["stall"]
    tree.page(IOVA, OUT, RW | NG)
    stag = int.from_bytes(log.one(Record).data, "little") >> 64 & 0xFFFF
    bench.do(cmd("RESUME", StreamID=SID, STAG=stag, Ac=1))
    assert transfer.done
    assert [a.outcome for a in log.all(Access)] == ["stall", "walk"]
    resume = next(c for c in log.all(Command) if c.name == "RESUME")
    assert resume.seq < log.all(Access)[1].seq


def test_data_follows_its_access_on_a_port_that_is_watched() -> None:
    bench, _, _ = _stage1()
    log = Log(bench)
    port = DmaPort(bench.memory, bench.smmu, SID)
    log.tracer.watch(port)
    port.write(IOVA + 0x10, b"abcd")
    access, data = log.one(Access), log.one(DmaData)
    assert data.transaction == access.seq < data.seq
    assert (data.stream_id, data.pa, data.size, data.write, data.ok) == (
        SID,
        OUT + 0x10,
        4,
        True,
        True,
    )


def test_a_long_transfer_is_told_page_by_page() -> None:
    bench, tree = stage1_bench()
    for page in range(128):
        tree.page(0x10_0000 + page * 0x1000, OUT + page * 0x1000, RW | NG)
    log = Log(bench)
    port = DmaPort(bench.memory, bench.smmu, SID)
    assert port.read(0x10_0000, 128 * 0x1000) is not None
    assert len(log.all(Access)) == len(log.all(Fill)) == 128


def test_a_batch_is_told_one_by_one() -> None:
    import numpy as np

    bench, tree = stage1_bench()
    for page in range(128):
        tree.page(0x10_0000 + page * 0x1000, OUT + page * 0x1000, RW | NG)
    log = Log(bench)
    bench.smmu.batch.translate(SID, np.arange(0x10_0000, 0x18_0000, 0x1000, dtype=np.uint64))
    assert len(log.all(Access)) == 128


# -- configuration


def test_configuration_is_fetched_from_the_tables() -> None:
    bench, _, _ = _stage1()
    log = Log(bench)
    bench.pa(IOVA)
    ste, cd = log.all(ConfigFetch)
    assert (ste.structure, ste.pa, ste.stream_id) == ("STE", STREAM_TABLE + 64 * SID, SID)
    assert ste.data == bench.memory.read(ste.pa, 64)
    assert (cd.structure, cd.pa) == ("CD", CD_AT)
    assert cd.data == bench.memory.read(CD_AT, 64)
    assert 0 != ste.entry != cd.entry != 0


def test_a_bad_ste_is_fetched_and_not_cached() -> None:
    bench = Bench()
    bench.ste(V=0)
    log = Log(bench)
    bench.go(IOVA)
    assert log.one(ConfigFetch).entry == 0
    assert log.one(Access).fault == "C_BAD_STE"


def test_cfgi_ste_takes_the_cds_along() -> None:
    bench, _, _ = _stage1()
    log = Log(bench)
    bench.pa(IOVA)
    cached = tuple(fetch.entry for fetch in log.all(ConfigFetch))
    bench.do(cmd("CFGI_STE", StreamID=SID, Leaf=1))
    event = log.one(ConfigInvalidation)
    assert (event.what, event.stream_id, event.streams, event.removed) == ("STE", SID, 1, cached)
    assert event.command == log.all(Command)[0].seq
    assert event.name == "CFGI_STE"


def test_cfgi_cd_leaves_the_ste() -> None:
    bench, _, _ = _stage1()
    log = Log(bench)
    bench.pa(IOVA)
    cd = log.all(ConfigFetch)[1].entry
    bench.do(cmd("CFGI_CD", StreamID=SID))
    assert log.one(ConfigInvalidation).removed == (cd,)


def test_cfgi_all_is_for_every_stream() -> None:
    bench, _, _ = _stage1()
    log = Log(bench)
    bench.do(CFGI_ALL)
    event = log.one(ConfigInvalidation)
    assert (event.stream_id, event.streams, event.removed) == (0, 1 << 32, ())


# -- invalidation


def test_an_invalidation_tells_what_it_removed() -> None:
    bench, _, _ = _stage1()
    log = Log(bench)
    bench.pa(IOVA)
    entry = log.one(Fill).entry
    bench.do(cmd("TLBI_NH_VA", ASID=3, Address=IOVA, Leaf=1))
    event = log.one(Invalidation)
    assert (event.name, event.world, event.vmid, event.asid) == ("TLBI_NH_VA", "EL1", 0, 3)
    assert (event.first, event.last, event.leaf) == (IOVA, IOVA + 0xFFF, True)
    assert (event.removed, event.left) == ((entry,), ())
    assert not log.all(Evict)


def _ipa_bench() -> tuple[Bench, int]:
    bench, first, _ = nested_bench()
    first.page(IOVA, GUEST + OUT, RW | NG)
    return bench, GUEST + OUT


LEFT: list[tuple[str, dict[str, int], str]] = [
    ("TLBI_NH_VA", {"ASID": 4, "Address": IOVA}, "asid"),
    ("TLBI_NH_VA", {"VMID": 1, "ASID": 3, "Address": IOVA}, "vmid"),
    ("TLBI_NH_VA", {"ASID": 3, "Address": IOVA, "TG": 2, "TTL": 3}, "granule"),
    ("TLBI_NH_VA", {"ASID": 3, "Address": IOVA, "TG": 1, "TTL": 2}, "level"),
    ("TLBI_NH_ASID", {"ASID": 4}, "asid"),
    ("TLBI_NH_ALL", {"VMID": 1}, "vmid"),
    ("TLBI_S2_IPA", {"Address": IOVA}, "world"),
    ("TLBI_EL2_ALL", {}, "world"),
]


@pytest.mark.parametrize(("name", "fields", "reason"), LEFT)
def test_an_invalidation_tells_why_an_overlapping_entry_stays(
    name: str, fields: dict[str, int], reason: str
) -> None:
    ids = make_ids("full", VMID16=1)
    bench, tree = stage1_bench(ids)
    tree.page(IOVA, OUT, RW | NG)
    log = Log(bench)
    bench.pa(IOVA)
    bench.do(cmd(name, **fields))
    event = log.one(Invalidation)
    assert (event.removed, event.left) == ((), (log.one(Fill).entry, reason))
    assert log.one(Sync)


def test_a_global_entry_outlives_its_asid() -> None:
    bench, tree = stage1_bench()
    tree.page(IOVA, OUT, RW)
    log = Log(bench)
    bench.pa(IOVA)
    assert log.one(Fill).asid is None
    bench.do(cmd("TLBI_NH_ASID", ASID=3))
    assert log.one(Invalidation).left == (log.one(Fill).entry, "global")


def test_an_entry_elsewhere_is_not_named() -> None:
    bench, _, _ = _stage1()
    log = Log(bench)
    bench.pa(IOVA)
    bench.do(cmd("TLBI_NH_VA", ASID=3, Address=0x8000))
    assert (log.one(Invalidation).removed, log.one(Invalidation).left) == ((), ())


def test_invalidation_by_ipa_leaves_combined_entries() -> None:
    bench, ipa = _ipa_bench()
    log = Log(bench)
    bench.pa(IOVA)
    combined = next(f for f in log.all(Fill) if f.world == "EL1_NESTED")
    bench.do(cmd("TLBI_S2_IPA", VMID=7, Address=ipa))
    event = log.one(Invalidation)
    assert event.left == (combined.entry, "combined")
    stage2 = {f.entry for f in log.all(Fill) if f.world == "S2" and f.base == ipa & -(1 << 21)}
    assert set(event.removed) == stage2


def test_a_tlb_that_is_emptied_by_hand_has_no_command() -> None:
    bench, _, _ = _stage1()
    log = Log(bench)
    bench.pa(IOVA)
    bench.smmu.tlb.invalidate(list(bench.smmu.tlb.spaces.values()))
    event = log.one(Invalidation)
    assert (event.command, event.name, event.removed) == (0, "", (log.one(Fill).entry,))


# -- fills and evictions


def test_a_fill_tells_everything_of_its_entry() -> None:
    bench, tree = stage1_bench()
    leaf = tree.set(0x20_0000, 2, OUT | RW | NG | BLOCK)
    log = Log(bench)
    bench.pa(0x20_3000)
    fill = log.one(Fill)
    assert (fill.what, fill.world, fill.vmid, fill.asid) == ("tlb", "EL1", 0, 3)
    assert (fill.base, fill.size_lg2, fill.page, fill.level) == (0x20_0000, 21, OUT, 2)
    assert (fill.granule_lg2, fill.stream_id) == (12, SID)
    assert fill.descriptors == log.one(Walk).reads
    assert fill.descriptors[-2] == leaf


def test_a_nested_fill_has_the_descriptors_of_both_stages_though_stage_2_was_cached() -> None:
    bench, first, second = nested_bench()
    leaf1 = first.page(IOVA, GUEST + OUT, RW | NG)
    other = first.page(IOVA + 0x1000, GUEST + OUT + 0x1000, RW | NG)
    log = Log(bench)
    bench.pa(IOVA)
    bench.pa(IOVA + 0x1000)
    fills = [fill for fill in log.all(Fill) if fill.world == "EL1_NESTED"]
    for fill, leaf in zip(fills, (leaf1, other), strict=True):
        pas = fill.descriptors[::2]
        assert leaf - GUEST in pas
        assert any(second.root <= pa < second.root + 0x1000 for pa in pas)
        for pa, value in zip(pas, fill.descriptors[1::2], strict=True):
            assert bench.memory.read_u64(pa) == value
    assert [walk.stage for walk in log.all(Walk)][-1] == 1  # nothing of stage 2 was read again


def test_a_full_tlb_evicts_for_want_of_room() -> None:
    bench = Bench(tlb=Tlb(capacity=1))
    tree = Tree(bench)
    from tests.unit.smmuv3.rig import PLAIN_CD, S1_STE

    bench.ste(**S1_STE)
    bench.cd(**{**PLAIN_CD, "TTB0": tree.root})
    tree.page(IOVA, OUT, RW | NG)
    tree.page(IOVA + 0x1000, OUT, RW | NG)
    log = Log(bench)
    bench.pa(IOVA)
    bench.pa(IOVA + 0x1000)
    assert (log.one(Evict).entry, log.one(Evict).reason) == (log.all(Fill)[0].entry, "capacity")


def test_a_reset_drops_everything() -> None:
    bench, _, _ = _stage1()
    log = Log(bench)
    bench.pa(IOVA)
    bench.smmu.reset()
    assert log.one(Evict).reason == "reset"
    assert [note.name for note in log.all(Note)] == ["begin", "reset"]
    assert log.one(ConfigInvalidation).removed


def test_marking_a_page_dirty_is_an_update_and_replaces_the_entry() -> None:
    bench, tree = stage1_bench(make_ids(HTTU=2), HA=1, HD=1)
    clean = USER | 1 << 7 | 1 << 51 | NG
    leaf = tree.page(IOVA, OUT, clean)
    log = Log(bench)
    bench.pa(IOVA)
    bench.pa(IOVA, write=True)
    access, dirty = log.all(Update)
    assert (access.pa, access.old, access.new) == (leaf, OUT | clean | 3, OUT | clean | AF | 3)
    assert dirty.new == (OUT | clean | AF | 3) & ~(1 << 7)
    assert (access.stage, access.stream_id) == (1, SID)
    assert log.one(Evict).reason == "update"
    assert dirty.transaction == log.all(Access)[1].seq


def test_stage_2_updates_say_so() -> None:
    bench, tree = stage2_bench(make_ids(HTTU=1), S2HA=1)
    tree.page(IOVA, OUT, S2_RW & ~AF)
    log = Log(bench)
    bench.pa(IOVA)
    assert log.one(Update).stage == 2


def test_what_is_cached_when_the_trace_begins_is_told_first() -> None:
    bench, _, _ = _stage1()
    bench.pa(IOVA)
    log = Log(bench)
    assert log.kinds() == ["note", "config-fetch", "config-fetch", "fill"]
    fill = log.one(Fill)
    assert (fill.base, fill.transaction, fill.stream_id) == (IOVA, 0, SID)
    bench.pa(IOVA)
    assert log.one(Access).entry == fill.entry
    assert log.one(Access).config == log.all(ConfigFetch)[1].entry


# -- software's side


def test_register_accesses_are_told_by_name() -> None:
    bench = Bench(setup=False)
    log = Log(bench)
    bench.w("CR2", 2)
    bench.r("CR2")
    written, read = log.all(RegisterAccess)
    assert (written.name, written.write, written.value, written.size) == ("CR2", True, 2, 4)
    assert (read.name, read.write, read.value) == ("CR2", False, 2)


def test_a_command_has_its_words_place_and_doorbell() -> None:
    bench = Bench()
    log = Log(bench)
    bench.do(cmd("TLBI_NH_ALL"))
    tlbi, sync = log.all(Command)
    assert (tlbi.name, tlbi.slot, tlbi.pa, tlbi.error) == ("TLBI_NH_ALL", 0, COMMAND_QUEUE, "")
    assert tlbi.data == cmd("TLBI_NH_ALL").to_bytes(16, "little")
    assert (sync.slot, sync.pa) == (1, COMMAND_QUEUE + 16)
    doorbell = next(r for r in log.all(RegisterAccess) if r.name == "CMDQ_PROD")
    assert doorbell.cause == tlbi.cause == sync.cause
    assert log.kinds().index("register") < log.kinds().index("command")


def test_each_command_is_its_own_doorbells() -> None:
    bench = Bench(delays=Delays(commands=100))
    log = Log(bench)
    bench.push(cmd("TLBI_NH_ALL"))

    def ring() -> None:
        bench.push(SYNC)

    ring()
    bench.smmu.clock.advance(1000)
    tlbi, sync = log.all(Command)
    first, second = (r for r in log.all(RegisterAccess) if r.name == "CMDQ_PROD")
    assert (tlbi.cause, sync.cause) == (first.cause, second.cause)
    assert tlbi.time == 100


def test_an_illegal_command_stops_the_queue() -> None:
    bench = Bench()
    log = Log(bench)
    bench.push(0xFF)
    command = log.one(Command)
    assert (command.name, command.error) == ("0xff", "CERROR_ILL")
    assert [note.name for note in log.all(Note)] == ["begin", "gerror"]


def test_a_sync_names_its_command_and_signal() -> None:
    bench = Bench()
    log = Log(bench)
    bench.push(cmd("SYNC", CS=1))
    assert (log.one(Sync).command, log.one(Sync).signal) == (log.one(Command).seq, "irq")
    assert log.one(Interrupt).name == "cmdq-sync"
    assert log.kinds()[-2:] == ["sync", "interrupt"]


def test_a_message_is_an_interrupt_with_an_address() -> None:
    bench = Bench(make_ids(MSI=1))
    log = Log(bench)
    bench.push(cmd("SYNC", CS=1, MSIAddress=OUT, MSIData=0x1234))
    assert (log.one(Interrupt).pa, log.one(Interrupt).data) == (OUT, 0x1234)
    assert log.one(Sync).signal == "msi"


def test_an_event_queue_interrupt_belongs_to_the_fault() -> None:
    bench, _, _ = _stage1()
    log = Log(bench)
    bench.go(0x9000)
    assert log.kinds()[-3:] == ["record", "interrupt", "access"]
    assert log.one(Interrupt).name == "eventq"


# -- ATS


def test_atc_invalidations_are_asked_and_answered() -> None:
    from smmu_emu.devices.ats_endpoint import AtsEndpoint

    bench, tree = stage1_bench(ats_ids())
    tree.page(IOVA, OUT, RW | NG)
    AtsEndpoint(bench.memory, bench.smmu.ats, SID, bench.smmu.clock)
    log = Log(bench)
    bench.do(cmd("ATC_INV", StreamID=SID, Address=IOVA))
    asked, answered = log.all(AtcInvalidation)
    assert (asked.done, answered.done) == (False, True)
    assert (asked.first, asked.last) == (IOVA, IOVA + 0xFFF)
    assert asked.command == answered.command == log.all(Command)[0].seq


def test_a_translation_request_is_an_access_of_its_own() -> None:
    bench, tree = stage1_bench(ats_ids())
    tree.page(IOVA, OUT, RW | NG)
    from tests.unit.smmuv3.rig import S1_STE

    bench.ste(**S1_STE, EATS=1)
    log = Log(bench)
    bench.smmu.ats.request(TranslationRequest(SID, IOVA))
    bench.smmu.ats.request(TranslationRequest(SID, 0x9000))
    granted, denied = log.all(Access)
    assert (granted.outcome, granted.pa) == ("request", OUT)
    assert (denied.outcome, denied.fault) == ("fault", "F_TRANSLATION")
    assert log.all(Walk)[0].transaction == granted.seq


# -- who listens to what


def test_nothing_stands_before_anything_without_a_listener() -> None:
    bench, _, _ = _stage1()
    before = dict(vars(bench.smmu)), dict(vars(bench.smmu.tlb))
    with Tracer(bench.smmu) as tracer:
        assert not hasattr(bench.smmu.tlb, "interposed")
        tracer.listen(lambda event: None)
        assert hasattr(bench.smmu.tlb, "interposed")
    assert (dict(vars(bench.smmu)), dict(vars(bench.smmu.tlb))) == before
    assert bench.smmu.stages.port.is_plain


def test_functions_that_no_wanted_kind_needs_are_left_alone() -> None:
    bench, _, _ = _stage1()
    log = Log(bench, kinds={"command"})
    assert not hasattr(bench.smmu.tlb, "interposed")
    assert not hasattr(bench.smmu.path, "interposed")
    bench.do(cmd("TLBI_NH_ALL"))
    assert {type(event) for event in log.events} == {Origin, Command}


def test_a_later_listener_may_want_more() -> None:
    bench, _, _ = _stage1()
    commands: list[Event] = []
    with Tracer(bench.smmu) as tracer:
        tracer.listen(commands.append, kinds={"command"})
        bench.pa(IOVA)
        everything: list[Event] = []
        tracer.listen(everything.append)
        bench.pa(IOVA)
        bench.do(cmd("TLBI_NH_ALL"))
    assert {type(event) for event in commands} == {Origin, Command}
    fill = next(event for event in everything if isinstance(event, Fill))
    assert next(e for e in everything if isinstance(e, Access)).entry == fill.entry
    assert next(e for e in everything if isinstance(e, Invalidation)).removed == (fill.entry,)


def test_a_listener_can_leave() -> None:
    bench, _, _ = _stage1()
    first: list[Event] = []
    second: list[Event] = []
    with Tracer(bench.smmu, first.append, second.append) as tracer:
        tracer.forget(first.append)
        bench.pa(IOVA)
        assert len(first) < len(second)
        tracer.forget(second.append)
        assert not hasattr(bench.smmu.tlb, "interposed")


def test_events_of_others_get_number_and_time() -> None:
    bench, _, _ = _stage1()
    log = Log(bench)
    number = log.tracer.add(Note(0, 0, "smmu0", 0, "mine", "words"))
    assert (log.events[-1].seq, log.events[-1]) == (
        number,
        Note(number, 0, "smmu0", 0, "mine", "words"),
    )


# -- under policies


def test_late_effects_name_their_command() -> None:
    bench, _, _ = _stage1()
    adversary = Adversary(bench.smmu, Choice.parse("late-effects"))
    log = Log(bench)
    bench.pa(IOVA)
    bench.push(cmd("TLBI_NH_VA", ASID=3, Address=IOVA), cmd("CFGI_STE", StreamID=SID))
    assert not log.all(Invalidation)
    bench.push(SYNC)
    names = {command.seq: command.name for command in log.all(Command)}
    assert names[log.one(Invalidation).command] == "TLBI_NH_VA"
    assert log.one(Invalidation).removed == (log.one(Fill).entry,)
    assert names[log.one(ConfigInvalidation).command] == "CFGI_STE"
    del adversary


def test_cached_pointers_to_tables_are_filled_and_invalidated() -> None:
    bench, _, _ = _stage1()
    Adversary(bench.smmu, Choice.parse("table-pointers"))
    log = Log(bench)
    bench.pa(IOVA)
    pointers = [fill for fill in log.all(Fill) if fill.what == "walk-cache"]
    assert [pointer.level for pointer in pointers] == [1, 2]
    for pointer in pointers:
        assert pointer.descriptors[-1] & ~0xFFF == pointer.page
    bench.do(cmd("TLBI_NH_VA", ASID=3, Address=IOVA, Leaf=1))
    leaf = log.one(Invalidation)
    reasons = dict(zip(leaf.left[::2], leaf.left[1::2], strict=True))
    assert reasons == {pointer.entry: "leaf-only" for pointer in pointers}
    bench.pa(IOVA)
    fills = [fill for fill in log.all(Fill) if fill.what == "tlb"]
    assert fills[0].descriptors == fills[1].descriptors  # though the second walk read one
    assert len(log.all(Walk)[1].reads) == 2
    log.forget()
    bench.do(cmd("TLBI_NH_VA", ASID=3, Address=IOVA))
    assert set(log.one(Invalidation).removed) >= {pointer.entry for pointer in pointers}


def test_whoever_keeps_nothing_evicts_by_policy() -> None:
    bench, _, _ = _stage1()
    Adversary(bench.smmu, Choice.parse("forget"))
    log = Log(bench)
    bench.pa(IOVA)
    assert log.one(Evict).reason == "policy"
    assert log.one(Evict).entry == log.one(Fill).entry == log.one(Access).entry


# -- tracing changes nothing


def test_a_traced_bench_answers_as_an_untraced_one() -> None:
    def run(traced: bool) -> list[object]:
        bench, first, _ = nested_bench()
        for page in range(16):
            first.page(page << 12, GUEST + OUT + (page << 12), RW | NG)
        if traced:
            Log(bench)
        answers: list[object] = []
        for page in (0, 3, 3, 17, 5, 0):
            answers.append(bench.go(page << 12, page == 5))
        bench.do(cmd("TLBI_NH_VA", VMID=7, ASID=3, Address=0x3000))
        answers += [bench.go(0x3000), bench.events(), bench.smmu.path.hits, bench.smmu.path.misses]
        answers += [bench.smmu.stages.walks, bench.smmu.registers.values]
        return [a._replace(transaction=None) if isinstance(a, Fault) else a for a in answers]  # type: ignore[arg-type]

    assert run(traced=True) == run(traced=False)


def test_a_with_block_can_trace_to_a_file(tmp_path: Path) -> None:
    bench, _, _ = _stage1()
    path = tmp_path / "t.jsonl"
    with Tracer.to_file(bench.smmu, path, "kind=access,note", f"stream={SID}"):
        bench.pa(IOVA)
    assert not hasattr(bench.smmu.tlb, "interposed")
    kinds = [type(event) for event in read_trace(path)]
    assert kinds == [Note, Origin, Access, Note]


def test_a_trace_to_a_file_is_whole_though_an_exception_ends_it(tmp_path: Path) -> None:
    bench, _, _ = _stage1()
    path = tmp_path / "t.jsonl"

    def fail() -> None:
        bench.pa(IOVA)
        raise RuntimeError("a bug elsewhere")

    with (
        pytest.raises(RuntimeError, match="a bug elsewhere"),
        Tracer.to_file(bench.smmu, path, "kind=access"),
    ):
        fail()
    assert [type(event) for event in read_trace(path)] == [Origin, Access]
    assert not hasattr(bench.smmu.tlb, "interposed")


def test_an_exception_inside_an_access_loses_none_of_its_events() -> None:
    bench, _, leaf = _stage1()
    log = Log(bench)

    def failing(read_u64: Function) -> Function:
        def read(pa: int) -> object:
            if pa == leaf:
                raise RuntimeError("a bug elsewhere")
            return read_u64(pa)

        return read

    place = interpose(bench.smmu.stages.port, "read_u64", failing, Layer.INJECT)
    with pytest.raises(RuntimeError):
        bench.go(IOVA)
    place.remove()
    assert len(log.all(ConfigFetch)) == 2
    assert not log.all(Access)
    bench.pa(IOVA)
    assert log.one(Access).outcome == "walk"
    assert log.one(Walk).transaction == log.one(Access).seq


def test_a_stream_that_is_filtered_out_keeps_its_numbers() -> None:
    bench, _, _ = _stage1()
    bench.ste(9, V=1, Config=0b101, S1ContextPtr=CD_AT, SHCFG=1)
    log: list[Event] = []
    wanted = Filter.parse(["stream=9"])
    with Tracer(bench.smmu) as tracer:
        tracer.listen(log.append, passes=wanted.passer())
        bench.pa(IOVA)
        bench.pa(IOVA, sid=9)
        number = next(iter(tracer.units[0].entries.values()))
    accesses = [event for event in log if isinstance(event, Access)]
    assert [(a.stream_id, a.outcome, a.entry) for a in accesses] == [(9, "hit", number)]
    assert not any(isinstance(event, Fill | Walk) for event in log)
