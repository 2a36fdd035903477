# SPDX-License-Identifier: GPL-2.0-or-later
"""Translated transactions: passed unlooked, checked, or translated by stage 2 alone.

Spec: IHI 0070 3.9.1.1, 3.9.1.3, 3.9.2, 7.3.8, 13.1.2 (tables 13.4, 13.5), 13.6.3, 13.6.5.
"""

from __future__ import annotations

import pytest

from smmu_emu.ats import Completion, Status
from smmu_emu.transaction import Attributes, Fault, Translation
from tests.unit.smmuv3.ats_rig import (
    ATSCHK,
    CR0_ON,
    FULL,
    IOVA,
    SPLIT,
    ask,
    ats_ids,
    rights,
    send,
)
from tests.unit.smmuv3.rig import (
    AF,
    GUEST,
    RAM,
    READ_ONLY,
    RW,
    S1_STE,
    S2_READ,
    S2_RW,
    S2_WB,
    S2_WRITE,
    SID,
    Bench,
    Tree,
    cmd,
    get,
    make_ids,
    nested_bench,
    stage1_bench,
)
from tests.unit.smmuv3.spec import literals

DBM = 1 << 51
PAGE_PA = RAM + 0x80_0000
IPA = 0x2_0000_0000
DEFAULT = Attributes(0xFF, 0)
F_TRANSL_FORBIDDEN = 0x07


def _checked(config: int = 0b101, eats: int = FULL, **ids: int) -> Bench:
    """A bench with ATSCHK whose stream has a Config and an EATS."""
    bench, _ = stage1_bench(ats_ids(**ids))
    bench.ste(**{**S1_STE, "Config": config, "EATS": eats})
    bench.w("CR0", CR0_ON | ATSCHK)
    return bench


def _where(result: Translation | Fault) -> int:
    assert isinstance(result, Translation), result
    return result.pa


def _refused(bench: Bench, result: Translation | Fault) -> int | None:
    """Event number of an abort; None if it left no record."""
    assert isinstance(result, Fault)
    assert result.abort
    records = bench.events()
    assert len(records) <= 1
    return records[0] & 0xFF if records else None


def test_disabled_smmu_forbids_translated_transactions_by_a_literal_record() -> None:
    """7.3.8: StreamID, RnW and the whole address; recorded though SMMUEN is 0."""
    bench, _ = stage1_bench(ats_ids())
    bench.w("CR0", CR0_ON & ~1)
    assert isinstance(send(bench, 0x4000_0123), Fault)
    assert isinstance(send(bench, 0x12_4000_0ABC, write=True), Fault)

    assert bench.events() == [
        0x0000_0000_4000_0123_0000_0008_0000_0000_0000_0008_0000_0007,
        0x0000_0012_4000_0ABC_0000_0000_0000_0000_0000_0008_0000_0007,
    ]


@pytest.mark.parametrize("write", [False, True])
def test_fast_mode_passes_without_looking(write: bool) -> None:
    """ATSCHK=0: nothing is fetched, even a stream beyond the table passes."""
    bench, _ = stage1_bench(ats_ids())
    fetched, walked = bench.watch("config"), bench.watch("walk")
    bench.ste(V=0)

    assert send(bench, PAGE_PA + 0x123, write) == Translation(PAGE_PA + 0x123, 44, DEFAULT)
    assert _where(send(bench, PAGE_PA, write, sid=0xFFFF_FFFF)) == PAGE_PA
    assert (fetched, walked) == ([], [])
    assert not bench.events()


@pytest.mark.parametrize("cr0", [CR0_ON, CR0_ON | ATSCHK])
def test_translated_address_above_oas_aborts_silently(cr0: int) -> None:
    """3.9.1.1: one of the two allowed behaviours."""
    bench = _checked()
    bench.w("CR0", cr0)

    assert _where(send(bench, (1 << 44) - 1)) == (1 << 44) - 1
    assert _refused(bench, send(bench, 1 << 44)) is None


@pytest.mark.parametrize(
    ("config", "eats", "event"),
    [
        (0b000, FULL, None),
        (0b100, FULL, F_TRANSL_FORBIDDEN),
        (0b101, 0, F_TRANSL_FORBIDDEN),
        (0b101, 3, F_TRANSL_FORBIDDEN),
    ],
)
def test_safe_mode_refuses_streams_without_ats(config: int, eats: int, event: int | None) -> None:
    bench = _checked(config, eats)

    assert _refused(bench, send(bench, PAGE_PA, write=True)) == event


def test_safe_mode_passes_streams_with_ats_without_translating() -> None:
    """The CD and the tables, which would refuse the address, are not looked at."""
    bench = _checked()
    walked = bench.watch("walk")
    bench.cd(V=0)

    assert send(bench, PAGE_PA + 4, write=True) == Translation(PAGE_PA + 4, 44, DEFAULT)
    assert not walked


@pytest.mark.parametrize("recording", [False, True])
@pytest.mark.parametrize(
    ("sid", "fetch_aborts", "ste", "event"),
    [
        (0x100, False, {}, 0x02),
        (SID, True, {}, 0x03),
        (SID, False, {"V": 0}, 0x04),
        (SID, False, {"EATS": SPLIT}, 0x04),
    ],
)
def test_configuration_error_aborts_a_translated_transaction(
    recording: bool, sid: int, fetch_aborts: bool, ste: dict[str, int], event: int
) -> None:
    """Recorded with REC_CFG_ATS alone: RECINVSID, which is 0 here, is not asked."""
    bench = _checked(ATSRECERR=1)
    bench.w("CR0", 0)
    bench.w("CR2", 0x8 if recording else 0)
    bench.w("CR0", CR0_ON | ATSCHK)
    bench.ste(**{**S1_STE, "EATS": FULL, **ste})
    if fetch_aborts:
        bench.smmu.ports["config"].read = lambda pa, size: None

    assert _refused(bench, send(bench, PAGE_PA, sid=sid)) == (event if recording else None)


def test_substream_of_a_translated_transaction_is_not_looked_at() -> None:
    """3.9.1.3: without PASIDTT it counts as SSV=0, and S1DSS does not forbid that."""
    bench = _checked()
    bench.ste(**{**S1_STE, "EATS": FULL, "S1CDMax": 1, "S1DSS": 0})

    assert _where(send(bench, PAGE_PA)) == PAGE_PA
    assert _where(send(bench, PAGE_PA, substream_id=0x80, privileged=True)) == PAGE_PA


def test_eats_is_cached_with_the_ste() -> None:
    """3.9.2: a change of EATS needs an invalidation of the STE."""
    bench = _checked()
    assert _where(send(bench, PAGE_PA)) == PAGE_PA
    bench.ste(**S1_STE, EATS=0)
    assert _where(send(bench, PAGE_PA)) == PAGE_PA
    bench.do(cmd("CFGI_STE", StreamID=SID))

    assert _refused(bench, send(bench, PAGE_PA)) == F_TRANSL_FORBIDDEN


def test_without_ats_nothing_translated_passes() -> None:
    """IDR0.ATS=0: silent, as the event belongs to ATS."""
    bench, _ = stage1_bench(make_ids())

    assert _refused(bench, send(bench, PAGE_PA)) is None


# -- 13.6.3: split-stage ATS


def _split(
    ids: dict[str, int] | None = None, ste: dict[str, int] | None = None, **cd: int
) -> tuple[Bench, Tree, Tree]:
    bench, first, second = nested_bench(
        ats_ids(**(ids or {})), ste={"EATS": SPLIT, **(ste or {})}, cd=cd
    )
    bench.w("CR0", CR0_ON | ATSCHK)
    return bench, first, second


def test_split_stage_answers_with_an_intermediate_address() -> None:
    bench, first, second = _split()
    first.page(IOVA, IPA)
    second.page(IPA, PAGE_PA, S2_RW)

    assert ask(bench, IOVA) == Completion(Status.SUCCESS, IPA, 12, read=True, write=True)
    assert _where(send(bench, IPA + 0x10, write=True)) == PAGE_PA + 0x10


def test_split_stage_answer_is_as_large_as_both_allow() -> None:
    """The middle of a block of stage 1, mapped by pages at stage 2."""
    bench, first, second = _split()
    first.set(0x4000_0000, 2, IPA | RW | 1)
    second.page(IPA + 0x7000, PAGE_PA, S2_RW)
    completion = ask(bench, 0x4000_7ABC)

    assert (completion.address, completion.size_lg2) == (IPA + 0x7000, 12)


@pytest.mark.parametrize(
    ("first_bits", "second_bits", "expected"),
    [
        (RW, S2_READ, "R"),
        (RW | READ_ONLY, S2_READ | S2_WRITE, "R"),
        (AF, S2_READ | S2_WRITE, ""),
    ],
)
def test_split_stage_rights_are_those_of_both_stages(
    first_bits: int, second_bits: int, expected: str
) -> None:
    bench, first, second = _split()
    first.page(IOVA, IPA, first_bits)
    second.page(IPA, PAGE_PA, second_bits | S2_WB | AF)

    assert rights(ask(bench, IOVA)) == expected


@pytest.mark.parametrize(
    ("address", "write", "bits", "expected"),
    [
        (IPA, False, None, {"Number": 0x10, "S2": 1, "CLASS": 2, "RnW": 1}),
        (IPA, True, S2_READ | S2_WB | AF, {"Number": 0x13, "S2": 1, "CLASS": 2, "RnW": 0}),
        (IPA, False, S2_READ | S2_WB, {"Number": 0x12, "S2": 1, "CLASS": 2, "RnW": 1}),
        (1 << 44, False, None, {"Number": 0x11, "S2": 0, "CLASS": 2, "RnW": 1}),
    ],
)
def test_split_stage_faults_are_recorded_as_for_ordinary_transactions(
    address: int, write: bool, bits: int | None, expected: dict[str, int]
) -> None:
    """3.9.1.3: of stage 2; an address beyond IAS is an F_ADDR_SIZE of stage 1."""
    bench, _, second = _split()
    if bits is not None:
        second.page(address, PAGE_PA, bits)
    result = send(bench, address + 8, write, substream_id=3, privileged=True, instruction=True)
    assert isinstance(result, Fault)
    assert result.abort
    (record,) = bench.events()
    fields = get(literals.EVENT, record)

    assert {name: fields[name] for name in expected} == expected
    assert fields["InputAddr"] == address + 8
    assert (fields["SSV"], fields["PnU"], fields["InD"]) == (0, 0, 0)


def test_split_stage_result_is_cached_until_stage_2_is_invalidated() -> None:
    bench, _, second = _split()
    second.page(IPA, PAGE_PA, S2_RW)
    assert _where(send(bench, IPA)) == PAGE_PA
    second.page(IPA, RAM, S2_RW)
    assert _where(send(bench, IPA)) == PAGE_PA
    bench.do(cmd("TLBI_S2_IPA", VMID=7, Address=IPA))

    assert _where(send(bench, IPA)) == RAM


def test_split_stage_needs_safe_mode() -> None:
    """5.2 EATS: with ATSCHK=0 it acts as off; Translated transactions then pass unlooked."""
    bench, first, second = _split()
    bench.w("CR0", CR0_ON)
    first.page(IOVA, IPA)
    second.page(IPA, PAGE_PA, S2_RW)

    assert ask(bench, IOVA).status is Status.UNSUPPORTED
    assert _where(send(bench, IPA)) == IPA


def test_split_stage_overrides_reach_translated_transactions() -> None:
    """Table 13.4: INSTCFG and PRIVCFG apply; a fetch needs execute permission at stage 2."""
    bench, _, second = _split({"ATTR_PERMS_OVR": 1}, {"INSTCFG": 3})
    second.page(IPA, PAGE_PA, S2_READ | S2_WB | AF | 1 << 54)
    second.page(IPA + 0x1000, PAGE_PA, S2_READ | S2_WB | AF)

    assert _refused(bench, send(bench, IPA)) == 0x13
    assert _where(send(bench, IPA + 0x1000)) == PAGE_PA


def test_split_stage_ignores_overrides_of_the_memory_type() -> None:
    """Table 13.5: MTCFG and SHCFG are ignored for Translated transactions."""
    bench, first, second = _split(
        {"ATTR_TYPES_OVR": 1}, {"MTCFG": 1, "MemAttr": 0b0101, "SHCFG": 2}
    )
    first.page(IOVA, IPA)
    second.page(IPA, PAGE_PA, S2_READ | S2_WB | AF)  # non-shareable
    assert ask(bench, IOVA).granted  # leaves a translation with overridden attributes
    result = send(bench, IPA)

    assert isinstance(result, Translation)
    assert result.attributes == DEFAULT


def test_split_stage_write_marks_stage_2_dirty() -> None:
    """3.13.7.1: the Translated access may mark the page, as it does here."""
    bench, _, second = _split({"HTTU": 2}, {"S2HA": 1, "S2HD": 1})
    clean = PAGE_PA | S2_READ | S2_WB | DBM | 3
    where = second.set(IPA, 3, clean)
    assert _where(send(bench, IPA)) == PAGE_PA
    assert bench.memory.read_u64(where) == clean | AF
    assert _where(send(bench, IPA, write=True)) == PAGE_PA

    assert bench.memory.read_u64(where) == clean | AF | S2_WRITE


def test_split_stage_identity_where_stage_1_is_skipped() -> None:
    """13.6.5: the address itself, with the rights and the size of stage 2."""
    bench, _, second = _split(ste={"S1CDMax": 3, "S1DSS": 1})
    second.set(IPA, 2, PAGE_PA | S2_READ | S2_WB | AF | 1)

    assert ask(bench, IPA + 0x5000) == Completion(Status.SUCCESS, IPA, 21, read=True)
    assert ask(bench, 1 << 44) == Completion(Status.SUCCESS, size_lg2=12)
    assert _where(send(bench, IPA + 0x5000)) == PAGE_PA + 0x5000
    assert not bench.events()


def test_split_stage_tables_are_reached_through_stage_2() -> None:
    """Tables lie where the guest put them: an intermediate address apart."""
    bench, first, _ = _split()
    first.page(IOVA, RAM + GUEST)

    assert ask(bench, IOVA).address == RAM + GUEST
