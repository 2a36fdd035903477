# SPDX-License-Identifier: GPL-2.0-or-later
"""StreamWorlds of the Non-secure state: EL1, EL2 and EL2-E2H.

Spec: IHI 0070 3.3.3, 5.2 STRW, 5.4.1 (fields without meaning at EL2), 13.4.1, 6.3.12 E2H.
"""

from __future__ import annotations

import pytest

from tests.unit.smmuv3.rig import (
    AF,
    NG,
    PLAIN_CD,
    PXN,
    RAM,
    S1_STE,
    SID,
    USER,
    UXN,
    Bench,
    Tree,
    make_ids,
    nested_bench,
)

IOVA = 0x5000
HIGH = 0xFFFF_FFFF_FFFF_5000
OLD, NEW = 0x100_0000_0000, 0x200_0000_0000
EL1, EL2 = 0, 2


def _bench(strw: int, e2h: int = 0, **cd: int) -> tuple[Bench, Tree]:
    bench = Bench(make_ids(Hyp=1), setup=False)
    bench.set_up()
    bench.w("CR0", 0xC)
    bench.w("CR2", 2 | e2h)
    bench.w("CR0", 0xD)
    tree = Tree(bench)
    bench.ste(**{**S1_STE, "STRW": strw})
    bench.cd(**{**PLAIN_CD, "TTB0": tree.root, **cd})
    return bench, tree


def test_el2_has_one_table() -> None:
    """5.4.1: TTB1 is unreachable; high addresses fault."""
    bench, tree = _bench(EL2, EPD1=0, T1SZ=25, TG1=2)
    bench.cd(**{**PLAIN_CD, "TTB0": tree.root, "TTB1": tree.root, "EPD1": 0, "T1SZ": 25, "TG1": 2})
    tree.page(IOVA, OLD)
    tree.page(HIGH, NEW)
    assert bench.pa(IOVA) == OLD

    assert bench.code(HIGH) == 0x10


def test_el2_e2h_has_two_tables() -> None:
    """3.17.5."""
    bench, tree = _bench(EL2, e2h=1)
    high = Tree(bench)
    halves = {"TTB0": tree.root, "TTB1": high.root, "EPD1": 0, "T1SZ": 25, "TG1": 2}
    bench.cd(**{**PLAIN_CD, **halves})
    tree.page(IOVA, OLD)
    high.page(HIGH, NEW)

    assert (bench.pa(IOVA), bench.pa(HIGH)) == (OLD, NEW)


def test_el2_ignores_epd0() -> None:
    """5.4 EPD0: the effective value is 0."""
    bench, tree = _bench(EL2, EPD0=1)
    tree.page(IOVA, OLD)
    assert bench.pa(IOVA) == OLD
    bench, tree = _bench(EL2, e2h=1, EPD0=1)
    tree.page(IOVA, OLD)

    assert bench.code(IOVA) == 0x10


@pytest.mark.parametrize("privileged", [False, True])
@pytest.mark.parametrize("user", [0, USER])
def test_el2_has_no_unprivileged_accesses(user: int, privileged: bool) -> None:
    """13.4.1: AP[1] is ignored and treated as 1."""
    bench, tree = _bench(EL2)
    tree.page(IOVA, OLD, AF | user)
    assert bench.pa(IOVA, True, privileged=privileged) == OLD
    bench, tree = _bench(EL2, e2h=1)
    tree.page(IOVA, OLD, AF | user)
    expected = OLD if user or privileged else None
    if expected:
        assert bench.pa(IOVA, True, privileged=privileged) == expected
    else:
        assert bench.code(IOVA, True, privileged=privileged) == 0x13


@pytest.mark.parametrize("privileged", [False, True])
def test_pan_is_ignored_at_el2(privileged: bool) -> None:
    """5.4 PAN."""
    bench, tree = _bench(EL2, PAN=1)
    tree.page(IOVA, OLD, AF | USER)
    assert bench.pa(IOVA, privileged=privileged) == OLD
    bench, tree = _bench(EL2, e2h=1, PAN=1)
    tree.page(IOVA, OLD, AF | USER)

    if privileged:
        assert bench.code(IOVA, privileged=True) == 0x13
    else:
        assert bench.pa(IOVA) == OLD


@pytest.mark.parametrize("privileged", [False, True])
@pytest.mark.parametrize(
    ("bits", "executes"),
    [
        (AF, True),
        (AF | UXN, False),  # XN at EL2
        (AF | PXN, True),
        (AF | USER, True),  # user-writable memory is privileged-executable here
    ],
)
def test_execution_at_el2_has_one_control(bits: int, executes: bool, privileged: bool) -> None:
    """DDI 0487 D8.4: bit 54 is XN, bit 53 RES0, in regimes with one privilege."""
    bench, tree = _bench(EL2)
    tree.page(IOVA, OLD, bits)
    if executes:
        assert bench.pa(IOVA, instruction=True, privileged=privileged) == OLD
    else:
        assert bench.code(IOVA, instruction=True, privileged=privileged) == 0x13


def test_table_restrictions_at_el2() -> None:
    """DDI 0487 D8.4: APTable[1] and XNTable restrict; APTable[0] and PXNTable are RES0."""
    bench, tree = _bench(EL2)
    tree.at(IOVA, 3, table_bits=1 << 61 | 1 << 59)
    tree.page(IOVA, OLD, AF)
    assert bench.pa(IOVA, True) == OLD
    assert bench.pa(IOVA, instruction=True) == OLD
    bench, tree = _bench(EL2)
    tree.at(IOVA, 3, table_bits=1 << 62 | 1 << 60)
    tree.page(IOVA, OLD, AF)
    assert bench.pa(IOVA) == OLD
    assert bench.code(IOVA, True) == 0x13

    assert bench.code(IOVA, instruction=True) == 0x13


def _other(bench: Bench, strw: int, asid: int) -> Tree:
    tree = Tree(bench)
    at = bench.alloc(64)
    bench.cd(at, **{**PLAIN_CD, "TTB0": tree.root, "ASID": asid})
    bench.ste(SID + 1, **{**S1_STE, "STRW": strw, "S1ContextPtr": at})
    return tree


def test_el2_translations_have_no_asid() -> None:
    """3.17: all contexts of EL2 share one space, nG or not."""
    bench, tree = _bench(EL2)
    other = _other(bench, EL2, 99)
    tree.page(IOVA, OLD, AF | USER | NG)
    other.page(IOVA, NEW, AF | USER | NG)
    assert bench.pa(IOVA) == OLD

    assert bench.pa(IOVA, sid=SID + 1) == OLD


def test_el2_e2h_translations_have_an_asid_and_no_vmid() -> None:
    bench, tree = _bench(EL2, e2h=1)
    other = _other(bench, EL2, 99)
    tree.page(IOVA, OLD, AF | USER | NG)
    other.page(IOVA, NEW, AF | USER | NG)
    assert (bench.pa(IOVA), bench.pa(IOVA, sid=SID + 1)) == (OLD, NEW)


def test_vmid_does_not_tell_el2_e2h_streams_apart() -> None:
    """5.2 S2VMID: IGNORED unless the world is NS-EL1."""
    bench, tree = _bench(EL2, e2h=1)
    other = _other(bench, EL2, 3)
    where = 64 * (SID + 1) + RAM + 16  # the doubleword of S2VMID
    bench.write64(where, 5)
    tree.page(IOVA, OLD, AF | USER | NG)
    other.page(IOVA, NEW, AF | USER | NG)
    assert bench.pa(IOVA) == OLD

    assert bench.pa(IOVA, sid=SID + 1) == OLD


@pytest.mark.parametrize("e2h", [0, 1])
def test_worlds_are_kept_apart(e2h: int) -> None:
    """3.3.3: the StreamWorld is part of a translation's tag."""
    bench, tree = _bench(EL2, e2h=e2h)
    other = _other(bench, EL1, 3)
    tree.page(IOVA, OLD, AF | USER)
    other.page(IOVA, NEW, AF | USER)
    for _ in range(2):
        assert (bench.pa(IOVA), bench.pa(IOVA, sid=SID + 1)) == (OLD, NEW)


def test_strw_is_ignored_with_stage_2_on() -> None:
    """5.2 STRW: the effective world is NS-EL1: two tables, unprivileged accesses."""
    bench, first, _ = nested_bench(make_ids(Hyp=1), ste={"STRW": EL2})
    first.page(IOVA, 0x1_4030_0000, AF)
    assert bench.code(IOVA) == 0x13

    assert bench.pa(IOVA, privileged=True) == RAM + 0x30_0000


def test_strw_is_ignored_without_hyp() -> None:
    bench = Bench()
    tree = Tree(bench)
    bench.ste(**{**S1_STE, "STRW": EL2})
    bench.cd(**{**PLAIN_CD, "TTB0": tree.root})
    tree.page(IOVA, OLD, AF)

    assert bench.code(IOVA) == 0x13
    assert bench.pa(IOVA, privileged=True) == OLD


def test_records_of_el2_streams_show_the_privilege_that_came_in() -> None:
    """13.4.1: the PRIV attribute itself is not modified."""
    bench, _ = _bench(EL2)
    record = bench.refused(IOVA)

    assert record is not None
    assert record["PnU"] == 0


def test_tbi_of_el2_is_tbi0() -> None:
    """3.4.1, 5.4 TBI0."""
    bench, tree = _bench(EL2, TBI0=1)
    tree.page(IOVA, OLD)

    assert bench.pa(0xA5 << 56 | IOVA) == OLD
    assert bench.code(0xFF << 56 | 0x00FF_FFFF_FFFF_5000) == 0x10
