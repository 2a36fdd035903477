# SPDX-License-Identifier: GPL-2.0-or-later
"""ID registers that contradict each other or their version are refused, by name and section.

Spec: IHI 0070 2.9, 6.3.1 to 6.3.8. Each row starts from faultless registers and breaks one rule.
"""

from __future__ import annotations

import pytest

from smmu_emu.errors import ConfigurationError
from smmu_emu.memory import PhysicalMemory
from smmu_emu.smmuv3 import IdRegisters, Smmuv3
from smmu_emu.smmuv3.id_rules import RULES, broken_rule
from tests.unit.smmuv3.rig import make_ids

V30 = {"minor": 0, "RIL": 0, "BBML": 0}
V32 = {"minor": 2, "FWB": 1, "Hyp": 1}
V33 = {**V32, "minor": 3, "E0PD": 1, "PTWNNC": 1}
V34 = {**V33, "minor": 4, "EPAN": 1, "MTEPERM": 1}
ATS = {"ATS": 1}
D128 = {**V34, "D128": 1, "S1PI": 1, "S2PI": 1, "S2PO": 1, "AIE": 1}

BROKEN: list[tuple[dict[str, int], str]] = [
    ({"minor": 5}, "AIDR must be 0 to 4 (SMMUv3.0 to 3.4) (IHI 0070 6.3.8)"),
    ({"minor": 0x11}, "AIDR must be 0 to 4 (SMMUv3.0 to 3.4) (IHI 0070 6.3.8)"),
    ({"TTF": 0}, "IDR0.TTF = 0 is reserved (IHI 0070 6.3.1)"),
    ({"TTENDIAN": 1}, "IDR0.TTENDIAN = 1 is reserved (IHI 0070 6.3.1)"),
    ({"STALL_MODEL": 3}, "IDR0.STALL_MODEL = 3 is reserved (IHI 0070 6.3.1)"),
    ({"ST_LEVEL": 2}, "IDR0.ST_LEVEL must not be above 1 (IHI 0070 6.3.1)"),
    ({"SIDSIZE": 33}, "IDR1.SIDSIZE must not be above 32 (IHI 0070 6.3.2)"),
    ({"SSIDSIZE": 21}, "IDR1.SSIDSIZE must not be above 20 (IHI 0070 6.3.2)"),
    ({"CMDQS": 20}, "IDR1.CMDQS must not be above 19 (IHI 0070 6.3.2)"),
    ({"EVENTQS": 20}, "IDR1.EVENTQS must not be above 19 (IHI 0070 6.3.2)"),
    ({**ATS, "PRI": 1, "PRIQS": 20}, "IDR1.PRIQS must not be above 19 (IHI 0070 6.3.2)"),
    ({"BBML": 3}, "IDR3.BBML = 3 is reserved (IHI 0070 6.3.4)"),
    ({"VAX": 3}, "IDR5.VAX = 3 is reserved (IHI 0070 6.3.6)"),
    ({"Hyp": 1, "S2P": 0}, "IDR0.Hyp needs IDR0.S1P and IDR0.S2P (IHI 0070 6.3.1)"),
    ({"PRI": 1}, "IDR0.PRI needs IDR0.ATS (IHI 0070 6.3.1)"),
    ({**V32, "ATSRECERR": 1}, "IDR0.ATSRECERR needs IDR0.ATS (IHI 0070 6.3.1)"),
    (
        {**ATS, "NS1ATS": 1, "S2P": 0},
        "IDR0.NS1ATS needs IDR0.ATS and IDR0.S1P and IDR0.S2P (IHI 0070 6.3.1)",
    ),
    ({"VATOS": 1}, "IDR0.VATOS needs IDR0.ATOS and IDR0.S1P and IDR0.S2P (IHI 0070 6.3.1)"),
    ({"VMW": 1, "S2P": 0}, "IDR0.VMW needs IDR0.S2P (IHI 0070 6.3.1)"),
    ({**V30, "PBHA": 1, "HAD": 0}, "IDR3.PBHA needs IDR3.HAD (IHI 0070 6.3.4)"),
    ({**ATS, "PRI": 1, "PPS": 1}, "IDR3.PPS needs IDR0.PRI and IDR1.SSIDSIZE (IHI 0070 6.3.4)"),
    ({"SSIDSIZE": 4, "PPS": 1}, "IDR3.PPS needs IDR0.PRI and IDR1.SSIDSIZE (IHI 0070 6.3.4)"),
    ({**V32, "PTWNNC": 1, "S2P": 0, "Hyp": 0}, "IDR3.PTWNNC needs IDR0.S2P (IHI 0070 6.3.4)"),
    ({**V33, "DPT": 1}, "IDR3.DPT needs IDR0.ATS (IHI 0070 6.3.4)"),
    ({**V33, **ATS, "DPT": 1, "TTF": 3}, "IDR3.DPT excludes IDR0.TTF[0] (IHI 0070 6.3.4)"),
    (
        {**V33, **ATS, "PASIDTT": 1},
        "IDR3.PASIDTT needs IDR0.ATS and IDR1.SSIDSIZE (IHI 0070 6.3.4)",
    ),
    ({**V33, "S2PO": 1}, "IDR3.S2PO needs IDR3.S2PI (IHI 0070 6.3.4)"),
    ({**V33, "THE": 1}, "IDR3.THE with IDR0.S2P needs IDR3.S2PI (IHI 0070 6.3.4)"),
    ({**V32, "ECMDQ": 1}, "IDR1.ECMDQ needs IDR0.COHACC and IDR0.MSI (IHI 0070 6.3.2)"),
    (
        {**V32, "ECMDQ": 1, "MSI": 1, "QUEUES_PRESET": 1},
        "IDR1.ECMDQ excludes IDR1.QUEUES_PRESET (IHI 0070 6.3.2)",
    ),
    ({"REL": 1}, "IDR1.REL needs IDR1.TABLES_PRESET or IDR1.QUEUES_PRESET (IHI 0070 6.3.2)"),
    ({"ST_LEVEL": 0}, "IDR1.SIDSIZE from 7 on needs IDR0.ST_LEVEL (IHI 0070 6.3.2)"),
    ({"TTF": 1, "GRAN4K": 0}, "IDR5.GRAN4K is not 0 where IDR0.TTF[0] is 1 (IHI 0070 6.3.6)"),
    (
        {"GRAN4K": 0, "GRAN16K": 0, "GRAN64K": 0},
        "IDR0.TTF with AArch64 tables needs a granule in IDR5 (IHI 0070 6.3.1)",
    ),
    ({"STALL_MAX": 1}, "IDR5.STALL_MAX is 0 where IDR0.STALL_MODEL has no stalls (IHI 0070 6.3.6)"),
    (
        {**V33, "DS": 1, "VAX": 1, "GRAN4K": 0, "GRAN16K": 0},
        "IDR5.DS needs GRAN4K or GRAN16K (IHI 0070 6.3.6)",
    ),
    ({**V33, "DS": 1}, "IDR5.DS needs IDR5.VAX (IHI 0070 6.3.6)"),
    ({"VAX": 1, "GRAN64K": 0}, "IDR5.VAX needs IDR5.GRAN64K or IDR5.DS (IHI 0070 6.3.6)"),
    ({"VAX": 2}, "IDR5.VAX = 2 needs IDR5.D128 (IHI 0070 6.3.6)"),
    (
        {"OAS": 6, "GRAN64K": 0},
        "IDR5.OAS of 52 bits needs IDR5.GRAN64K, DS or D128 (IHI 0070 6.3.6)",
    ),
    ({"OAS": 7}, "IDR5.OAS of 56 bits needs IDR5.D128 (IHI 0070 6.3.6)"),
    ({**D128, "TTF": 3}, "IDR5.D128 needs IDR0.TTF = 2 (IHI 0070 6.3.6)"),
    ({**D128, "AIE": 0}, "IDR5.D128 needs IDR3.S1PI and AIE (IHI 0070 6.3.6)"),
    ({**D128, "S2PO": 0}, "IDR5.D128 needs IDR3.S2PI, S2PO and MTEPERM (IHI 0070 6.3.6)"),
    ({"HTTU": 3}, "IDR0.HTTU = 3 is a feature of SMMUv3.4: lower it, or raise AIDR (IHI 0070 2.9)"),
    ({"RME_IMPL": 1}, "IDR0.RME_IMPL needs SMMUv3.2: raise AIDR (IHI 0070 2.6)"),
]
BROKEN += [
    (
        {**V33, "S1P": 0, "HAD": 0, "Hyp": 0, name: 1},
        f"IDR3.{name} needs IDR0.S1P (IHI 0070 6.3.4)",
    )
    for name in ("S1PI", "AIE", "THE")
]
BROKEN += [
    (
        {**V33, "S2P": 0, "Hyp": 0, "PTWNNC": 0, name: 1},
        f"IDR3.{name} needs IDR0.S2P (IHI 0070 6.3.4)",
    )
    for name in ("S2PI", "MTEPERM")
]


def _too_new(version: int, base: dict[str, int], *names: str) -> None:
    for name in names:
        register = "IDR5" if name in ("DS", "D128") else "IDR3"
        register = {"ECMDQ": "IDR1", "ATSRECERR": "IDR0"}.get(name, register)
        text = f"{register}.{name} is a feature of SMMUv3.{version}: clear it, or raise AIDR"
        BROKEN.append(({**base, name: 1}, f"{text} (IHI 0070 2.9)"))


_too_new(2, V30, "MPAM", "FWB", "STT", "RIL", "BBML")
_too_new(3, {"MSI": 1, **ATS}, "ECMDQ", "ATSRECERR", "E0PD", "PTWNNC")
_too_new(4, {**V32, **ATS, "SSIDSIZE": 4}, "DPT", "PASIDTT", "EPAN", "S1PI", "S2PI", "MTEPERM")
_too_new(4, {**V32, "AIE": 0}, "AIE")
_too_new(4, {**V32, "VAX": 1}, "DS")


@pytest.mark.parametrize(("changes", "text"), BROKEN, ids=[text[:40] for _, text in BROKEN])
def test_rule_that_is_broken_is_named(changes: dict[str, int], text: str) -> None:
    assert broken_rule(make_ids(**changes)) == text


def test_every_rule_has_a_row_that_breaks_it() -> None:
    """Or is reached only behind another one, as the table's order wants."""
    seen = {text.rsplit(" (IHI", 1)[0] for _, text in BROKEN}
    behind = {
        "IDR3.S2PO is a feature of SMMUv3.4: clear it, or raise AIDR",
        "IDR3.THE is a feature of SMMUv3.4: clear it, or raise AIDR",
        "IDR5.D128 is a feature of SMMUv3.4: clear it, or raise AIDR",
        "IDR2.BA_VATOS needs IDR0.VATOS",
    }
    assert {rule.text for rule in RULES} - seen == behind


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({**V32, "S2PI": 1, "S2PO": 1}, "IDR3.S2PI"),
        ({**V32, "S2P": 0, "Hyp": 0, "THE": 1}, "IDR3.THE"),
        ({**D128, "minor": 2}, "IDR3.EPAN"),
    ],
)
def test_new_features_that_come_together(changes: dict[str, int], text: str) -> None:
    problem = broken_rule(make_ids(**changes))
    assert problem is not None
    assert problem.startswith(f"{text} is a feature of SMMUv3.4")


def test_idr2_needs_vatos() -> None:
    problem = broken_rule(IdRegisters(idr2=1))
    assert problem == "IDR2.BA_VATOS needs IDR0.VATOS (IHI 0070 6.3.3)"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"S1P": 0},
        {"HAD": 0},
        {"XNX": 0},
        V30,
        {**V30, "HAD": 0, "XNX": 0},
        {**V32, "RIL": 0, "FWB": 0, "BBML": 0, "Hyp": 0},
        {**V30, "XNX": 1},
        {"STT": 1, "FWB": 1, "MPAM": 1},
        V32,
        {**V32, "S2P": 0, "Hyp": 0},
        {**V32, **ATS, "ATSRECERR": 1, "E0PD": 1, "PTWNNC": 1},
        V33,
        {**V33, "HTTU": 3, "S2PI": 1, "S2PO": 1, "THE": 1},
        V34,
        D128,
        {**V34, "DS": 1, "VAX": 1, "GRAN64K": 0, "OAS": 6},
        {"SIDSIZE": 6, "ST_LEVEL": 0},
        {"SIDSIZE": 0},
        {"PRIQS": 31},
        {"STALL_MODEL": 0, "STALL_MAX": 0xFFFF},
        {"STALL_MODEL": 2, "STALL_MAX": 1},
        {"OAS": 6},
        {"VAX": 1},
    ],
)
def test_registers_that_can_be_break_no_rule(changes: dict[str, int]) -> None:
    assert broken_rule(make_ids(**changes)) is None


def test_device_refuses_in_one_line() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Smmuv3(PhysicalMemory(), make_ids(PRI=1))
    assert str(refused.value) == (
        "there is no SMMU with these ID registers: IDR0.PRI needs IDR0.ATS (IHI 0070 6.3.1)"
    )


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        (make_ids(BTM=1), "IDR0: BTM advertises a feature that is not modelled"),
        (make_ids(**V33), "IDR3: E0PD advertises a feature that is not modelled"),
        (IdRegisters(idr3=1 << 30), "IDR3: bit 30 advertises a feature that is not modelled"),
        (IdRegisters(idr5=0x7C), "IDR5: bit 3 advertises a feature that is not modelled"),
        (make_ids(TTF=3), "IDR0.TTF must be 2: only AArch64 tables are modelled"),
        (make_ids(TTENDIAN=0), "IDR0.TTENDIAN must be 2: only little-endian walks are modelled"),
        (make_ids(HTTU=3), "IDR0.HTTU = 3: flags of table descriptors are not modelled"),
        (make_ids(OAS=7), "IDR5: addresses of more than 52 bits are not modelled"),
        (make_ids(VAX=2), "IDR5: addresses of more than 52 bits are not modelled"),
    ],
)
def test_what_is_not_modelled_must_not_be_advertised(ids: IdRegisters, text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        ids.check()
    assert str(refused.value).startswith(text)
