# SPDX-License-Identifier: GPL-2.0-or-later
"""Translation requests: how they are answered, with which rights and flags, and what is recorded.

Spec: IHI 0070 3.9.1.2, 3.13.7, 5.2 EATS, 6.3.1, 7.3.6, 13.6.4, 13.7.
"""

from __future__ import annotations

import pytest

from smmu_emu.ats import Completion, Status
from smmu_emu.errors import ConfigurationError
from smmu_emu.memory import PhysicalMemory
from smmu_emu.smmuv3 import Smmuv3
from smmu_emu.transaction import Fault, Transaction
from tests.unit.smmuv3.ats_rig import (
    ATSCHK,
    CR0_ON,
    FULL,
    IOVA,
    PASID,
    SPLIT,
    ask,
    ats_ids,
    pasid_bench,
    rights,
)
from tests.unit.smmuv3.rig import (
    AF,
    BLOCK,
    CD_AT,
    GUEST,
    NG,
    NOWHERE,
    PXN,
    RAM,
    READ_ONLY,
    RW,
    S1_STE,
    S2_READ,
    S2_RW,
    S2_STE,
    S2_WB,
    S2_WRITE,
    SID,
    USER,
    UXN,
    Bench,
    cmd,
    make_ids,
    nested_bench,
    stage1_bench,
    stage2_bench,
)

UR = Completion(Status.UNSUPPORTED)
CA = Completion(Status.ABORT)
DENIED = Completion(Status.SUCCESS, size_lg2=12)
DBM = 1 << 51
PAGE_PA = RAM + 0x80_0000
F_BAD_ATS_TREQ = 0x05


def _number(bench: Bench) -> int | None:
    """The only event's number, or None."""
    records = bench.events()
    assert len(records) <= 1
    return records[0] & 0xFF if records else None


# -- 6.3.1, 6.3.4: fields that need others


@pytest.mark.parametrize(
    "changes",
    [
        {"ATS": 0, "PRI": 1},
        {"ATS": 0, "PRI": 0, "ATSRECERR": 1},
        {"ATS": 0, "PRI": 0, "NS1ATS": 1},
        {"S2P": 0, "NS1ATS": 1},
        {"PRI": 0, "PPS": 1},
        {"SSIDSIZE": 0, "PPS": 1},
    ],
)
def test_id_registers_that_contradict_themselves_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="needs"):
        Smmuv3(PhysicalMemory(), ats_ids(**changes))


def test_without_ats_there_is_no_sign_of_it() -> None:
    """6.3.9, 6.3.12, 5.2: ATSCHK, PRIQEN, REC_CFG_ATS are RES0, EATS is ignored."""
    bench, tree = stage1_bench(make_ids())
    tree.page(IOVA, PAGE_PA)
    bench.w("CR0", 0x1F)
    assert bench.r("CR0") == bench.r("CR0ACK") == 0x0D
    bench.w("CR0", 0)
    bench.w("CR2", 0xA)
    assert bench.r("CR2") == 0x2
    bench.w("CR0", CR0_ON)
    bench.ste(**S1_STE, EATS=SPLIT)

    assert ask(bench, IOVA) == UR
    assert not bench.events()
    assert bench.pa(IOVA) == PAGE_PA


def test_atschk_and_rec_cfg_ats_exist_with_their_features() -> None:
    bench = Bench(ats_ids(ATSRECERR=1), setup=False)
    bench.w("CR2", 0x8)
    bench.w("CR0", ATSCHK)

    assert bench.r("CR2") == 0x8
    assert bench.r("CR0") == bench.r("CR0ACK") == ATSCHK


# -- 5.2 EATS: legality


@pytest.mark.parametrize(
    ("config", "eats", "s2s", "ids", "legal"),
    [
        (0b101, FULL, 0, {}, True),
        (0b101, FULL, 1, {}, True),
        (0b110, FULL, 0, {}, True),
        (0b110, FULL, 1, {}, False),
        (0b111, FULL, 1, {}, False),
        (0b101, SPLIT, 0, {}, False),
        (0b110, SPLIT, 0, {}, False),
        (0b111, SPLIT, 0, {}, True),
        (0b111, SPLIT, 1, {}, False),
        (0b111, SPLIT, 0, {"NS1ATS": 1}, False),
        (0b111, 3, 0, {}, True),
        (0b100, SPLIT, 1, {}, True),
        (0b000, SPLIT, 1, {}, True),
        (0b111, SPLIT, 1, {"ATS": 0, "PRI": 0}, True),
    ],
)
def test_eats_legality(config: int, eats: int, s2s: int, ids: dict[str, int], legal: bool) -> None:
    """3.0's choice about S2S without stage 2 is the one that Arm recommends."""
    bench, _, _ = nested_bench(
        ats_ids(STALL_MODEL=0, **ids), ste={"Config": config, "EATS": eats, "S2S": s2s}
    )
    bench.go(0x9_0000)
    codes = [record & 0xFF for record in bench.events()]

    assert (0x04 not in codes) == legal


# -- 3.9.1.2: disabled


@pytest.mark.parametrize(
    ("config", "eats", "event"),
    [
        (0b000, FULL, None),
        (0b100, FULL, F_BAD_ATS_TREQ),
        (0b101, 0, F_BAD_ATS_TREQ),
        (0b101, 3, F_BAD_ATS_TREQ),
        (0b111, SPLIT, F_BAD_ATS_TREQ),
    ],
)
def test_request_of_a_stream_without_ats_is_unsupported(
    config: int, eats: int, event: int | None
) -> None:
    """The last one: split-stage ATS is off while ATSCHK is 0."""
    bench, _, _ = nested_bench(ats_ids(), ste={"Config": config, "EATS": eats})

    assert ask(bench, IOVA) == UR
    assert _number(bench) == event


def test_request_while_the_smmu_is_disabled_is_unsupported_and_recorded() -> None:
    """6.3.9.6: no structure is read."""
    bench, _ = stage1_bench(ats_ids())
    bench.w("CR0", CR0_ON & ~1)
    bench.smmu.ports["config"].read = lambda pa, size: pytest.fail("structure read")

    assert ask(bench, IOVA) == UR
    assert _number(bench) == F_BAD_ATS_TREQ


def test_bad_request_record_by_its_literal_words() -> None:
    """7.3.6: R, W, X and Priv as asked for, the span in units, the address by 4 KiB."""
    bench, _ = pasid_bench(ste={"EATS": 0, "PRIVCFG": 2, "INSTCFG": 2})
    asked = {"substream_id": 0x2A, "execute": True, "privileged": True, "span": 3}
    ask(bench, 0x1234_5678_9ABC, **asked)
    ask(bench, 0xFFFF_8000_0000_0123, nw=True, execute=True, privileged=True)

    assert bench.events() == [
        0x0000_1234_5678_9000_0000_0000_F000_0003_0000_0008_0002_A805,
        0xFFFF_8000_0000_0000_0000_0000_8000_0001_0000_0008_0000_0005,
    ]


# -- 3.9.1.2: configuration errors


def _bad_ste(bench: Bench) -> None:
    bench.ste(V=0)


def _bad_cd(bench: Bench) -> None:
    bench.cd(V=0)


def _ste_fetch(bench: Bench) -> None:
    bench.smmu.ports["config"].read = lambda pa, size: None


def _cd_fetch(bench: Bench) -> None:
    bench.ste(**{**S1_STE, "EATS": FULL, "S1ContextPtr": NOWHERE})


def _walk_abort(bench: Bench) -> None:
    bench.smmu.ports["walk"].read_u64 = lambda pa: None


def _stream_disabled(bench: Bench) -> None:
    bench.ste(**{**S1_STE, "EATS": FULL, "S1CDMax": 1, "S1DSS": 0})


def _nothing(bench: Bench) -> None:
    pass


ERRORS = [
    pytest.param(_nothing, {"stream_id": 0x100}, 0x02, id="C_BAD_STREAMID"),
    pytest.param(_ste_fetch, {}, 0x03, id="F_STE_FETCH"),
    pytest.param(_bad_ste, {}, 0x04, id="C_BAD_STE"),
    pytest.param(_stream_disabled, {}, 0x06, id="F_STREAM_DISABLED"),
    pytest.param(_nothing, {"substream_id": 1}, 0x08, id="C_BAD_SUBSTREAMID"),
    pytest.param(_cd_fetch, {}, 0x09, id="F_CD_FETCH"),
    pytest.param(_bad_cd, {}, 0x0A, id="C_BAD_CD"),
    pytest.param(_walk_abort, {}, 0x0B, id="F_WALK_EABT"),
]


@pytest.mark.parametrize(("damage", "how", "event"), ERRORS)
@pytest.mark.parametrize("recording", [False, True])
def test_configuration_error_is_a_completer_abort(
    damage: object, how: dict[str, int], event: int, recording: bool
) -> None:
    """The event is recorded with CR2.REC_CFG_ATS only."""
    bench, _ = stage1_bench(ats_ids(ATSRECERR=1))
    bench.w("CR0", 0)
    bench.w("CR2", 0xA if recording else 0x2)
    bench.w("CR0", CR0_ON)
    bench.ste(**S1_STE, EATS=FULL)
    assert callable(damage)
    damage(bench)

    assert ask(bench, IOVA, **how) == CA
    assert _number(bench) == (event if recording else None)


def test_bad_streamid_of_a_request_needs_both_bits_to_be_recorded() -> None:
    """3.9.1.2: REC_CFG_ATS alone does not record C_BAD_STREAMID."""
    bench, _ = stage1_bench(ats_ids(ATSRECERR=1))
    bench.w("CR0", 0)
    bench.w("CR2", 0x8)
    bench.w("CR0", CR0_ON)

    assert ask(bench, IOVA, stream_id=0x100) == CA
    assert not bench.events()


# -- 3.9.1.2: translation faults


@pytest.mark.parametrize(
    ("address", "descriptor"),
    [
        (IOVA, 0),  # F_TRANSLATION
        (0x80_0000_0000, 0),  # F_TRANSLATION: beyond T0SZ
        (IOVA, 1 << 44 | RW | 3),  # F_ADDR_SIZE: IPS is 44 bits
        (IOVA, PAGE_PA | USER | 3),  # F_ACCESS
        (IOVA, PAGE_PA | AF | 3),  # F_PERMISSION: nothing for unprivileged accesses
    ],
)
@pytest.mark.parametrize("cd", [{}, {"A": 0, "R": 0}, {"S": 1}])
def test_translation_fault_is_success_without_access(
    address: int, descriptor: int, cd: dict[str, int]
) -> None:
    """Whatever A, R and S say: no event, nothing stalls, and the size is one unit."""
    bench, tree = stage1_bench(ats_ids(STALL_MODEL=0, STALL_MAX=4, TERM_MODEL=0), **cd)
    bench.ste(**S1_STE, EATS=FULL)
    tree.set(IOVA, 3, descriptor)

    assert ask(bench, address) == DENIED
    assert not bench.events()
    assert not bench.smmu.stalls.held


@pytest.mark.parametrize("where", ["cd", "table", "page"])
@pytest.mark.parametrize("bits", [0, S2_WRITE | S2_WB | AF | 3, S2_READ | S2_WB | 3])
def test_stage_2_fault_is_success_without_access(where: str, bits: int) -> None:
    """3.9.1.2: of the CD's fetch, of a table's, of the page: invalid, not readable, without AF."""
    bench, first, second = nested_bench(ats_ids(), ste={"EATS": FULL})
    first.page(IOVA, PAGE_PA + GUEST)
    assert rights(ask(bench, IOVA)) == "RW"
    bench.forget()
    target = {"cd": CD_AT, "table": first.root + first.delta, "page": PAGE_PA}[where]
    second.set(GUEST + target & -(1 << 21), 2, 0)
    for offset in range(0, 1 << 21, 0x1000):
        pa = (target & -(1 << 21)) + offset
        good = pa & ~0xFFF != target & ~0xFFF
        word = pa | (S2_RW | 3 if good else bits)
        second.set(GUEST + pa, 3, word)

    completion = ask(bench, IOVA, nw=True)
    if where == "page" and bits & S2_WRITE:
        assert rights(completion) == "W"  # 13.7.1: write permission is the translation's
    else:
        assert completion == DENIED
    assert not bench.events()


@pytest.mark.parametrize(
    ("granules", "stu_lg2"),
    [({}, 12), ({"GRAN4K": 0}, 14), ({"GRAN4K": 0, "GRAN16K": 0}, 16)],
)
def test_size_of_a_denial_is_the_smallest_granule(granules: dict[str, int], stu_lg2: int) -> None:
    """3.9.1: the unit is the smallest granule of IDR5."""
    bench = Bench(ats_ids(**granules))
    bench.ste(**S1_STE, EATS=FULL)
    bench.cd(V=1, AA64=1, A=1, R=1, T0SZ=25, TG0=1, EPD1=1, IPS=4, TTB0=bench.alloc(1 << 16))

    assert ask(bench, IOVA) == Completion(Status.SUCCESS, size_lg2=stu_lg2)
    assert bench.smmu.ats.stu_lg2 == stu_lg2


# -- 13.7: granted rights

USER_RW, USER_RO = USER, USER | READ_ONLY
PRIV_RW, PRIV_RO = 0, READ_ONLY
NOT_EXECUTABLE = UXN | PXN

RIGHTS = [
    # descriptor bits, CD bits, NW, Exe, Priv: answer
    (USER_RO, 1, 0, 0, "R"),
    (USER_RO, 0, 0, 0, "R"),
    (USER_RW, 0, 0, 0, "RW"),
    (USER_RW, 1, 0, 0, "RW"),  # "W may be granted", and is
    (USER_RW | NOT_EXECUTABLE, 1, 1, 0, "RW"),
    (USER_RW | NOT_EXECUTABLE, 0, 0, 0, "RW"),
    (USER_RW, 0, 1, 0, "RWX"),
    (USER_RW, 0, 0, 1, "RWP"),
    (USER_RW, 0, 1, 1, "RWP"),  # what is writable from EL0 is not privileged-executable
    (USER_RO, 0, 1, 1, "RXP"),
    (PRIV_RW, 0, 1, 0, ""),  # the user may execute, not read
    (PRIV_RW, 0, 0, 1, "RWP"),
    (PRIV_RW | PXN, 0, 1, 1, "RWP"),
    (PRIV_RO, 0, 1, 1, "RXP"),
    (PRIV_RO, 0, 0, 0, ""),
]


@pytest.mark.parametrize(("bits", "nw", "exe", "priv", "expected"), RIGHTS)
def test_rights_by_the_table(bits: int, nw: int, exe: int, priv: int, expected: str) -> None:
    bench, tree = pasid_bench()
    tree.page(IOVA, PAGE_PA, AF | NG | bits)
    how = {"substream_id": PASID, "execute": bool(exe), "privileged": bool(priv)}
    completion = ask(bench, IOVA, nw=nw, **how)

    # Priv is echoed whatever is granted.
    assert rights(completion) == (expected or "P" * priv)
    if expected:
        assert (completion.address, completion.size_lg2) == (PAGE_PA, 12)
    assert completion[-3:] == (False, False, False)  # U, Global, N
    assert not bench.events()


def test_denial_of_a_privileged_request_says_privileged() -> None:
    """13.7: R=W=Exe=0, Priv == p."""
    bench, _ = pasid_bench()
    how = {"substream_id": PASID, "execute": True, "privileged": True}

    assert ask(bench, IOVA, **how) == Completion(Status.SUCCESS, size_lg2=12, privileged=True)


def test_without_pasid_execute_and_privileged_mean_nothing() -> None:
    """13.7.1: both are 0, in the check and in the answer."""
    bench, tree = stage1_bench(ats_ids())
    bench.ste(**S1_STE, EATS=FULL)
    tree.page(IOVA, PAGE_PA)
    tree.page(IOVA + 0x1000, PAGE_PA, AF)

    assert rights(ask(bench, IOVA, execute=True, privileged=True)) == "RW"
    assert ask(bench, IOVA + 0x1000, execute=True, privileged=True) == DENIED


UNPRIVILEGED, PRIVILEGED, DATA, INSTRUCTION = 2, 3, 2, 3

OVERRIDES = [
    ({"PRIVCFG": UNPRIVILEGED}, PRIV_RW, 0, 0, 1, "P"),
    ({"PRIVCFG": UNPRIVILEGED}, USER_RO, 0, 0, 1, "RP"),
    ({"PRIVCFG": PRIVILEGED}, PRIV_RW, 0, 0, 0, "RW"),
    ({"INSTCFG": INSTRUCTION}, PRIV_RW, 0, 1, 0, "RX"),  # execute-only, all reads are fetches
    ({"INSTCFG": INSTRUCTION}, PRIV_RW, 0, 0, 0, "R"),
    ({"INSTCFG": INSTRUCTION}, USER_RW | NOT_EXECUTABLE, 0, 1, 0, "W"),
    ({"INSTCFG": INSTRUCTION}, USER_RO, 0, 1, 0, "RX"),
    ({"INSTCFG": DATA}, USER_RO | NOT_EXECUTABLE, 0, 1, 0, "RX"),
    ({"INSTCFG": DATA}, PRIV_RW, 0, 1, 0, ""),
]


@pytest.mark.parametrize(("ste", "bits", "nw", "exe", "priv", "expected"), OVERRIDES)
def test_rights_with_overrides(
    ste: dict[str, int], bits: int, nw: int, exe: int, priv: int, expected: str
) -> None:
    """13.7.1: INSTCFG changes what Exe and R mean, PRIVCFG whose rights count."""
    bench, tree = pasid_bench(ats_ids(ATTR_PERMS_OVR=1), ste)
    tree.page(IOVA, PAGE_PA, AF | NG | bits)
    how = {"substream_id": PASID, "execute": bool(exe), "privileged": bool(priv)}

    assert rights(ask(bench, IOVA, nw=nw, **how)) == expected


def test_overrides_that_are_not_advertised_change_nothing() -> None:
    bench, tree = pasid_bench(
        ats_ids(ATTR_PERMS_OVR=0), {"INSTCFG": INSTRUCTION, "PRIVCFG": PRIVILEGED}
    )
    tree.page(IOVA, PAGE_PA, AF | NG | USER_RW | NOT_EXECUTABLE)

    assert rights(ask(bench, IOVA, substream_id=PASID)) == "RW"


@pytest.mark.parametrize(
    ("first_bits", "second_bits", "expected"),
    [
        (RW, S2_READ | S2_WRITE, "RWX"),
        (RW, S2_READ, "RX"),
        (RW | READ_ONLY, S2_READ | S2_WRITE, "RX"),
        (RW, S2_WRITE, "W"),
        (RW, S2_READ | S2_WRITE | 1 << 54, "RW"),  # XN
        (RW | UXN, S2_READ | S2_WRITE, "RW"),
        (RW, 0, ""),  # execute-only cannot be told
        (AF, S2_READ | S2_WRITE, ""),
    ],
)
def test_rights_of_both_stages(first_bits: int, second_bits: int, expected: str) -> None:
    bench, first, second = nested_bench(ats_ids(), ste={"EATS": FULL, "S1CDMax": 3})
    table = bench.alloc(512)
    bench.ste(
        **{
            **S2_STE,
            "Config": 7,
            "EATS": FULL,
            "S1CDMax": 3,
            "S1ContextPtr": table + GUEST,
            "S2TTB": second.root,
        }
    )
    bench.cd(
        table + 64 * PASID,
        V=1,
        AA64=1,
        A=1,
        R=1,
        T0SZ=25,
        EPD1=1,
        IPS=4,
        ASID=3,
        TTB0=first.root,
    )
    first.page(IOVA, GUEST * 2, first_bits)
    second.page(GUEST * 2, PAGE_PA, second_bits | S2_WB | AF)

    assert rights(ask(bench, IOVA, substream_id=PASID, execute=True)) == expected
    assert not bench.events()


@pytest.mark.parametrize(("nw", "expected"), [(0, "W"), (1, "")])
def test_what_cannot_be_read_at_stage_1_may_be_writable(nw: int, expected: str) -> None:
    """13.7.1 with INSTCFG: reads are fetches, which XN forbids, and writes are not."""
    bench, first, second = nested_bench(
        ats_ids(ATTR_PERMS_OVR=1), ste={"EATS": FULL, "INSTCFG": INSTRUCTION}
    )
    first.page(IOVA, GUEST * 2, RW | NOT_EXECUTABLE)
    second.page(GUEST * 2, PAGE_PA, S2_RW)

    assert rights(ask(bench, IOVA, nw=nw)) == expected


# -- sizes and addresses


@pytest.mark.parametrize(("level", "size_lg2", "page"), [(3, 12, RAM), (2, 21, RAM), (1, 30, RAM)])
def test_answer_covers_the_whole_page_or_block(level: int, size_lg2: int, page: int) -> None:
    bench, tree = stage1_bench(ats_ids())
    bench.ste(**S1_STE, EATS=FULL)
    kind = 3 if level == 3 else BLOCK
    tree.set(0x1_4020_3000, level, page | RW | kind)

    assert ask(bench, 0x1_4020_3456) == Completion(
        Status.SUCCESS, page, size_lg2, read=True, write=True
    )


def test_answer_of_both_stages_is_as_large_as_the_smaller_page() -> None:
    bench, first, second = nested_bench(ats_ids(), ste={"EATS": FULL})
    first.set(0x4000_0000, 2, 0x2_0000_0000 | RW | BLOCK)
    second.page(0x2_0000_5000, PAGE_PA, S2_RW)
    completion = ask(bench, 0x4000_5678)

    assert (completion.address, completion.size_lg2) == (PAGE_PA, 12)


def test_request_with_a_tagged_address_is_translated() -> None:
    """3.9.1: TBI applies to translation requests as well."""
    bench, tree = stage1_bench(ats_ids(), TBI0=1)
    bench.ste(**S1_STE, EATS=FULL)
    tree.page(IOVA, PAGE_PA)

    assert ask(bench, 0x5A00_0000_0000_0000 | IOVA).address == PAGE_PA


def test_request_of_stage_2_alone_gives_the_physical_address() -> None:
    bench, tree = stage2_bench(ats_ids(), EATS=FULL)
    tree.page(IOVA, PAGE_PA, S2_RW)

    assert ask(bench, IOVA) == Completion(Status.SUCCESS, PAGE_PA, 12, read=True, write=True)
    assert ask(bench, 1 << 44) == DENIED  # beyond IAS


def test_requests_share_the_tlb_with_transactions() -> None:
    """3.9.1: a request may be answered from the TLB, so TLBI has to come before ATC_INV."""
    bench, tree = stage1_bench(ats_ids())
    bench.ste(**S1_STE, EATS=FULL)
    tree.page(IOVA, PAGE_PA)
    assert ask(bench, IOVA).address == PAGE_PA
    tree.page(IOVA, RAM)
    assert ask(bench, IOVA).address == PAGE_PA == bench.pa(IOVA)
    bench.do(cmd("TLBI_NH_ALL"))

    assert ask(bench, IOVA).address == RAM


def test_requests_see_what_an_array_of_addresses_left_in_the_tlb() -> None:
    bench, tree = stage1_bench(ats_ids())
    bench.ste(**S1_STE, EATS=FULL)
    for number in range(64):
        tree.page(0x1_0000 + 0x1000 * number, RAM + 0x1000 * number)
    assert bench.pa(0x1_0000) == RAM
    assert bench.smmu.translate_range(Transaction(SID, 0x1_0000), 64 * 0x1000) is not None
    tree.page(0x1_5000, PAGE_PA)

    assert ask(bench, 0x1_5000).address == RAM + 0x5000


# -- 13.6.4: stage 1 skipped


def test_skipped_stage_1_alone_is_an_identity() -> None:
    """U=0, R=W=1, one translation of all that OAS allows."""
    bench, _ = pasid_bench(ste={"S1DSS": 1})
    completion = ask(bench, 0x123_4567_8000, nw=True, execute=True, privileged=True)

    assert completion == Completion(Status.SUCCESS, 0, 44, read=True, write=True)
    assert ask(bench, 1 << 44) == DENIED
    assert not bench.events()


def test_skipped_stage_1_leaves_stage_2() -> None:
    bench, first, second = nested_bench(ats_ids(), ste={"EATS": FULL, "S1CDMax": 3, "S1DSS": 1})
    first.page(IOVA, RAM)
    second.page(IOVA, PAGE_PA, S2_READ | S2_WB | AF)

    assert ask(bench, IOVA) == Completion(Status.SUCCESS, PAGE_PA, 12, read=True)


# -- 3.13.7: flags


def _descriptor(bench: Bench, where: int) -> int:
    word = bench.memory.read_u64(where)
    assert word is not None
    return word


@pytest.mark.parametrize(
    ("httu", "cd", "expected", "flag"),
    [
        (2, {}, "", 0),
        (2, {"AFFD": 1}, "RW", 0),
        (2, {"HA": 1}, "RW", AF),
        (1, {"HA": 1}, "RW", AF),
    ],
)
def test_request_sets_the_access_flag_where_hardware_manages_it(
    httu: int, cd: dict[str, int], expected: str, flag: int
) -> None:
    bench, tree = stage1_bench(ats_ids(HTTU=httu), **cd)
    bench.ste(**S1_STE, EATS=FULL)
    where = tree.page(IOVA, PAGE_PA, USER)

    assert rights(ask(bench, IOVA)) == expected
    assert _descriptor(bench, where) & AF == flag


@pytest.mark.parametrize(
    ("cd", "nw", "expected", "dirty"),
    [
        ({"HA": 1, "HD": 1}, 0, "RW", True),
        ({"HA": 1, "HD": 1}, 1, "R", False),
        ({"HA": 1}, 0, "R", False),
        ({}, 0, "R", False),
    ],
)
def test_page_is_marked_dirty_before_write_is_granted(
    cd: dict[str, int], nw: int, expected: str, dirty: bool
) -> None:
    """Clean is DBM with AP[2] set; NW=1 never marks. Spec: 3.13.7.1."""
    bench, tree = stage1_bench(ats_ids(HTTU=2), **cd)
    bench.ste(**S1_STE, EATS=FULL)
    clean = PAGE_PA | RW | READ_ONLY | DBM | 3
    where = tree.set(IOVA, 3, clean)

    assert rights(ask(bench, IOVA, nw=nw)) == expected
    assert _descriptor(bench, where) == (clean & ~READ_ONLY if dirty else clean)


def test_read_request_does_not_keep_a_later_write_request_from_marking() -> None:
    """A clean translation in the TLB is no answer to a request that wants to write."""
    bench, tree = stage1_bench(ats_ids(HTTU=2), HA=1, HD=1)
    bench.ste(**S1_STE, EATS=FULL)
    where = tree.set(IOVA, 3, PAGE_PA | RW | READ_ONLY | DBM | 3)
    assert rights(ask(bench, IOVA, nw=True)) == "R"

    assert rights(ask(bench, IOVA)) == "RW"
    assert not _descriptor(bench, where) & READ_ONLY


def test_clean_page_that_stays_unreachable_is_not_marked() -> None:
    """13.7: only a page that is accessible at the privilege asked for."""
    bench, tree = stage1_bench(ats_ids(HTTU=2), HA=1, HD=1)
    bench.ste(**S1_STE, EATS=FULL)
    where = tree.set(IOVA, 3, PAGE_PA | AF | READ_ONLY | DBM | 3)

    assert ask(bench, IOVA) == DENIED
    assert _descriptor(bench, where) & READ_ONLY


CLEAN_1, READ_ONLY_1, DIRTY_1 = RW | READ_ONLY | DBM, RW | READ_ONLY, RW | DBM
CLEAN_2 = S2_READ | S2_WB | AF | DBM
READ_ONLY_2, DIRTY_2 = S2_READ | S2_WB | AF, S2_READ | S2_WRITE | S2_WB | AF | DBM


@pytest.mark.parametrize(
    ("before", "nw", "expected", "after"),
    [
        ((CLEAN_1, CLEAN_2), 0, "RW", (DIRTY_1, DIRTY_2)),
        ((CLEAN_1, CLEAN_2), 1, "R", (CLEAN_1, CLEAN_2)),
        ((READ_ONLY_1, CLEAN_2), 0, "R", (READ_ONLY_1, CLEAN_2)),
        ((CLEAN_1, READ_ONLY_2), 0, "R", (CLEAN_1, READ_ONLY_2)),
        ((DIRTY_1, CLEAN_2), 0, "RW", (DIRTY_1, DIRTY_2)),
        ((CLEAN_1, DIRTY_2), 0, "RW", (DIRTY_1, DIRTY_2)),
    ],
)
def test_both_stages_are_marked_or_neither(
    before: tuple[int, int], nw: int, expected: str, after: tuple[int, int]
) -> None:
    """3.13.7.1: a page that is read-only at one stage is marked at neither."""
    bench, first, second = nested_bench(
        ats_ids(HTTU=2), ste={"EATS": FULL, "S2HA": 1, "S2HD": 1}, cd={"HA": 1, "HD": 1}
    )
    at_1 = first.set(IOVA, 3, 0x2_0000_0000 | before[0] | 3) + first.delta
    at_2 = second.set(0x2_0000_0000, 3, PAGE_PA | before[1] | 3)

    assert rights(ask(bench, IOVA, nw=nw)) == expected
    assert _descriptor(bench, at_1) == 0x2_0000_0000 | after[0] | 3
    assert _descriptor(bench, at_2) == PAGE_PA | after[1] | 3


def test_rights_that_stage_1_denies_leave_stage_2_alone() -> None:
    """3.9.1.2: without any right at stage 1 the address is not translated at stage 2."""
    bench, first, second = nested_bench(
        ats_ids(HTTU=2), ste={"EATS": FULL, "S2HA": 1}, cd={"HA": 1}
    )
    first.page(IOVA, 0x2_0000_0000, AF)
    at_2 = second.page(0x2_0000_0000, PAGE_PA, S2_READ | S2_WRITE | S2_WB)

    assert ask(bench, IOVA) == DENIED
    assert not _descriptor(bench, at_2) & AF


def test_abort_of_the_marking_write_is_a_completer_abort() -> None:
    """An update that memory refuses is an F_WALK_EABT (7.3.12)."""
    bench, tree = stage1_bench(ats_ids(HTTU=2), HA=1, HD=1)
    bench.ste(**S1_STE, EATS=FULL)
    tree.set(IOVA, 3, PAGE_PA | RW | READ_ONLY | DBM | 3)
    bench.smmu.ports["walk"].write_u64 = lambda pa, value: False

    assert rights(ask(bench, IOVA, nw=True)) == "R"
    assert ask(bench, IOVA) == CA


# -- 12.3: service failure mode


def test_failed_smmu_aborts_requests_and_translated_transactions() -> None:
    """PCIe gets CA, whatever the configuration; a reset ends it."""
    bench, tree = stage1_bench(ats_ids())
    bench.ste(**S1_STE, EATS=FULL)
    tree.page(IOVA, PAGE_PA)
    bench.smmu.fail()
    assert ask(bench, IOVA) == CA
    assert isinstance(bench.smmu.ats.translated(Transaction(SID, PAGE_PA)), Fault)
    bench.smmu.reset()
    bench.set_up()

    assert ask(bench, IOVA).address == PAGE_PA
